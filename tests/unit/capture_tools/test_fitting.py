"""Frames to which no head fits are left out after tracking; the lens a file names is expected."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from capture_tools.advice import capture_warnings
from capture_tools.background import BackgroundMotion
from capture_tools.finding import FoundClip
from capture_tools.fitting import lens_settings, without_misfits
from capture_tools.shots import Shot
from capture_tools.track import TrackResult, TrackSettings
from capture_tools.video import Crop


def found(count: int, dropped: dict[int, str] | None = None, focal: float | None = None) -> FoundClip:
    pixels = np.full((count, 478, 2), 100.0, np.float32)
    pixels[:, 263, 0] += 60
    hidden, alone = np.zeros((count, 478), bool), np.zeros(count)
    return FoundClip(
        *(320, 240, 25.0, focal, np.arange(count) / 25, pixels, alone, hidden, dropped or {}),
        shots=[Shot(0, count - 1)],
        shot=0,
    )


def fitted(head: HeadAsset, errors: np.ndarray) -> TrackResult:
    count = len(errors)
    params = HeadParameters.neutral(head, count)
    params.expr[:, 0] = torch.arange(count)
    wide = np.repeat(errors[:, None], 478, 1).astype(np.float32)
    points = np.zeros((count, 478, 2), np.float32)
    camera = Camera(320, 240, 400, 400, 160, 120, np.eye(4))
    return TrackResult(params, camera, points, wide * 60, errors.astype(np.float32), wide > -1)


def test_faces_on_bare_walls_are_left_out(head: HeadAsset) -> None:
    errors = np.full(26, 0.01)
    errors[[4, 9]] = 0.3, 0.07  # the second is a hard frame, but a face
    clip, result, rows = without_misfits(found(28, {0: "no face was found", 2: "x"}), fitted(head, errors))
    assert clip.reasons[6] == "the head does not fit what was taken for a face (30% of the eye distance)"
    assert sorted(clip.reasons) == [0, 2, 6]
    assert rows.tolist() == [i for i in range(26) if i != 4]
    assert result.params.expr[:, 0].tolist() == rows.tolist()
    assert len(result.projected) == len(result.errors) == len(result.facing) == len(clip.used) == 25
    assert result.landmark_error_iod == pytest.approx((24 * 0.01 + 0.07) / 25)


def test_a_clip_that_fits_badly_as_a_whole_keeps_its_frames(head: HeadAsset) -> None:
    clip, _, rows = without_misfits(found(20), fitted(head, np.linspace(0.05, 0.12, 20)))
    assert clip.reasons == {}
    assert len(rows) == 20


def test_the_lens_is_expected_where_the_file_names_it() -> None:
    assert lens_settings(found(3).focal_prior) == TrackSettings()
    prior = found(3, focal=26.0).focal_prior
    assert prior == pytest.approx(26 / 43.27 * 400 / 320, rel=1e-3)
    assert lens_settings(prior).focal_prior == prior


def warnings_of(clip: FoundClip, result: TrackResult) -> list[str]:
    return capture_warnings(clip, result, Crop(0, 0, 240, 240), BackgroundMotion(None, None))


def test_a_user_hears_of_turned_faces_hands_others_and_cuts(head: HeadAsset) -> None:
    assert warnings_of(found(30), fitted(head, np.full(30, 0.01))) == []
    clip, result = (
        found(30, {0: "no face was found", 25: "it belongs to another shot"}),
        fitted(head, np.full(28, 0.01)),
    )
    clip.shots[:] = [Shot(0, 24), Shot(25, 29)]
    clip.occluded[10:13, 0:200] = True
    clip.others[[5, 27]] = 0.5
    result.params.rotation[[14, 15, 16], 1] = torch.tensor([1.2, -1.3, 1.2])
    heard = "\n".join(warnings_of(clip, result))
    assert "of its 2 shots, shot 1 is used (0.00 to 0.96 s)" in heard
    assert "1 frames were left out, no face was found: 0" in heard
    assert "another face was seen in frames 5:" in heard
    assert "a hand covers the mouth in frames 10-12" in heard
    assert "past 60 degrees in frames 15-17" in heard
