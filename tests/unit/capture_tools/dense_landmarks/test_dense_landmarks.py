"""Dense landmarks: their points, the network, and the tracker's use of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.base.conventions import LANDMARK_COUNT
from avatar.base.errors import HeadModelError
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import project
from avatar.geometry.rotations import matrix_to_axis_angle
from avatar.synthetic import portraits
from capture_tools.dense_landmarks.network import DenseNetwork
from capture_tools.dense_landmarks.placing import WEIGHTS, DenseLandmarks, load_networks, place_dense_landmarks
from capture_tools.dense_landmarks.points import EXTRA, dense_points
from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.detect.selection import Crop
from capture_tools.track.clip_fit import ClipFit
from capture_tools.track.clip_tracking import TrackSettings, track
from capture_tools.track.landmark_evidence import LEAST_DEVIATION, with_dense

SIZE = 256
QUICK = TrackSettings(rigid_steps=60, face_steps=80, offset_steps=100)


@pytest.fixture(scope="module")
def asset():
    return load_head()


@pytest.fixture(scope="module")
def points(asset):
    return dense_points(asset)


def test_points_begin_with_the_landmarks_and_every_one_has_its_mirror_image(asset, points):
    places = points.at(asset.template, asset.faces)
    model = HeadModel(asset)
    landmarks = model.landmarks(model(HeadParameters.neutral(asset)).vertices)[0].numpy()
    assert np.allclose(places[:LANDMARK_COUNT], landmarks, atol=1e-5)
    assert np.array_equal(points.mirror[points.mirror], np.arange(len(points)))
    assert np.abs(places[points.mirror] - places * (-1, 1, 1)).max() < 2e-3
    first = LANDMARK_COUNT
    for name, count in EXTRA.items():
        rows = asset.faces[points.faces[first : first + count]][points.barycentrics[first : first + count] == 1]
        assert len(set(rows.tolist())) == count
        assert asset.region(name)[rows].mean() > 0.9  # regions are not quite symmetric, points are
        first += count
    assert first == len(points)


def test_the_network_is_for_heads_with_the_open_heads_surface(asset, points):
    nothing = ([], Crop(0, 0, 8, 8), np.zeros((0, 478, 2)))
    learned = replace(asset, template=1.02 * asset.template, fingerprint="0" * 64)
    placed = place_dense_landmarks(learned, *nothing)
    assert placed is not None
    assert np.array_equal(placed.points.faces, points.faces)  # the open head's, not the farthest of this one
    other = replace(asset, faces=asset.faces[:, [1, 2, 0]], fingerprint="0" * 64)
    assert place_dense_landmarks(other, *nothing) is None
    with pytest.raises(HeadModelError, match="another head"):
        load_networks("0" * 64)
    assert sum(path.stat().st_size for path in WEIGHTS) < 12e6


def test_each_point_has_gradients_from_both_steps_and_from_the_picture(asset, points):
    torch.manual_seed(0)
    network = DenseNetwork(len(points), 96)
    landmarks = 0.3 * torch.randn(3, LANDMARK_COUNT, 2)
    network.prepare(torch.as_tensor(points.at(asset.template, asset.faces), dtype=torch.float32), landmarks)
    pictures = torch.rand(3, 3, 96, 96, requires_grad=True)
    first, last, deviation = network(pictures, landmarks)
    assert first.shape == last.shape == (3, len(points), 2)
    (first.square().sum() + last.square().sum() + deviation.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())
    assert pictures.grad.abs().amax((1, 2, 3)).min() > 0


class Sitting:
    """One portrait with its detected landmarks; lengths in pixels of the picture."""

    def __init__(self, asset, seed: int, yaw: float) -> None:
        rng = np.random.default_rng(seed)
        sitter = portraits.Sitter(900_000 + seed, asset)
        corners = asset.faces[asset.mediapipe_faces]
        middle = torch.as_tensor((asset.template[corners] * asset.mediapipe_barycentrics[..., None]).sum(1).mean(0))
        self.params = portraits.random_face(rng, asset)
        self.params.shape = portraits.random_identity(rng, asset, 0.6)
        self.camera = portraits.place(rng, self.params, yaw, SIZE, middle)
        backdrop = portraits.random_backdrop(rng, sitter.backdrop, SIZE)
        light = portraits.random_light(rng)
        self.image = sitter.draw(self.params, 0.0, self.camera, light, backdrop, shadows=False).image
        with LandmarkDetector(static=True) as detector:
            self.detected, _ = detector.detect(self.image)
        with torch.no_grad():
            self.vertices = HeadModel(asset)(self.params).vertices[0]

    def true(self, asset, points) -> np.ndarray:
        surface = torch.as_tensor(points.at(self.vertices.numpy(), asset.faces), dtype=torch.float32)
        return project(surface, self.camera)[0].numpy()


@pytest.fixture(scope="module")
def sittings(asset):
    made = [Sitting(asset, seed, yaw) for seed, yaw in ((1, 0.1), (3, 0.5), (4, -0.6), (7, -0.7))]
    return [sitting for sitting in made if sitting.detected is not None]


def test_dense_landmarks_are_nearer_to_the_surface_than_detected_ones_above_all_from_aside(asset, points, sittings):
    assert len(sittings) >= 3
    before, after, honest = [], [], []
    crop = Crop(-20, 10, SIZE, SIZE // 2)  # a crop of half the resolution: answers are in pixels of the source
    for sitting in sittings:
        true = sitting.true(asset, points)
        image = crop_of(sitting.image, crop)
        dense = place_dense_landmarks(asset, [image], crop, sitting.detected[None])
        away = np.linalg.norm(dense.places[0] - true, axis=1)
        before.append(np.linalg.norm(sitting.detected - true[:LANDMARK_COUNT], axis=1).mean())
        after.append(away[:LANDMARK_COUNT].mean())
        honest.append(np.median(away / dense.deviation[0]))
    assert np.mean(after) < 0.46 * np.mean(before)
    assert min(np.array(after) < np.array(before))
    assert 0.6 < np.mean(honest) < 2.2  # 1.36 on held-out portraits; 1.5 for a normal error of that deviation


def crop_of(image: np.ndarray, crop: Crop) -> np.ndarray:
    """What a crop that reaches beyond the picture shows, black there."""
    import cv2

    to_crop = crop.scale * np.array([[1, 0, -crop.x0], [0, 1, -crop.y0]], float)
    to_crop[:, 2] += crop.scale / 2 - 0.5
    small = cv2.GaussianBlur(image, (0, 0), 0.5 / crop.scale)
    return cv2.warpAffine(small, to_crop, (crop.size, crop.size))


def test_frames_without_a_face_have_no_places_and_do_not_count(asset, points, sittings):
    crop, sitting = Crop(0, 0, SIZE, SIZE), sittings[0]
    landmarks = np.stack([sitting.detected, np.full((478, 2), np.nan), sitting.detected])
    dense = place_dense_landmarks(asset, [sitting.image] * 3, crop, landmarks)
    assert np.isnan(dense.places[1]).all()
    assert np.isnan(dense.deviation[1]).all()
    fit = ClipFit(landmarks, np.arange(3) / 25, SIZE, SIZE, asset, TrackSettings(), None, dense)
    assert not fit.evidence.trust[1].any()
    assert not fit.landmark_weights(True)[1].any()
    assert torch.isfinite(fit.energy(fit.landmark_weights(True), True))


def test_the_tracker_follows_points_as_far_as_they_are_trusted(asset, points):
    """True places of a head on another's landmarks: the fit is the true head's. The doubtful ones are far off."""
    truth = HeadParameters.neutral(asset, 3)
    truth.shape = 1.2 * torch.randn(asset.shape_count, generator=torch.Generator().manual_seed(3))
    truth.rotation[:, 1] = torch.tensor([-0.4, 0.0, 0.5])
    with torch.no_grad():
        vertices = HeadModel(asset)(truth).vertices.numpy()

    def seen(surface: np.ndarray) -> np.ndarray:
        placed = surface - np.array([0, 0, 0.8])
        flat = placed[..., :2] * (1, -1) / -placed[..., 2:]
        return (700 * flat + SIZE / 2).astype(np.float32)

    places = seen(points.at(vertices, asset.faces))
    detected = places[:, :LANDMARK_COUNT] + np.random.default_rng(0).normal(0, 3.0, (3, LANDMARK_COUNT, 2))
    doubtful = np.random.default_rng(1).random(len(points)) < 0.2
    wrong = places + 25.0 * doubtful[:, None].astype(np.float32)
    deviation = np.where(doubtful, 60.0, 0.3).astype(np.float32)[None].repeat(3, 0)
    settings = replace(QUICK, focal_prior=700 / SIZE, focal_deviation=0.01, photographs=True)
    arguments = detected.astype(np.float32), 1000.0 * np.arange(3), SIZE, SIZE, asset, settings
    result = track(*arguments, dense=DenseLandmarks(points, wrong, deviation))
    turned = (result.params.rotation - truth.rotation).norm(dim=-1).rad2deg()
    assert turned.max() < 1.0
    with torch.no_grad():
        neutral = HeadModel(asset)(HeadParameters.neutral(asset)).vertices[0]
        own = HeadParameters.neutral(asset)
        own.shape, own.static_offset = result.params.shape, result.params.static_offset
        found = HeadModel(asset)(own).vertices[0]
        own.shape, own.static_offset = truth.shape, torch.zeros_like(own.static_offset)
        real = HeadModel(asset)(own).vertices[0]
    face = torch.as_tensor(asset.region("face"))

    def away(mesh: torch.Tensor) -> float:
        a, b = mesh[face] - mesh[face].mean(0), real[face] - real[face].mean(0)
        return float((a * (b.norm() / a.norm()) - b).norm(dim=-1).mean())

    assert away(found) < 0.35 * away(neutral)
    assert result.errors.shape == (3, LANDMARK_COUNT)  # told of the detector's own landmarks


def test_the_weights_lean_on_the_identity_and_small_deviations_have_a_floor(asset, points, sittings):
    usual = TrackSettings().weights
    dense = with_dense(usual)
    assert dense.shape < usual.shape
    assert dense.offset > usual.offset
    sitting = sittings[0]
    sure = DenseLandmarks(points, sitting.true(asset, points)[None], np.full((1, len(points)), 1e-6, np.float32))
    settings = TrackSettings()
    fit = ClipFit(sitting.detected[None], np.zeros(1), SIZE, SIZE, asset, settings, None, sure)
    assert float(fit.evidence.trust.max()) == pytest.approx(settings.weights.landmark / LEAST_DEVIATION, rel=1e-3)


@pytest.mark.slow
def test_profiles_are_tracked_nearer_with_dense_landmarks(asset):
    """Rotation of heads 50 degrees aside and more, from one picture's landmarks, against the detector's."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    for seed, degrees in ((11, 52.0), (12, -54.0), (13, 50.0), (14, -52.0)):
        sitting = Sitting(asset, seed, math.radians(degrees))
        if sitting.detected is None:
            continue
        landmarks, crop = sitting.detected[None], Crop(0, 0, SIZE, SIZE)
        truth = torch.as_tensor(sitting.camera.cam_from_world[:3, :3]).float()
        with torch.no_grad():
            truth = truth @ HeadModel(asset)(sitting.params).world_from_skull[0, :3, :3]
        for dense in errors:
            placed = place_dense_landmarks(asset, [sitting.image], crop, landmarks) if dense else None
            found = track(landmarks, np.zeros(1), SIZE, SIZE, asset, QUICK, dense=placed)
            seen = torch.as_tensor(found.camera.cam_from_world[:3, :3]).float()
            with torch.no_grad():
                seen = seen @ HeadModel(asset)(found.params).world_from_skull[0, :3, :3]
            errors[dense].append(float(matrix_to_axis_angle(seen @ truth.T).norm().rad2deg()))
    assert len(errors[True]) >= 3
    assert np.mean(errors[True]) < 0.8 * np.mean(errors[False])
