"""A causal tracker for live video: every frame is fitted from its landmarks and earlier frames only.

The first second of a face is fitted as a clip (`ClipFit`), which gives the person's shape and the focal length. From
then on each frame takes a few milliseconds (`FrameFit`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.rotations import matrix_to_axis_angle
from avatar.kernels.runtime.threads import one_torch_thread
from capture_tools.track.clip_fit import ClipFit, TrackSettings
from capture_tools.track.frame_fit import ANGLES, POSE, FrameFit, FrameState, Person, Prediction, rotated
from capture_tools.track.offset_space import offset_space

RATE = 25.0
"""Frame rate, 1/s, to which deviations over time refer, as in `energy.acceleration`."""

LEAST_WATCHED = 8
"""Minimal number of calibration frames; cameras of low rate are watched for longer to reach it."""


@dataclass(frozen=True)
class LiveSettings:
    """Settings of the live tracker."""

    calibration_seconds: float = 1.0
    """Seconds of a face that are collected before the person is fitted."""
    calibration_frames: int = 16
    """Largest number of collected frames that are fitted, evenly spread."""
    calibration: TrackSettings = field(
        default_factory=lambda: TrackSettings(rigid_steps=100, face_steps=200, offset_steps=200)
    )
    """Settings of the person's fit; its focal prior and weights apply to single frames too."""
    steps: int = 2
    """Gauss-Newton steps per frame."""
    first_steps: int = 12
    """Gauss-Newton steps where a face appears."""
    pose: float = 0.01
    """Deviation of a resting head's pose from the prediction: radians, and shares of the eye distance."""
    first_pose: float = 0.1
    """The same in the second frame of a face, whose velocity is not known yet."""
    pose_yield: float = 1.0
    """Growth of that deviation per radian of predicted rotation."""
    face: float = 0.15
    """Deviation of expression, jaw (x 0.4) and gaze from the prediction."""
    pose_velocity: float = 0.8
    """Damping: share of the last velocity in the predicted pose."""
    face_velocity: float = 0.5
    """The same for expression, jaw and gaze."""
    longest_gap: float = 0.2
    """Seconds without a face after which no prediction is made."""


