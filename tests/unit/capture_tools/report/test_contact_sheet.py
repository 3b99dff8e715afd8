"""The contact sheet shows the frames worth looking at, and the light as it falls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from painted_clip import PaintedClip

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel
from avatar.geometry.cameras import project
from avatar.kernels.harmonics.op import spherical_harmonics
from avatar.media.images import read_png
from capture_tools.detect.selection import Crop
from capture_tools.report import contact_sheet
from capture_tools.report.contact_sheet import CELLS, TILE, lit_ball, telling_frames, write_contact_sheet
from capture_tools.report.painting import MeshPainter, Skin, crop_camera


def faces(count: int) -> np.ndarray:
    pixels = np.full((count, 478, 2), 100.0, np.float32)
    pixels[:, 263, 0] += 80
    return pixels


def test_telling_frames_show_the_extremes_and_the_worst() -> None:
    landmarks = np.random.default_rng(0).normal(0, 0.1, (100, 478, 2)) + faces(100)
    landmarks[:, [145, 374], 1] += 8
    landmarks[:, 14, 1] += 5
    landmarks[37, [145, 374]] = landmarks[37, [159, 386]]
    landmarks[61, 14, 1] += 40
    rotation = np.zeros((100, 3))
    rotation[83, 1] = 0.9
    chosen = telling_frames(landmarks, rotation, 12)
    assert {37, 61, 83} <= set(chosen)
    assert len(chosen) <= 12
    assert chosen == sorted(chosen)
    assert not {50, 51, 52} <= set(chosen)
    chosen = telling_frames(landmarks, rotation, 12, wanted=[50, 51, 52])
    assert {37, 50, 51, 52, 61, 83} <= set(chosen)
    assert len(chosen) <= 12


def test_a_ball_is_lit_from_where_the_light_comes() -> None:
    directions = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    wanted = torch.stack([0.5 + 0.5 * directions[:, 0], 0.5 + 0.5 * directions[:, 1], torch.ones(500)], -1)
    light = torch.linalg.lstsq(spherical_harmonics(directions), wanted).solution
    ball = lit_ball(light, 100).astype(int)
    assert ball[50, 90, 0] > ball[50, 50, 0] > ball[50, 10, 0]  # red from the right
    assert ball[10, 50, 1] > ball[50, 50, 1] > ball[90, 50, 1]  # green from above
    assert np.ptp(ball[50, 10:90, 2]) <= 1  # blue from everywhere


def test_sheet_holds_the_worst_frame(
    painted: PaintedClip, head: HeadAsset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str] = []

    def labelled(tile: np.ndarray, text: str) -> np.ndarray:
        words.append(text)
        return tile

    monkeypatch.setattr(contact_sheet, "labelled", labelled)
    crop = Crop(40, 0, 240, 240)
    images = np.stack([crop.cut(image) for image in painted.images])
    masks = np.stack([255 * crop.cut(mask.astype(np.uint8)[..., None]).reshape(240, 240) for mask in painted.masks])
    camera = crop_camera(painted.camera, crop)
    model = HeadModel(head)
    with torch.no_grad():
        landmarks = project(model.landmarks(model(painted.params).vertices), camera)[0].numpy()
    light = torch.zeros(9, 3)
    light[0] = 3.5
    painter = MeshPainter(head, Skin(torch.full((head.vertex_count, 3), 0.4), light))

    def sheet(worst: int) -> np.ndarray:
        scores = [{"frame": i, "landmark_error_iod": 0.1 if i == worst else 0.01} for i in range(28)]
        path = write_contact_sheet(
            *(tmp_path / "sheet.png", painter, images, masks, crop.cut(painted.wall)),
            *(painted.params, camera, landmarks, scores),
        )
        return read_png(path)

    for worst in (5, 6, 7):  # of three neighbours an even choice holds two at most
        words.clear()
        drawn = sheet(worst)
        assert f"frame {worst}" in words
        assert sum(word.startswith("frame ") for word in words) == CELLS
        assert "landmarks 10.0%" in words
    assert drawn.shape == ((CELLS // 2 + 1) * TILE, 6 * TILE, 3)
    last = drawn[-TILE:]
    assert all(last[:, k * TILE : (k + 1) * TILE].std() > 5 for k in range(5))
