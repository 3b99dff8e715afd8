"""The texture that a capture writes shows the paint of the head, in its UV or, without one, per vertex."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from painted_clip import LOOK, PaintedClip

from avatar.flame.assets import HeadAsset
from avatar.kernels.harmonics.op import spherical_harmonics
from avatar.media.images import read_png, to_linear
from capture_tools.report.texture import Completion, frames_by_turn, texels, with_other_side, write_appearance


def square(painted: PaintedClip) -> tuple[np.ndarray, np.ndarray]:
    """The clip's pictures and masks, cut to the square that its camera sees in the middle."""
    side, left = 240, 40
    images = np.stack([image[:, left : left + side] for image in painted.images])
    masks = np.stack([255 * mask[:, left : left + side].astype(np.uint8) for mask in painted.masks])
    return images, masks


def even_light() -> np.ndarray:
    """Light of the same colour from everywhere."""
    constant = float(spherical_harmonics(torch.tensor([[0.0, 0.0, 1.0]]))[0, 0])
    light = np.zeros((9, 3), np.float32)
    light[0] = 1 / constant
    return light


@pytest.mark.slow
def test_texture_and_vertices_show_the_paint(painted: PaintedClip, head: HeadAsset, tmp_path: Path) -> None:
    images, masks = square(painted)
    camera = painted.camera.cropped(40, 0, 240, 240)
    arguments = (painted.params, camera, images, masks, even_light())
    said = write_appearance(tmp_path / "uv", head, *arguments)
    texture = read_png(tmp_path / "uv" / str(said["albedo"]))
    plain = replace(head, uv=None, uv_faces=None)
    said_plain = write_appearance(tmp_path / "plain", plain, *arguments)
    assert str(said_plain["albedo"]).endswith("albedo.npz")
    with np.load(tmp_path / "plain" / str(said_plain["albedo"])) as file:
        linear, seen = file["linear"], file["seen"]
    assert linear.shape == (head.vertex_count, 3)
    assert 0.05 < seen.mean() < 0.9  # the back of the head was never shown

    # Cheeks are the skin that was painted, under about as much light as the picture's mean; brows and lips differ.
    corners = head.faces[head.mediapipe_faces]

    def of_vertices(mark: int) -> np.ndarray:
        return linear[corners[mark]].mean(0)

    cheek = of_vertices(50)
    skin = to_linear(np.array(LOOK.skin))
    np.testing.assert_allclose(cheek / cheek.sum(), skin / skin.sum(), atol=0.03)
    assert of_vertices(16)[1] < 0.85 * cheek[1]  # lips
    samples = texels(head, len(texture))
    face = samples.face.numpy()
    on_cheek = face == head.mediapipe_faces[50]
    found = to_linear(texture.reshape(-1, 3)[samples.place.numpy()[on_cheek]] / 255).mean(0)
    np.testing.assert_allclose(found, cheek, rtol=0.15)


def test_light_is_written_as_it_was_given(painted: PaintedClip, head: HeadAsset, tmp_path: Path) -> None:
    images, masks = (part[:2] for part in square(painted))
    params, camera = painted.params.select([0, 1]), painted.camera.cropped(40, 0, 240, 240)
    light = even_light()
    light[3] = 0.1
    write_appearance(tmp_path, head, params, camera, images, masks, light)
    stored = json.loads((tmp_path / "appearance" / "light.json").read_text())
    np.testing.assert_allclose(stored["harmonics"], light, rtol=1e-6)


