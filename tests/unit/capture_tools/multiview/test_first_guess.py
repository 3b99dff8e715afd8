"""Views, the network and its guess."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters, landmark_vertices
from avatar.geometry.rotations import axis_angle_to_matrix
from avatar.synthetic import portraits
from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.multiview.first_guess import chosen_views, guess_identity, load_network, placed_views
from capture_tools.multiview.network import GuessNetwork
from capture_tools.multiview.views import CHIN, FOREHEAD, cut_view, in_view, view_of


@pytest.fixture(scope="module")
def asset():
    return load_head()


def landmarks_of(asset, shape: np.ndarray, yaws: list[float], distance: float = 1.0) -> np.ndarray:
    """True landmarks `[N, 478, 2]` of a neutral head seen from several sides, in a picture of 1,000 pixels."""
    params = HeadParameters.neutral(asset)
    params.shape = torch.as_tensor(shape, dtype=torch.float32)
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
    points = landmarks_of(asset, np.zeros(100), [0.3])[0]
    elsewhere = moved(points, 0.7, 0.2, (40, 300))
    first, second = (in_view(p, view_of(p)) for p in (points, elsewhere))
    assert np.allclose(first, second, atol=1e-4)
    assert first[FOREHEAD, 1] < first[CHIN, 1]
    assert first[FOREHEAD, 0] == pytest.approx(first[CHIN, 0], abs=1e-4)
    assert np.abs(first).max() == pytest.approx(2 / 3, abs=1e-3)


@pytest.mark.parametrize("size", [120, 1400])
def test_a_cut_view_shows_what_lies_at_the_landmarks(asset, size):
    points = moved(landmarks_of(asset, np.zeros(100), [0.0])[0], 0.4, size / 1000, (0, 0))
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


def test_views_count_in_any_order_and_those_not_seen_do_not(asset):
    torch.manual_seed(0)
    network = GuessNetwork(100, 52).eval()
    points = placed_views(landmarks_of(asset, np.zeros(100), [0.0, 0.4, -0.3]))
    network.prepare(torch.as_tensor(asset.template[:478]), points + 0.01 * torch.randn(3, 478, 2))
    three = network(points[None], torch.tensor([[True, True, False]]))
    other = points.clone()
    other[2] = 5.0
    swapped = network(other[[1, 0, 2]][None], torch.tensor([[True, True, False]]))
    assert torch.allclose(three.shape, swapped.shape, atol=1e-5)
    assert torch.allclose(three.expr[0, 0], swapped.expr[0, 1], atol=1e-5)


def test_chosen_views_are_those_that_differ_most(asset):
    network, _ = load_network(asset.fingerprint, 100, 52)
    points = landmarks_of(asset, np.zeros(100), [0.0, 0.01, -0.01, 0.6, 0.02, -0.7, 0.0])
    rows = chosen_views(network, placed_views(points), 3)
    assert set(rows[1:]) == {3, 5}
    assert len(chosen_views(network, placed_views(points), 20)) == 7


@pytest.mark.slow
def test_guesses_from_real_detections_are_nearer_than_the_mean_head(asset):
    """A sitter that no training saw, ten heads in three views; errors after the best translation."""
    rng = np.random.default_rng(5)
    sitter = portraits.Sitter(900_001, asset)
    corners = asset.faces[asset.mediapipe_faces]
    middle = torch.as_tensor((asset.template[corners] * asset.mediapipe_barycentrics[..., None]).sum(1).mean(0))
    face = asset.region("face")
    before, after = [], []
    with LandmarkDetector(static=True) as detector:
        for _ in range(10):
            shape = portraits.random_identity(rng, asset, 0.7)
            found = []
            for yaw in (-0.35, 0.0, 0.35):
                params = HeadParameters.neutral(asset)
                params.shape = shape
                camera = portraits.place(rng, params, yaw, 192, middle)
                backdrop = portraits.random_backdrop(rng, sitter.backdrop, 192)
                light = portraits.random_light(rng)
                points, _ = detector.detect(sitter.draw(params, 0.0, camera, light, backdrop, shadows=False).image)
                found += [] if points is None else [points]
            guess = guess_identity(asset, np.stack(found))
            for errors, coefficients in ((before, np.zeros(100)), (after, guess.mean)):
                away = asset.shapedirs[face] @ (coefficients - shape.numpy())
                errors.append(np.linalg.norm(away - away.mean(0), axis=1).mean())
    assert np.mean(after) < 0.95 * np.mean(before)


def test_there_is_no_guess_without_a_whole_face_or_for_another_head(asset):
    points = landmarks_of(asset, np.zeros(100), [0.0, 0.2])
    hidden = np.zeros((2, 478), bool)
    hidden[:, :100] = True
    assert guess_identity(asset, points, hidden) is None
    assert guess_identity(asset, np.full_like(points, np.nan)) is None
    assert guess_identity(replace(asset, fingerprint="0" * 64), points) is None
    hidden[0] = False
    assert guess_identity(asset, points, hidden) is not None
