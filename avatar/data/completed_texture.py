"""The albedo of a head's vertices out of a capture's texture, where a texture space completed that."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avatar.base.errors import CaptureError
from avatar.base.files import read_json
from avatar.flame.assets import HeadAsset
from avatar.media.images import linear_image, read_png

FOLDER, TEXTURE, LIGHT, BY_SPACE = "appearance", "albedo.png", "light.json", "texture_space"
"""Folder and files of a capture, and the key in the second that names the space."""


def completed_albedo(capture: Path, asset: HeadAsset) -> np.ndarray | None:
    """Linear albedo `[V, 3]` of the vertices, up to one gain a channel.

    None where no texture space completed the capture's texture or it is in another map. Raises CaptureError where the
    files are damaged.
    """
    folder = Path(capture) / FOLDER
    if not (folder / LIGHT).is_file() or not (folder / TEXTURE).is_file():
        return None
    light = read_json(folder / LIGHT, CaptureError)
    if not isinstance(light, dict) or not light.get(BY_SPACE) or asset.uv is None or asset.uv_faces is None:
        return None
    if light.get("uv_fingerprint") != asset.uv_fingerprint:
        return None
    texture = read_png(folder / TEXTURE, CaptureError)
    if texture.ndim != 3:
        raise CaptureError("the texture is not in colour", where=folder / TEXTURE, found=texture.shape)
    place = np.zeros((asset.vertex_count, 2))
    place[asset.faces.ravel()] = asset.uv[asset.uv_faces.ravel()]  # on a seam one of several places
    height, width = texture.shape[:2]
    column = np.clip((place[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - place[:, 1]) * height).astype(int), 0, height - 1)
    return linear_image(texture[row, column])
