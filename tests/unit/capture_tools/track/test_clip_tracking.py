"""The tracker finds known parameters again from their projected landmarks, with half a pixel of noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from avatar.base.errors import HeadModelError, InputError
from avatar.flame.assets import HeadAsset
from avatar.flame.landmark_sets import LIPS
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera, project
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from capture_tools.track.clip_tracking import TrackResult, TrackSettings, track
from capture_tools.track.landmark_bias import with_bias

WIDTH, HEIGHT, FOCAL, DISTANCE = 640, 480, 900.0, 0.75
NOISE = 0.5
BLINK = slice(17, 21)
QUICK = TrackSettings(rigid_steps=60, face_steps=120, offset_steps=150)


@dataclass
class Case:
    asset: HeadAsset
    truth: HeadParameters
    camera: Camera
    pixels: np.ndarray
    times: np.ndarray
    result: TrackResult


@pytest.fixture(scope="module")
def case() -> Case:
    asset = with_bias(load_head(), np.zeros((478, 3)))  # the landmarks below lie on the skin itself
    rng = np.random.default_rng(0)
    count = 30
    times = np.arange(count) / 25
    truth = HeadParameters.neutral(asset, count)
    truth.shape = 0.7 * torch.randn(asset.shape_count, generator=torch.Generator().manual_seed(0))

    def wave(size: float) -> torch.Tensor:
        phase = 2 * np.pi * (times * rng.uniform(0.4, 1.0) + rng.uniform())
        return torch.as_tensor(size * np.sin(phase), dtype=torch.float32)

    truth.rotation = torch.stack([wave(0.15), wave(0.35), wave(0.1)], 1)
    truth.translation = torch.stack([wave(0.02), wave(0.01), wave(0.03)], 1)
    for name, size in (("eyeBlink", 0.7), ("mouthSmile", 0.6), ("mouthFunnel", 0.5), ("browInnerUp", 0.6)):
        value = wave(size).clamp(min=0)
        for i, known in enumerate(asset.expression_names):
            if known in (name, f"{name}Left", f"{name}Right"):
                truth.expr[:, i] = value
    for side in ("Left", "Right"):
        truth.expr[BLINK, asset.expression_index(f"eyeBlink{side}")] = torch.tensor([0.5, 1.0, 0.8, 0.3])
    truth.jaw[:, 0] = wave(0.25).clamp(min=0)
    look = torch.stack([wave(0.15), wave(0.25)], 1)
    truth.eyes[:, :2] = truth.eyes[:, 3:5] = look
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[2, 3] = DISTANCE
    camera = Camera(WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2, pose)
    model = HeadModel(asset)
    pixels, _ = project(model.landmarks(model(truth).vertices), camera)
    noisy = (pixels.numpy() + rng.normal(0, NOISE, pixels.shape)).astype(np.float32)
    noisy[11:13] = np.nan  # two frames without a face
    result = track(noisy, times, WIDTH, HEIGHT, asset, QUICK)
    return Case(asset, truth, camera, noisy, times, result)


def test_error_is_the_noise_and_what_priors_leave(case: Case) -> None:
    """The mean length of a 2D normal vector is sigma sqrt(pi / 2); priors made for real detections leave a little."""
    assert NOISE * np.sqrt(np.pi / 2) < case.result.landmark_error_px < 1.6 * NOISE * np.sqrt(np.pi / 2)
    eyes = np.linalg.norm(case.pixels[:, 33] - case.pixels[:, 263], axis=-1)
    again = np.nanmean(case.result.errors.mean(axis=1) / eyes)
    assert case.result.landmark_error_iod == pytest.approx(again, rel=1e-4)


def test_reported_errors_are_those_of_the_parameters(case: Case) -> None:
    """What is written to a capture (parameters, camera) reprojects to what the result says."""
    model = HeadModel(case.asset)
    with torch.no_grad():
        pixels, _ = project(model.landmarks(model(case.result.params).vertices), case.result.camera)
    np.testing.assert_allclose(pixels.numpy(), case.result.projected, atol=0.02)
    seen = np.isfinite(case.pixels).all(axis=(1, 2))
    distance = np.linalg.norm(pixels.numpy() - case.pixels, axis=-1)
    np.testing.assert_allclose(case.result.errors[seen], distance[seen], atol=0.03)


def test_head_motion_is_found(case: Case) -> None:
    turn = axis_angle_to_matrix(case.result.params.rotation).transpose(1, 2) @ axis_angle_to_matrix(case.truth.rotation)
    angle = matrix_to_axis_angle(turn).norm(dim=-1) * 180 / np.pi
    assert float(angle.mean()) < 2.0
    motion = case.result.params.translation - case.truth.translation
    assert motion[:, :2].std(0).max() < 0.002
    # Depth and focal length trade against each other: only the relative motion is determined.
    share = np.corrcoef(case.result.params.translation[:, 2], case.truth.translation[:, 2])[0, 1]
    assert share > 0.97
    assert case.result.camera.fl_x == pytest.approx(FOCAL, rel=0.25)


def test_expressions_jaw_and_gaze_are_found(case: Case) -> None:
    p, truth = case.result.params, case.truth
    assert np.corrcoef(p.jaw[:, 0], truth.jaw[:, 0])[0, 1] > 0.99
    assert float((p.jaw[:, 0] - truth.jaw[:, 0]).abs().mean()) < 0.045
    names = case.asset.expression_names
    for name in ("eyeBlinkLeft", "mouthSmileRight", "mouthFunnel", "browInnerUp"):
        i = names.index(name)
        assert np.corrcoef(p.expr[:, i], truth.expr[:, i])[0, 1] > 0.95, name
    assert float((p.expr - truth.expr).square().mean().sqrt()) < 0.08
    assert float((p.eyes - truth.eyes).norm(dim=-1).mean()) * 180 / np.pi < 3.5
    assert float(p.expr.min()) > -0.1
    assert float(p.expr.max()) < 1.1


def test_a_blink_of_four_frames_shuts_the_lids(case: Case) -> None:
    """Priors on size and on changes must not leave lids ajar: 0.7 of a blink is a squint."""
    sides = [case.asset.expression_index(f"eyeBlink{side}") for side in ("Left", "Right")]
    found = case.result.params.expr[BLINK][:, sides]
    assert float(found[1].min()) > 0.85
    assert float((found - case.truth.expr[BLINK][:, sides]).abs().mean()) < 0.1


def test_identity_is_nearer_than_the_mean_head(case: Case) -> None:
    model, face = HeadModel(case.asset), case.asset.regions["face"]

    def neutral(p: HeadParameters | None) -> np.ndarray:
        q = HeadParameters.neutral(case.asset)
        if p is not None:
            q.shape, q.static_offset = p.shape, p.static_offset
        return model(q).vertices[0].numpy()[face]

    truth = neutral(case.truth)

    def error(vertices: np.ndarray) -> float:
        return float(np.median(np.linalg.norm(similar(vertices, truth) - truth, axis=-1)))

    assert error(neutral(case.result.params)) < 0.7 * error(neutral(None))
    assert error(neutral(case.result.params)) < 0.0018


def similar(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`points` moved onto `target` by the best similarity (Umeyama 1991): one camera cannot tell size from distance."""
    a, b = points - points.mean(0), target - target.mean(0)
    u, s, v = np.linalg.svd(a.T @ b)
    flip = np.array([1, 1, np.sign(np.linalg.det(u @ v))])
    return (s * flip).sum() / (a**2).sum() * a @ (u * flip @ v) + target.mean(0)


