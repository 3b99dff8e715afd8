"""A live driver: the head in pictures that come one by one, after a first second that shows who it is."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.detect.observing import LARGEST_SEARCHED, averaged_down
from capture_tools.track.live import LEAST_WATCHED, RATE, LiveSettings, LiveTracker

LONGEST_GAP = 0.6
"""Seconds between two pictures after which no prediction is made. A start anew takes six times as many steps: on a slow
machine, which leaves pictures out, it would make each picture slower still."""


class Followed(NamedTuple):
    """The head in one picture."""

    params: HeadParameters
    """N = 1, relative to a camera at the origin that looks along -z (y up), the driver's own shape."""
    seen: bool
    """Whether the picture shows a face; the last pose is held where not."""


class LiveDriver:
    """Follows one face through pictures of `width` x `height` pixels: `watch` it for a second, `calibrate`, `follow`.

    Not for several threads at once.
    """

    def __init__(self, asset: HeadAsset, width: int, height: int, *, focal_prior: float | None = None) -> None:
        """focal_prior: focal length over the longer side, where it is known. Raises HeadModelError for a head without
        landmarks, MissingDependencyError without the networks."""
        usual = LiveSettings()
        calibration = replace(usual.calibration, focal_prior=focal_prior or usual.calibration.focal_prior)
        settings = replace(usual, calibration=calibration, longest_gap=LONGEST_GAP)
        self.tracker = LiveTracker(asset, width, height, settings)
        self.cut = False
        """Whether a face was seen that the picture's edge cuts."""
        self._detector = LandmarkDetector()
        self._scale = max(1.0, max(width, height) / LARGEST_SEARCHED)
        self._watched: list[tuple[float, np.ndarray]] = []

    @property
    def calibrated(self) -> bool:
        return self.tracker.calibrated

    @property
    def seconds_watched(self) -> float:
        """Seconds from the first picture with a face to the last that was watched."""
        return self._watched[-1][0] - self._watched[0][0] if self._watched else 0.0

    def watch(self, time: float, image: np.ndarray) -> bool:
        """Look at a picture (uint8 `[H, W, 3]`, `time` in seconds); whether that is enough to calibrate."""
        face = self._face(image)
        if face is not None:
            self._watched.append((time, face))
        wanted = self.tracker.settings.calibration_seconds - 0.5 / RATE
        return self.seconds_watched >= wanted and len(self._watched) >= LEAST_WATCHED

    def calibrate(self) -> HeadParameters | None:
        """Fit the person to what was watched, which takes some seconds, and get ready to follow.

        Returns the head in the pictures watched that show a face; None where there was none, and nothing is fitted.
        """
        if not self._watched:
            return None
        times, faces = np.array([time for time, _ in self._watched]), np.stack([face for _, face in self._watched])
        self.tracker.calibrate(times, faces)
        heads = [self.tracker.update(float(time), face) for time, face in zip(times, faces, strict=True)]
        self._watched = []
        self.restart()
        return HeadParameters.concatenate(heads)

    def follow(self, time: float, image: np.ndarray) -> Followed:
        """The head in a picture; `time` in seconds, later than the last one's."""
        face = self._face(image)
        return Followed(self.tracker.update(time, face), face is not None)

    def restart(self) -> None:
        """Forget where the face was; the person stays known."""
        self._detector.close()
        self.tracker.restart()

    def _face(self, image: np.ndarray) -> np.ndarray | None:
        found, shares = self._detector.detect_with_shares(averaged_down(image, self._scale))
        self.cut = self.cut or (found is None and max(shares, default=0.0) > 0)
        return None if found is None else found * self._scale
