"""Heads are painted with the colours and the light on disk, each point with its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from painted_clip import PaintedClip

from avatar.base.files import write_json
from avatar.data.capture_arrays import write_arrays
from avatar.flame.assets import HeadAsset
from avatar.media.images import write_png
from capture_tools.detect.selection import Crop
from capture_tools.report.painting import MeshPainter, Skin, as_srgb, crop_camera, face_window, read_skin

CONSTANT = 0.28209479  # the first harmonic


def test_texture_is_read_at_the_points_uv(head: HeadAsset) -> None:
    size = 512
    ramp = (torch.arange(size) + 0.5) / size
    texture = torch.stack([ramp.expand(size, size), 1 - ramp[:, None].expand(size, size), torch.zeros(size, size)], -1)
    skin = Skin(texture, torch.zeros(9, 3))
    face = torch.arange(0, len(head.faces), 97)
    colours = skin.colours(head, face, torch.tensor([[0.0, 1.0, 0.0]]).expand(len(face), 3))
    uv = head.uv[head.uv_faces[face.numpy(), 1]]
    np.testing.assert_allclose(colours[:, :2].numpy(), uv, atol=1 / size)


def test_vertex_colours_are_interpolated(head: HeadAsset) -> None:
    albedo = torch.zeros(head.vertex_count, 3)
    albedo[head.faces[40, 2]] = torch.tensor([0.2, 0.4, 0.8])
    found = Skin(albedo, torch.zeros(9, 3)).colours(head, torch.tensor([40]), torch.tensor([[0.25, 0.25, 0.5]]))
    np.testing.assert_allclose(found.numpy(), [[0.1, 0.2, 0.4]], atol=1e-6)


def test_appearance_on_disk_is_read(tmp_path: Path) -> None:
    assert read_skin(tmp_path) is None
    light = np.arange(27.0).reshape(9, 3)
    write_json(tmp_path / "light.json", {"harmonics": light.tolist()})
    write_arrays(tmp_path / "albedo.npz", {"linear": np.full((7, 3), 0.3, np.float32), "seen": np.ones(7, bool)})
    skin = read_skin(tmp_path)
    assert skin is not None
    np.testing.assert_array_equal(skin.light.numpy(), light)
    assert skin.albedo.shape == (7, 3)
    write_png(tmp_path / "albedo.png", np.full((4, 4, 3), 188, np.uint8))
    skin = read_skin(tmp_path)
    assert skin is not None
    np.testing.assert_allclose(skin.albedo.numpy(), np.full((4, 4, 3), 0.503), atol=1e-3)  # sRGB 188 is half the light


def test_a_head_shows_albedo_times_light(painted: PaintedClip, head: HeadAsset) -> None:
    light = torch.zeros(9, 3)
    light[0] = torch.tensor([1.0, 0.5, 0.25]) / CONSTANT
    painter = MeshPainter(head, Skin(torch.full((head.vertex_count, 3), 0.5), light))
    seen = painter.look(painted.params.frame(3), painted.camera)
    np.testing.assert_allclose(painter.painted(seen), np.tile([0.5, 0.25, 0.125], (len(seen.face), 1)), atol=1e-4)
    np.testing.assert_array_equal(seen.mask, painted.masks[3])
    drawn = seen.over(painted.images[3], as_srgb(painter.painted(seen)))
    assert (drawn[~seen.mask] == painted.images[3][~seen.mask]).all()
    assert (drawn[seen.mask] == [188, 137, 99]).all()


def test_windows_hold_the_face_and_stay_in_the_picture(painted: PaintedClip, head: HeadAsset) -> None:
    points = np.array([[[40.0, 60.0], [120.0, 100.0], [np.nan, np.nan]]])
    assert face_window(points, 200, 300, 0.25) == Crop(20, 20, 120, 300)
    assert face_window(points - [30, 50], 200, 300, 0.25) == Crop(0, 0, 120, 300)
    assert face_window(points, 90, 300, 0.25) == Crop(0, 0, 90, 300)
    painter, window = MeshPainter(head), Crop(80, 20, 160, 160)
    whole = painter.look(painted.params.frame(9), painted.camera).mask
    part = painter.look(painted.params.frame(9), crop_camera(painted.camera, window)).mask
    np.testing.assert_array_equal(part, whole[20:180, 80:240])
