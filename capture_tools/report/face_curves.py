"""How a rendered video follows its driver: lip and lid curves, from landmarks detected again in both videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar.flame.landmark_sets import eye_aspect_ratio, lip_distance
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

    def at(self, times: np.ndarray) -> FaceCurves:
        """The frames nearest to `times` `[M]`."""
        nearest = np.abs(self.times[None] - np.asarray(times)[:, None]).argmin(1)
        return FaceCurves(self.times[nearest], self.lips[nearest], self.lids[nearest])


def face_curves(video: Path, start: float = 0.0) -> FaceCurves:
    """The curves of a video; `times` count from second `start` of it. Raises InputError where it cannot be read."""
    times, lips, lids = [], [], []
    with LandmarkDetector(static=False) as detector:
        for time, image in read_video(video, start=start or None):
            pixels, _ = detector.detect(image)
            times.append(time - start)
            lips.append(np.nan if pixels is None else float(lip_distance(pixels)))
            lids.append(np.nan if pixels is None else float(eye_aspect_ratio(pixels)))
    return FaceCurves(np.array(times), np.array(lips), np.array(lids))


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
