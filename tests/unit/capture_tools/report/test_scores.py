"""Scores of frames are those of their landmarks and pictures, and the worst frames are found."""

from __future__ import annotations

import numpy as np
import pytest
from found_clip import EYES, fitted, found

from avatar.flame.assets import HeadAsset
from avatar.flame.landmark_sets import LEFT_EYE, LIPS, RIGHT_EYE
from capture_tools.report.overlay import PictureScores
from capture_tools.report.scores import frame_scores, score_summary, worst_rows


def test_scores_of_frames(head: HeadAsset) -> None:
    import cv2

    clip, result = found(12), fitted(head, np.full(12, 0.01))
    result.errors_iod[5] = 0.02
    result.errors[3, list(LEFT_EYE + RIGHT_EYE)] = 6.0
    result.errors[7, list(LIPS)] = 9.0
    rng = np.random.default_rng(0)
    detected = rng.uniform(10, 90, (478, 2)).astype(np.float32).repeat(12).reshape(478, 2, 12).transpose(2, 0, 1)
    images = np.repeat(rng.integers(0, 255, (1, 100, 100, 3), dtype=np.uint8), 12, 0)
    images[9] = cv2.GaussianBlur(images[9], (0, 0), 3)
    numbers = np.arange(20, 32)
    pictures = [PictureScores(5.0 + i, 1.0, 0.9) for i in range(12)]
    frames = frame_scores(numbers, clip.timestamps, result, 2.0, clip.pixels, images, detected, pictures)
    assert [frame["frame"] for frame in frames] == numbers.tolist()
    lids, lips, yaw, sharp = (
        np.array([frame[key] for frame in frames])
        for key in ("lids_error_iod", "lips_error_iod", "yaw_degrees", "sharpness")
    )
    assert lids[3] == pytest.approx(6 / EYES)
    assert lips[7] == pytest.approx(9 / EYES)
    assert np.delete(lids, 3) == pytest.approx(0.01)
    assert np.delete(lips, 7) == pytest.approx(0.01)
    assert yaw[[0, 11]] == pytest.approx([-14.9, 14.9], abs=0.1)
    assert sharp.argmin() == 9
    assert sharp[9] < 0.5 < sharp[0]
    assert frames[4]["photometric_error"] == 9.0
    assert frames[0]["landmark_error_px"] == pytest.approx(0.01 * EYES * 2)

    summary = score_summary(frames)
    assert summary["lids_error_iod"]["frame"] == 23
    assert summary["lids_error_iod"]["worst"] == pytest.approx(0.1)
    assert summary["lids_error_iod"]["median"] == pytest.approx(0.01)
    assert summary["sharpness"]["frame"] == 29
    assert summary["photometric_error"] == {"median": 10.5, "worst": 16.0, "frame": 31}
    assert worst_rows(frames) == [5, 3, 7, 11]


def test_scores_nobody_told_are_left_out() -> None:
    frames = [{"frame": i, "landmark_error_iod": 0.01 * i, "photometric_error": None} for i in range(4)]
    assert set(score_summary(frames)) == {"landmark_error_iod"}
    assert worst_rows(frames, each=2) == [3, 2]