@pytest.mark.slow
def test_hidden_landmarks_do_not_pull(case: Case) -> None:
    """A hand's landmarks where the mouth should be: the head stays, and the mouth is that of the frames around."""
    wrong, occluded = case.pixels.copy(), np.zeros(case.pixels.shape[:2], bool)
    mouth = [*LIPS, 152, 175, 199, 200]
    occluded[18:22, mouth] = True
    wrong[18:22, mouth] += 60
    arguments = (wrong, case.times, WIDTH, HEIGHT, case.asset, QUICK)
    told, untold = track(*arguments, occluded=occluded), track(*arguments)

    def change(result: TrackResult) -> float:
        turn = (
            axis_angle_to_matrix(result.params.rotation[18:22])
            @ axis_angle_to_matrix(case.result.params.rotation[18:22]).mT
        )
        return float(matrix_to_axis_angle(turn).norm(dim=-1).mean())

    assert change(told) < 0.02
    assert change(told) < 0.5 * change(untold)
    assert float((told.params.jaw[18:22, 0] - case.result.params.jaw[18:22, 0]).abs().mean()) < 0.08


def test_frames_without_a_face_are_carried_over(case: Case) -> None:
    assert np.isnan(case.result.errors[11:13]).all()
    assert np.isnan(case.result.errors_iod[11:13]).all()
    rotation = case.result.params.rotation
    middle = (rotation[10] + rotation[13]) / 2
    assert (rotation[11:13] - middle).norm(dim=-1).max() < 0.05
    assert torch.isfinite(case.result.params.expr).all()


def test_world_frame(case: Case) -> None:
    """Fixed camera on the z axis, looking at the origin, around which the head moves."""
    pose = case.result.camera.world_from_cam
    np.testing.assert_allclose(pose[:3, :3], np.diag([1, -1, -1]), atol=1e-12)
    assert pose[0, 3] == pose[1, 3] == 0
    seen = np.isfinite(case.pixels).all(axis=(1, 2))
    assert float(case.result.params.translation[seen, 2].mean()) == pytest.approx(0, abs=1e-4)
    assert 0.5 * DISTANCE < pose[2, 3] < 1.5 * DISTANCE
    assert (case.result.params.neck == 0).all()


def test_arrays_hold_the_whole_result(case: Case, tmp_path) -> None:
    np.savez(tmp_path / "track.npz", **case.result.to_arrays())
    with np.load(tmp_path / "track.npz") as file:
        back = TrackResult.from_arrays(dict(file))
    for name in ("shape", "expr", "rotation", "translation", "neck", "jaw", "eyes", "static_offset"):
        assert torch.equal(getattr(back.params, name), getattr(case.result.params, name)), name
    assert back.camera.fl_x == case.result.camera.fl_x
    np.testing.assert_array_equal(back.camera.world_from_cam, case.result.camera.world_from_cam)
    np.testing.assert_array_equal(back.facing, case.result.facing)


def test_what_cannot_be_tracked_is_refused() -> None:
    asset = load_head()
    nothing = np.full((5, 478, 2), np.nan, np.float32)
    with pytest.raises(InputError, match="no frame shows a face"):
        track(nothing, np.arange(5.0), 100, 100, asset)
    missing = (np.full(478, -1), np.zeros((478, 3)))
    blank = asset.with_landmarks(missing, (np.full(68, -1), np.zeros((68, 3))))
    with pytest.raises(HeadModelError, match="no landmark embedding"):
        track(np.zeros((5, 478, 2)), np.arange(5.0), 100, 100, blank)