def test_seen_texels_are_told_and_the_rest_may_be_completed(
    painted: PaintedClip, head: HeadAsset, tmp_path: Path
) -> None:
    """seen.png is white on the cheeks, black on the back of the head; a completion has the last word on skin."""
    images, masks = square(painted)
    given: list[tuple[np.ndarray, np.ndarray]] = []

    def green(texture: np.ndarray, seen: np.ndarray) -> np.ndarray:
        given.append((texture, seen))
        return np.where(seen[..., None] > 0.5, texture, np.array([0, 1, 0]))

    camera = painted.camera.cropped(40, 0, 240, 240)
    arguments = (tmp_path, head, painted.params, camera, images, masks, even_light())
    said = write_appearance(*arguments, completion=Completion("green", green))
    assert (said["seen"], said["texture_space"]) == ("appearance/seen.png", "green")
    seen, albedo = read_png(tmp_path / "appearance" / "seen.png"), read_png(tmp_path / "appearance" / "albedo.png")
    assert json.loads((tmp_path / "appearance" / "light.json").read_text())["texture_space"] == "green"
    samples = texels(head, len(seen))
    shown = seen.ravel()[samples.place.numpy()]
    cheeks = np.isin(samples.face.numpy(), head.mediapipe_faces[[50, 280]])
    assert (shown[cheeks] == 255).all()
    back = head.region("scalp") & (head.template[:, 2] < np.median(head.template[head.region("scalp"), 2]))
    behind = back[head.faces].all(1)[samples.face.numpy()]
    assert behind.any()
    assert (shown[behind] == 0).mean() > 0.9
    inner = np.any([head.region(name) for name in ("eyeballs", "teeth", "tongue", "mouth_interior")], axis=0)
    inside = np.zeros(seen.size, bool)
    inside[samples.place.numpy()[inner[head.faces].all(1)[samples.face.numpy()]]] = True
    skin = np.isin(np.arange(seen.size), samples.place.numpy()) & ~inside
    unseen = (skin & (seen.ravel() == 0)).reshape(seen.shape)
    np.testing.assert_array_equal(albedo[unseen], np.broadcast_to([0, 255, 0], albedo[unseen].shape))
    assert not (albedo[inside.reshape(seen.shape)] == [0, 255, 0]).all(-1).any()  # eyes and teeth are no skin
    np.testing.assert_allclose(albedo[seen == 255] / 255, given[0][0][seen == 255], atol=0.003)


def test_frames_are_spread_over_the_turns_of_the_head() -> None:
    rotation = np.zeros((50, 3))
    rotation[:45, 1] = 0.01 * np.arange(45) / 45
    rotation[45:, 1] = [0.2, 0.4, -0.3, 0.5, -0.6]
    chosen = frames_by_turn(rotation, 10)
    assert len(chosen) == 10
    assert {49, 48} <= set(chosen)
    assert frames_by_turn(rotation[:3], 10) == [0, 1, 2]


def test_what_was_not_seen_is_the_other_side_as_bright_as_its_surroundings() -> None:
    """A spot on one side appears on the other, which is a fifth darker; what neither side shows stays unknown."""
    whole = np.full((64, 64, 3), 0.5, np.float32)
    whole[20:24, 10:14] = [0.1, 0.2, 0.3]
    whole[20:24, 50:54] = [0.1, 0.2, 0.3]
    whole[:, 32:] *= 0.8
    known = np.ones((64, 64), bool)
    known[16:28, 46:58] = False
    known[50:60] = False
    found, after = with_other_side(np.where(known[..., None], whole, 0), known)
    np.testing.assert_array_equal(after, ~((np.arange(64) >= 50) & (np.arange(64) < 60))[:, None] & np.ones(64, bool))
    np.testing.assert_allclose(found[after], whole[after], rtol=0.06)


@pytest.mark.slow
def test_a_texture_of_a_frontal_clip_is_completed(painted: PaintedClip, head: HeadAsset, tmp_path: Path) -> None:
    """With one half of every picture masked away, that half of the face is the mirror image of the other."""
    images, masks = square(painted)
    camera = painted.camera.cropped(40, 0, 240, 240)
    texture = []
    for name, cut in (("whole", 0), ("half", 120)):
        hidden = masks.copy()
        hidden[:, :, :cut] = 0
        said = write_appearance(tmp_path / name, head, painted.params, camera, images, hidden, even_light())
        texture.append(read_png(tmp_path / name / str(said["albedo"])).astype(float))
        assert said["uv_fingerprint"] == head.uv_fingerprint
    size = len(texture[0])
    face = np.zeros(size * size, bool)
    samples = texels(head, size)
    face[samples.place.numpy()[head.region("face")[head.faces].all(1)[samples.face.numpy()]]] = True
    left = np.tile(np.arange(size) < size // 2, (size, 1)).ravel()
    assert np.abs(texture[1] - texture[0]).mean(-1).ravel()[face & ~left].mean() < 9
    assert np.abs(texture[1] - texture[0][:, ::-1]).mean(-1).ravel()[face & left].mean() < 9
