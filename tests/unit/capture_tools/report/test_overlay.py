"""The five panels show what they say, and the scores that come with them move with what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import assert_golden
from painted_clip import PaintedClip

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel
from avatar.geometry.cameras import project
from avatar.media.video import probe_video
from capture_tools.detect.selection import Crop
from capture_tools.report.overlay import CAPTION, PANEL_SIZE, PictureScores, draw_panels, write_overlay
from capture_tools.report.painting import MeshPainter, Skin, crop_camera

SIZE = 240
CONSTANT = 0.28209479  # the first harmonic
WHOLE = Crop(0, 0, SIZE, SIZE)
GREY = 188
"""sRGB of half the light."""


class Scene:
    """Frame 9 of the painted clip, flat grey under light from everywhere: every difference can be told beforehand."""

    def __init__(self, clip: PaintedClip, head: HeadAsset) -> None:
        crop = Crop(40, 0, SIZE, SIZE)
        light = torch.zeros(9, 3)
        light[0] = 1 / CONSTANT
        self.painter = MeshPainter(head, Skin(torch.full((head.vertex_count, 3), 0.503), light))
        self.camera = crop_camera(clip.camera, crop)
        self.params = clip.params.frame(9)
        self.inside = clip.masks[9][:, 40 : 40 + SIZE]
        self.image = np.where(self.inside[..., None], GREY, 90).astype(np.uint8) + np.zeros((SIZE, SIZE, 3), np.uint8)
        self.mask = 255 * self.inside.astype(np.uint8)
        model = HeadModel(head)
        with torch.no_grad():
            self.points = project(model.landmarks(model(self.params).vertices), self.camera)[0][0].numpy()

    def draw(self, **changed) -> tuple[list[np.ndarray], PictureScores]:
        given = {name: changed.get(name, getattr(self, name)) for name in ("painter", "image", "mask", "params")}
        found = changed.get("found", self.points)
        drawn, scores = draw_panels(
            **given, camera=self.camera, detected=found, projected=self.points, window=WHOLE, title="x"
        )
        assert drawn.shape == (SIZE + CAPTION, 5 * SIZE, 3)
        return [drawn[CAPTION:, k * SIZE : (k + 1) * SIZE] for k in range(5)], scores


@pytest.fixture(scope="module")
def scene(painted: PaintedClip, head: HeadAsset) -> Scene:
    return Scene(painted, head)


def test_a_perfect_fit_differs_nowhere(scene: Scene) -> None:
    (picture, landmarks, mesh, alone, difference), scores = scene.draw()
    np.testing.assert_array_equal(picture, scene.image)
    assert (landmarks == [60, 255, 60]).all(-1).sum() > 100
    assert (mesh[~scene.inside] == 90).all()
    assert (mesh[scene.inside].std(0) > 3).all()
    assert (alone[scene.inside] == GREY).mean() > 0.99
    assert difference.max() < 60
    assert scores.photometric_error == pytest.approx(0, abs=0.5)
    assert scores.exposure == pytest.approx(1, abs=0.01)
    assert scores.silhouette_iou == pytest.approx(1, abs=0.01)


def test_the_panels_look_as_they_did(scene: Scene) -> None:
    """Found landmarks two pixels beside the fitted ones; antialiasing of their marks may differ by version."""
    panels, _ = scene.draw(found=scene.points + 2)
    assert_golden(np.concatenate(panels, 1), "overlay", mean=0.2, worst=10.0)


def test_what_differs_is_bright_and_counted(scene: Scene) -> None:
    image = scene.image.copy()
    nose = np.rint(scene.points[4]).astype(int)
    patch = slice(nose[1] - 6, nose[1] + 6), slice(nose[0] - 6, nose[0] + 6)
    image[patch] += 50
    panels, scores = scene.draw(image=image)
    assert panels[4][patch].mean() > 100
    in_face = (panels[4] == panels[4][nose[1] - 12, nose[0]]).all(-1).sum() + 144
    assert scores.photometric_error == pytest.approx(50 * 144 / in_face, rel=0.1)


def test_a_shifted_head_shows_at_the_outline(scene: Scene) -> None:
    moved = replace(scene.params, translation=scene.params.translation + torch.tensor([0.02, 0.0, 0.0]))
    _, true = scene.draw()
    _, shifted = scene.draw(params=moved)
    assert shifted.photometric_error > true.photometric_error + 3
    assert shifted.silhouette_iou < 0.9


def test_exposure_is_told_apart_from_misfit(scene: Scene) -> None:
    darker = np.where(scene.inside[..., None], 137, 90).astype(np.uint8) + np.zeros((SIZE, SIZE, 3), np.uint8)
    _, scores = scene.draw(image=darker)  # sRGB 137 is a quarter of the light
    assert scores.exposure == pytest.approx(0.5, abs=0.01)
    assert scores.photometric_error < 1
    seen = scene.painter.look(scene.params, scene.camera)
    beside = scene.inside.copy()
    beside[scene.inside] = ~scene.painter.in_face[seen.face].numpy()
    assert beside.sum() > 1000
    haired = np.where(beside[..., None], 60, scene.image).astype(np.uint8)
    assert scene.draw(image=haired)[1].exposure == pytest.approx(1, abs=0.01)


def test_mattes_are_compared_between_eyes_and_lips(scene: Scene) -> None:
    mask = scene.mask.copy()
    eyes, mouth = int(scene.points[[33, 263], 1].min()), int(scene.points[17, 1])
    mask[mouth + 8 :] = 255  # shoulders
    mask[: eyes - 8] = 0  # a hat
    assert scene.draw(mask=mask)[1].silhouette_iou == pytest.approx(1, abs=0.01)
    mask[: (eyes + mouth) // 2] = 0
    assert scene.draw(mask=mask)[1].silhouette_iou == pytest.approx(0.5, abs=0.1)


def test_without_colours_the_misses_of_landmarks_are_drawn(scene: Scene, head: HeadAsset) -> None:
    found = np.full_like(scene.points, np.nan)
    found[4] = scene.points[4] + [-10, 0]  # the nose, 10 pixels beside
    panels, scores = scene.draw(painter=MeshPainter(head), found=found)
    assert scores == PictureScores(None, None, None)
    red = (panels[4][..., 0] > 200) & (panels[4][..., 1] < 90)
    assert red.any(0).sum() == pytest.approx(50, abs=3)  # the arrow is five times as long as the miss
    assert red.any(1).sum() <= 3
    assert panels[3][scene.inside].std(0).min() > 3  # the head itself, shaded
    assert (panels[3][~scene.inside] == 0).all()


def test_video_has_five_panels_a_frame(scene: Scene, tmp_path: Path) -> None:
    path, done = tmp_path / "overlay.mp4", []
    scores = write_overlay(
        *(path, scene.painter, np.stack([scene.image] * 3), np.stack([scene.mask] * 3)),
        *(scene.params.select([0, 0, 0]), scene.camera, np.stack([scene.points] * 3), np.stack([scene.points] * 3)),
        *(np.array([4, 5, 9]), 25, done.append),
    )
    info = probe_video(path)
    assert (info.width, info.height, info.frame_count) == (5 * PANEL_SIZE, PANEL_SIZE + CAPTION, 3)
    assert done == [1, 2, 3]
    assert len(scores) == 3
