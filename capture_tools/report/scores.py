"""Scores of report.json: how well each frame was tracked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from avatar.flame.landmark_sets import LEFT_EYE, LIPS, RIGHT_EYE, inter_ocular_distance
from capture_tools.detect.sharpness import detail_tensor, sharpness
from capture_tools.report.overlay import PictureScores
from capture_tools.track.clip_tracking import TrackResult

HIGH_IS_BAD = ("landmark_error_iod", "lids_error_iod", "lips_error_iod", "photometric_error")
LOW_IS_BAD = ("sharpness", "silhouette_iou")


def frame_scores(
    numbers: np.ndarray,
    times: np.ndarray,
    result: TrackResult,
    scale: float,
    pixels: np.ndarray,
    images: np.ndarray,
    detected: np.ndarray,
    pictures: Sequence[PictureScores],
) -> list[dict[str, Any]]:
    """The entries `frames[]` of report.json for the N frames used; None where a score is undefined.

    Args:
        numbers, times: `[N]` frame numbers and seconds.
        result: of the N frames. scale: pixels of the images per pixel of `result`.
        pixels: `[N, 478, 2]` detected landmarks in the pixels of `result`.
        images, detected: `[N, S, S, 3]` uint8 and the landmarks in their pixels.
        pictures: the scores of the N drawn frames.
    """
    eyes = inter_ocular_distance(pixels)
    lids, lips = (np.nanmean(result.errors[:, list(chosen)], axis=1) / eyes for chosen in (LEFT_EYE + RIGHT_EYE, LIPS))
    yaw = yaw_degrees(result.params.rotation.numpy())
    sharp = sharpness(np.stack([detail_tensor(image, face) for image, face in zip(images, detected, strict=True)]))
    return [
        {
            "frame": int(number),
            "timestamp": float(times[row]),
            "landmark_error_px": float(result.errors[row].mean() * scale),
            "landmark_error_iod": float(result.errors_iod[row]),
            "lids_error_iod": float(lids[row]),
            "lips_error_iod": float(lips[row]),
            "yaw_degrees": float(yaw[row]),
            "sharpness": float(sharp[row]),
            **asdict(pictures[row]),
        }
        for row, number in enumerate(numbers)
    ]


def score_summary(frames: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Median, worst value and worst frame of each score; undefined scores are left out."""
    summary = {}
    for key in (*HIGH_IS_BAD, *LOW_IS_BAD):
        known = [(frame[key], frame["frame"]) for frame in frames if frame.get(key) is not None]
        if known:
            worst, frame = (max if key in HIGH_IS_BAD else min)(known)
            summary[key] = {"median": float(np.median([value for value, _ in known])), "worst": worst, "frame": frame}
    return summary


def worst_rows(frames: Sequence[dict[str, Any]], each: int = 1) -> list[int]:
    """Rows of `frames` among the `each` worst by one of the errors, without duplicates."""
    rows: dict[int, None] = {}
    for key in HIGH_IS_BAD:
        known = [row for row, frame in enumerate(frames) if frame.get(key) is not None]
        rows |= dict.fromkeys(sorted(known, key=lambda row: -frames[row][key])[:each])
    return list(rows)


def yaw_degrees(rotation: np.ndarray) -> np.ndarray:
    """Yaw `[N]` in degrees of axis-angle rotations `[N, 3]`."""
    from avatar.geometry.rotations import axis_angle_to_matrix

    forward = axis_angle_to_matrix(torch.as_tensor(rotation, dtype=torch.float32))[..., 2].numpy()
    return np.degrees(np.arctan2(forward[:, 0], forward[:, 2]))
