"""The albedo of vertices is read from a capture's texture only where a texture space completed it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar.base.errors import CaptureError
from avatar.base.files import write_json
from avatar.data.completed_texture import completed_albedo
from avatar.flame.library import load_head
from avatar.media.images import linear_image, write_png


def test_vertices_have_the_colour_of_their_texels(tmp_path: Path) -> None:
    asset = load_head()
    assert asset.uv is not None
    assert completed_albedo(tmp_path, asset) is None
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[..., 0] = 4 * np.arange(64)  # redder to the right
    texture[..., 1] = 4 * np.arange(64)[::-1, None]  # greener to the top, where v = 1
    folder = tmp_path / "appearance"
    write_png(folder / "albedo.png", texture)
    said = {"uv_fingerprint": asset.uv_fingerprint, "texture_space": None}
    write_json(folder / "light.json", said)
    assert completed_albedo(tmp_path, asset) is None  # mirrored and smoothly filled
    write_json(folder / "light.json", said | {"texture_space": "abc", "uv_fingerprint": "0"})
    assert completed_albedo(tmp_path, asset) is None  # another head's map
    write_json(folder / "light.json", said | {"texture_space": "abc"})
    found = completed_albedo(tmp_path, asset)
    assert found is not None
    assert found.shape == (asset.vertex_count, 3)
    vertex = asset.faces[asset.mediapipe_faces[50], 0]
    assert asset.uv_faces is not None
    u, v = asset.uv[asset.uv_faces[asset.mediapipe_faces[50], 0]]
    wanted = linear_image(np.array([4 * int(64 * u), 4 * int(64 * v), 0], np.uint8))
    np.testing.assert_allclose(found[vertex], wanted, atol=0.03)
    (folder / "albedo.png").write_bytes(b"no picture")
    with pytest.raises(CaptureError, match="cannot be read"):
        completed_albedo(tmp_path, asset)
