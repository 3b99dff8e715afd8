"""How a rendered video follows its driver: lip and lid curves, from landmarks detected again in both videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar.base.conventions import LANDMARK_COUNT
from avatar.flame.landmark_sets import eye_aspect_ratio, inter_ocular_distance, lip_distance
from avatar.media.video import read_video
from capture_tools.detect.landmark_detector import LandmarkDetector


@dataclass(frozen=True)
class FaceCurves:
    """What a video's face does over N frames; NaN in frames without a face."""

    times: np.ndarray
    """`[N]` seconds."""
    lips: np.ndarray
    """`[N]` distance between the lips over the eyes' distance."""
    lids: np.ndarray
    """`[N]` gap between the lids over the eye's width, mean of both eyes."""
    points: np.ndarray
    """`[N, 478, 2]` landmarks over the distance between the eyes' outer corners, that of the whole video."""

    def at(self, times: np.ndarray) -> FaceCurves:
        """The frames nearest to `times` `[M]`."""
        nearest = np.abs(self.times[None] - np.asarray(times)[:, None]).argmin(1)
        return FaceCurves(self.times[nearest], self.lips[nearest], self.lids[nearest], self.points[nearest])


def face_curves(video: Path, start: float = 0.0) -> FaceCurves:
    """The curves of a video; `times` count from second `start` of it. Raises InputError where it cannot be read."""
    times, points = [], []
    with LandmarkDetector(static=False) as detector:
        for time, image in read_video(video, start=start or None):
            pixels, _ = detector.detect(image)
            times.append(time - start)
            points.append(np.full((LANDMARK_COUNT, 2), np.nan) if pixels is None else pixels)
    found = np.array(points, np.float64).reshape(-1, LANDMARK_COUNT, 2)
    eyes = np.nanmedian(inter_ocular_distance(found)) if np.isfinite(found).any() else 1.0
    return FaceCurves(np.array(times), lip_distance(found), eye_aspect_ratio(found), found / eyes)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation of two curves `[N]` where both are known; NaN where one does not change."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 2 or not np.ptp(first[both]) or not np.ptp(second[both]):
        return float("nan")
    return float(np.corrcoef(first[both], second[both])[0, 1])


def blinks(driver: np.ndarray, rendered: np.ndarray) -> np.ndarray:
    """Rendered lid gaps over their median in the frames in which the driver blinks, `[B]`: in which its own gap falls
    below half its median.

    driver, rendered: `[N]` lid gaps of the same moments.
    """
    known = np.isfinite(driver) & np.isfinite(rendered)
    driver, rendered = driver[known], rendered[known]
    return rendered[driver < 0.5 * np.median(driver)] / np.median(rendered)


def jitter(points: np.ndarray) -> float:
    """How much landmarks `[N, L, 2]` shake: the root mean square of their second differences over time, divided by
    the square root of six, which is the deviation of independent noise; NaN where no three frames in a row have a face.

    Motion adds to it, so it is to be compared between videos that move alike.
    """
    bend = points[2:] - 2 * points[1:-1] + points[:-2]
    known = np.isfinite(bend).all(axis=(1, 2))
    return float(np.sqrt(np.square(bend[known]).mean() / 6)) if known.any() else float("nan")
