"""The view of a face that a network sees."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters, landmark_vertices
from avatar.geometry.rotations import axis_angle_to_matrix
from capture_tools.detect.face_view import CHIN, FOREHEAD, cut_view, in_view, view_of


@pytest.fixture(scope="module")
def asset():
    return load_head()


def landmarks_of(asset, yaws: list[float], distance: float = 1.0) -> np.ndarray:
    """Landmarks `[N, 478, 2]` of the mean head seen from several sides, in a picture of 1,000 pixels."""
    params = HeadParameters.neutral(asset)
    model = HeadModel(asset, landmark_vertices(asset))
    points = model.landmarks(model(params).vertices)[0].numpy()
    points = points - points.mean(0)
    turned = axis_angle_to_matrix(torch.tensor([[0.0, yaw, 0.0] for yaw in yaws])).numpy()
    seen = (points @ turned.swapaxes(1, 2)) * (1, -1, -1) + (0, 0, distance)
    return 500 + 1500 * seen[..., :2] / seen[..., 2:]


def moved(points: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


def test_a_view_is_the_same_however_the_face_lies_in_the_picture(asset):
    points = landmarks_of(asset, [0.3])[0]
    elsewhere = moved(points, 0.7, 0.2, (40, 300))
    first, second = (in_view(p, view_of(p)) for p in (points, elsewhere))
    assert np.allclose(first, second, atol=1e-4)
    assert first[FOREHEAD, 1] < first[CHIN, 1]
    assert first[FOREHEAD, 0] == pytest.approx(first[CHIN, 0], abs=1e-4)
    assert np.abs(first).max() == pytest.approx(2 / 3, abs=1e-3)


@pytest.mark.parametrize("size", [120, 1400])
def test_a_cut_view_shows_what_lies_at_the_landmarks(asset, size):
    points = moved(landmarks_of(asset, [0.0])[0], 0.4, size / 1000, (0, 0))
    points += size / 2 - points.mean(0)
    picture = np.zeros((size, size, 3), np.uint8)
    chin = points[CHIN]
    cv2.circle(
        picture, tuple(np.rint((chin - 0.5) * 16).astype(int)), int(size * 16 / 40), (255, 255, 255), -1, shift=4
    )
    view = view_of(points)
    shown = cut_view(picture, view, 96)[..., 0].astype(float)
    rows, columns = np.mgrid[:96, :96] + 0.5
    middle = np.array([(columns * shown).sum(), (rows * shown).sum()]) / shown.sum()
    assert middle == pytest.approx((in_view(points, view)[CHIN] + 1) * 48, abs=0.5)