class LiveTracker:
    """Tracks one face in pictures of `width` x `height` pixels.

    Raises HeadModelError for a head without landmarks.
    """

    def __init__(self, asset: HeadAsset, width: int, height: int, settings: LiveSettings | None = None) -> None:
        asset.require_landmarks()
        self.asset, self.width, self.height = asset, width, height
        self.settings = settings or LiveSettings()
        self.calibrated = False
        """Whether the person has been fitted; until then frames are fitted with the mean head."""
        self._space = offset_space(asset)
        focal = self.settings.calibration.focal_prior * max(width, height)
        self._know(Person(torch.zeros(asset.shape_count), torch.zeros(self._space.count, 3), focal))
        self._watched: list[tuple[float, np.ndarray]] = []

    @property
    def focal(self) -> float:
        """Focal length of the person's fit, pixels; before calibration the expected one."""
        return self._fit.person.focal

    def update(self, time: float, landmarks: np.ndarray | None) -> HeadParameters:
        """The head in the next frame, N = 1, relative to a camera at the origin that looks along -z (y up).

        Args:
            time: seconds, later than the last frame's.
            landmarks: `[478, 2]` pixels (the first pixel's centre at 0.5). None or NaN without a face: the last pose
                is held.

        The call that completes the first second of a face takes some seconds, because it fits the person.
        """
        with one_torch_thread():
            if landmarks is not None and np.isfinite(landmarks).all():
                landmarks = np.asarray(landmarks, np.float64)
                self._follow(time, landmarks)
                if not self.calibrated:
                    self._watched.append((time, landmarks))
                    if self._watched_enough():
                        self._calibrate()
                        self._follow(time, landmarks)
            return self._fit.parameters(self._state)

    def calibrate(self, times: np.ndarray, landmarks: np.ndarray) -> None:
        """Fit the person to frames at `times` `[N]` with `landmarks` `[N, 478, 2]`, all with a face, and restart."""
        with one_torch_thread():
            self._watched = list(zip(times, landmarks, strict=True))
            self._calibrate()

    def restart(self) -> None:
        """Reset the motion state; the person stays calibrated."""
        self._know(self._fit.person)

    def _watched_enough(self) -> bool:
        seconds = self._watched[-1][0] - self._watched[0][0]
        # half a frame of tolerance
        return seconds >= self.settings.calibration_seconds - 0.5 / RATE and len(self._watched) >= LEAST_WATCHED

    def _know(self, person: Person) -> None:
        weights = self.settings.calibration.weights
        self._fit = FrameFit(self.asset, self._space, person, self.width, self.height, weights)
        middle = np.array([self.width / 2, self.height / 2, np.log(min(self.width, self.height) / 0.5)])
        self._state = FrameState(np.eye(3), middle, np.zeros(self.asset.expression_count + ANGLES))
        self._velocity: np.ndarray | None = None
        """`[6 + F]` changes per second; None after a single frame."""
        self._time: float | None = None

    def _calibrate(self) -> None:
        rows = np.linspace(0, len(self._watched) - 1, min(len(self._watched), self.settings.calibration_frames))
        chosen = [self._watched[int(row)] for row in rows.round()]
        times, pixels = np.array([time for time, _ in chosen]), np.stack([face for _, face in chosen])
        fit = ClipFit(pixels, times, self.width, self.height, self.asset, self.settings.calibration)
        fit.run(lambda done, note: None)
        found = {name: fit.v[name].detach() for name in ("shape", "offset")}
        self._know(Person(found["shape"], found["offset"], float(fit.focal().detach())))
        self.calibrated, self._watched = True, []

    def _follow(self, time: float, landmarks: np.ndarray) -> None:
        """Update the state from `landmarks`; where the fit fails (landmarks of no face), the last state stays."""
        s = self.settings
        gap = np.inf if self._time is None else max(time - self._time, 1e-3)
        if gap > s.longest_gap:
            fresh = self._fit.start(landmarks, None if self._time is None else self._state.rotation)
            found = self._fit.fit(landmarks, fresh, None, s.first_steps)
            velocity = None
        else:
            prediction = self._prediction(gap)
            found = self._fit.fit(landmarks, prediction.state, prediction, s.steps)
            velocity = _difference(self._state, found) / gap
        if np.isfinite(found.place).all() and np.isfinite(found.face).all():
            self._state, self._velocity, self._time = found, velocity, time

    def _prediction(self, gap: float) -> Prediction:
        s, last = self.settings, self._state
        ahead = np.zeros(POSE + len(last.face)) if self._velocity is None else self._velocity * gap
        rotation, translation, face = (
            s.pose_velocity * ahead[:3],
            s.pose_velocity * ahead[3:POSE],
            s.face_velocity * ahead[POSE:],
        )
        state = FrameState(rotated(rotation, last.rotation), last.place + translation, last.face + face)
        # Uncertainty grows with the step; at high rates each frame may change less, so that noise averages out.
        step = gap * RATE
        share = step * max(step, 1.0)
        rest = s.pose if self._velocity is not None else s.first_pose
        # A fast head may accelerate or stop (as in the one-euro filter: Casiez et al., CHI 2012).
        return Prediction(state, rest * share + s.pose_yield * float(np.linalg.norm(ahead[:3])), s.face * share)


def _difference(first: FrameState, second: FrameState) -> np.ndarray:
    """`[6 + F]`: the rotation, and the changes of place and face."""
    rotation = matrix_to_axis_angle(torch.as_tensor(second.rotation @ first.rotation.T)).numpy()
    return np.concatenate([rotation, second.place - first.place, second.face - first.face])
