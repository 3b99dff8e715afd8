"""Several photographs in one frame, one head from them, and photographs that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from avatar.base.errors import InputError
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera
from avatar.media.images import write_png
from capture_tools.multiview.common_frame import SIDE, common_frame, face_crop
from capture_tools.multiview.folder import reconstruct_files, require_one_person
from capture_tools.multiview.reconstructing import common_share, require_common_view
from capture_tools.photo import Photograph
from capture_tools.track.clip_fit import WORLD_FROM_CAMERA_AXES, ClipFit
from capture_tools.track.clip_tracking import TrackResult, TrackSettings, track
from capture_tools.track.landmark_bias import with_bias

NOSE_TIP = 1


def blank(width: int, height: int, focal: float | None = None) -> Photograph:
    return Photograph(np.zeros((height, width, 3), np.uint8), focal)


def test_lenses_are_equally_long_in_the_common_frame():
    frame = common_frame([blank(600, 400, 28.0), blank(3000, 4000, 70.0), blank(500, 500, 28.0)])
    assert frame.known
    diagonal = np.hypot(36, 24)
    focals = [28 / diagonal * np.hypot(600, 400), 70 / diagonal * 5000, 28 / diagonal * np.hypot(500, 500)]
    in_frame = frame.scales * focals
    assert in_frame == pytest.approx(np.full(3, in_frame[0]))
    assert in_frame[0] == pytest.approx(frame.focal_prior * SIDE)
    assert not common_frame([blank(600, 400, 28.0), blank(600, 400)]).known


@pytest.mark.parametrize("width", [300, 2400])
def test_a_cut_shows_what_lies_at_a_place_of_the_frame(width):
    photograph = blank(width, width // 2)
    place = np.array([0.55, 0.3]) * width
    cv2.circle(photograph.image, tuple(np.rint((place - 0.5) * 16).astype(int)), width // 3, (255,) * 3, -1, shift=4)
    frame = common_frame([photograph])
    marks = frame.to_frame([place + np.random.default_rng(0).normal(0, 0.05 * width, (478, 2))])
    crop = replace(face_crop(marks, frame.scales), size=128)
    shown = frame.cut([photograph.image], crop)[0, ..., 0].astype(float)
    rows, columns = np.mgrid[:128, :128] + 0.5
    middle = np.array([(columns * shown).sum(), (rows * shown).sum()]) / shown.sum()
    assert middle == pytest.approx(crop.to_crop(frame.to_frame([place[None].repeat(478, 0)]))[0, 0], abs=0.7)


def test_photographs_share_one_expression(head):
    asset = with_bias(head, np.zeros((478, 3)))
    truth = HeadParameters.neutral(asset, 3)
    truth.rotation = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.05, -0.5, 0.0]])
    truth.jaw[:, 0] = 0.2
    for side in ("Left", "Right"):
        truth.expr[:, asset.expression_index(f"mouthSmile{side}")] = 0.7
    model = HeadModel(asset)
    points = model.landmarks(model(truth).vertices) + torch.tensor([0.0, 0.0, -0.9])
    flat = points[..., :2] * torch.tensor([1.0, -1.0]) / -points[..., 2:]
    pixels = (700 * flat + 256).numpy()
    settings = TrackSettings(
        rigid_steps=60, face_steps=150, offset_steps=100, photographs=True, focal_prior=700 / 512, focal_deviation=0.02
    )
    result = track(pixels, 1000.0 * np.arange(3), 512, 512, asset, settings)
    expr = result.params.expr
    assert torch.equal(expr[0], expr[1])
    assert torch.equal(expr[0], expr[2])
    assert float(result.params.jaw[0, 0]) == pytest.approx(0.2, abs=0.06)
    assert float(expr[0, asset.expression_index("mouthSmileLeft")]) > 0.4
    assert result.landmark_error_iod < 0.01


@pytest.mark.parametrize("photographs", [True, False])
def test_landmarks_from_aside_count_less_in_photographs(head, photographs):
    model = HeadModel(head)
    points = model.landmarks(model(HeadParameters.neutral(head, 3)).vertices) - torch.tensor([0.0, 0.0, 0.9])
    pixels = (700 * points[..., :2] * torch.tensor([1.0, -1.0]) / -points[..., 2:] + 256).numpy()
    fit = ClipFit(pixels, 1000.0 * np.arange(3), 512, 512, head, TrackSettings(photographs=photographs))
    with torch.no_grad():
        fit.v["rotation"].zero_()
        straight = fit.landmark_weights(False)[:, NOSE_TIP]
        fit.v["rotation"][:, 1] = torch.deg2rad(torch.tensor([14.0, -22.5, 45.0]))
        share = fit.landmark_weights(False)[:, NOSE_TIP] / straight
    assert share.tolist() == pytest.approx([1.0, 0.5, 0.05] if photographs else [1.0, 1.0, 1.0], abs=0.01)


def turned_heads(asset, degrees: list[float]) -> TrackResult:
    params = HeadParameters.neutral(asset, len(degrees))
    params.rotation[:, 1] = torch.deg2rad(torch.tensor(degrees))
    pose = np.eye(4)
    pose[:3, :3], pose[2, 3] = WORLD_FROM_CAMERA_AXES, 1.0
    nothing = np.zeros(len(degrees))
    return TrackResult(params, Camera(100, 100, 100, 100, 50, 50, pose), nothing, nothing, nothing, nothing)


def test_a_profile_alone_and_views_without_common_skin_are_refused(head):
    from capture_tools.multiview.reconstructing import seen_vertices

    for degrees, words in (([70.0, 80.0], "one side"), ([85.0, -85.0], "share no part")):
        result = turned_heads(head, degrees)
        with pytest.raises(InputError, match=words):
            require_common_view(head, result, seen_vertices(head, result))
    result = turned_heads(head, [0.0, 75.0, -75.0])
    require_common_view(head, result, seen_vertices(head, result))


def test_common_share():
    first, second = np.array([True, True, True, False]), np.array([False, True, False, False])
    assert common_share(first, second) == 1.0
    assert common_share(first, ~first) == 0.0


def test_a_stranger_among_the_photographs_is_named():
    people = {"a": 0.0, "b": 0.3, "stranger": 2.0}
    photographs = [Photograph(np.full((4, 4, 3), int(100 * v), np.uint8), None) for v in people.values()]
    marks = [np.zeros((478, 2))] * 3

    def describe(image, _):
        return np.array([image.mean() / 100])

    with pytest.raises(InputError, match=r"stranger\.png"):
        require_one_person(describe, [Path(f"{name}.png") for name in people], photographs, marks)
    require_one_person(describe, [Path("a.png"), Path("b.png")], photographs[:2], marks[:2])


def test_wrong_numbers_and_faceless_photographs_are_refused(tmp_path):
    path = write_png(tmp_path / "wall.png", np.full((200, 200, 3), 90, np.uint8))
    with pytest.raises(InputError, match="--image PHOTO"):
        reconstruct_files([path], tmp_path / "out")
    with pytest.raises(InputError, match="several photographs"):
        reconstruct_files([path] * 9, tmp_path / "out")
    with pytest.raises(InputError, match="no face"):
        reconstruct_files([path, path], tmp_path / "out")
    with pytest.raises(InputError, match="does not exist"):
        reconstruct_files([tmp_path / "no.png", path], tmp_path / "out")
    assert not (tmp_path / "out").exists()
