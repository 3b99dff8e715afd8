"""Transfer of a live driver's motion, frame by frame: relative to its face and pose in the first second."""

from __future__ import annotations

import dataclasses

import torch

from avatar.animation.driving import SMOOTHING, MeanPose, PoseRange, retarget
from avatar.animation.face_gaps import GapRange, LipMatch
from avatar.animation.options import Retarget
from avatar.animation.transfer import (
    OWN_FPS,
    Neutral,
    gauge_of,
    lids_of,
    moved_expression,
    neutral_of,
    parse_gains,
    strongest_shut,
    taken_for_shut,
)
from avatar.base.errors import ConfigError
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters

CALMER_HALF = 0.5
"""Share of the calibration's frames, the calmer ones, whose median is the driver's neutral: a blink is not in it."""
LEAST_SHARE = 0.3
"""Of the smallest changes that is taken over at once; the rest follows within some frames."""


class LiveTransfer:
    """Puts a live driver's frames on an avatar, as `avatar reanimate` would, without a look ahead."""

    def __init__(self, own: HeadParameters, asset: HeadAsset, settings: Retarget | None = None) -> None:
        """own: parameters of the avatar's training clip. Raises ConfigError for settings that a live driver cannot
        have, and as `parse_gains`."""
        self.settings = settings or Retarget()
        if self.settings.head_motion == "avatar" or self.settings.transfer == "absolute":
            raise ConfigError(
                "a live driver cannot be transferred so",
                expected="head motion driver or still, relative to the driver's own neutral face",
                found=f"{self.settings.head_motion}, {self.settings.transfer}",
            )
        self.gains = parse_gains(self.settings.gain)
        self._own, self._asset = own, asset
        self._gauge, self._own_gap = gauge_of(asset, own.expr.device), None
        self._own_neutral, self._seen = neutral_of(own, asset, self._gauge, OWN_FPS), PoseRange.of(own)
        if self._gauge is not None:
            self._own_gap = self._gauge.lip_range(own, self._own_neutral.on(own))
        self._lips: LipMatch | None = None
        self._usual_lids: torch.Tensor | None = None
        self._shut = torch.full((len(lids_of(asset)),), -torch.inf, device=own.expr.device)
        self._neutral: Neutral | None = None
        self._reference: MeanPose | None = None
        self._last: HeadParameters | None = None

    def calibrate(self, watched: HeadParameters) -> None:
        """Take N frames of the driver, who holds still in them, for the neutral face and pose."""
        watched = watched.to(self._own.expr.device)
        self._neutral = neutral_of(watched, self._asset, self._gauge, OWN_FPS, share=CALMER_HALF)
        self._reference, self._last = MeanPose.of(watched), None
        if self._gauge is not None and self._own_gap is not None:
            rest = self._neutral.on(watched)
            at_rest, self._usual_lids = float(self._gauge.lips(rest)), self._gauge.lids(rest)[0]
            self._lips = LipMatch(self._gauge, GapRange(at_rest, min(at_rest, 0.0)), self._own_gap)

    def __call__(self, frame: HeadParameters) -> HeadParameters:
        """One frame (N = 1) of the driver on the avatar's identity; after `calibrate`."""
        assert self._neutral is not None
        self._last = steadied(frame.to(self._own.expr.device), self._last)
        own, theirs = self._own_neutral, self._neutral
        gaps = None if self._gauge is None else self._gauge.lips(self._last)
        shut = strongest_shut(self._last, self._asset, self._gauge, self._usual_lids)
        self._shut = torch.maximum(self._shut, shut)
        matched = {"shut": taken_for_shut(self._shut), "lips": self._lips, "gaps": gaps}
        meant = moved_expression(self._last, self._own, self._asset, self.gains, own=own, theirs=theirs, **matched)
        known = {"seen": self._seen, "reference": self._reference}
        return retarget(self._own, meant, self.settings.head_motion, self.gains["head"], **known)


def steadied(frame: HeadParameters, last: HeadParameters | None) -> HeadParameters:
    """A frame (N = 1) whose changes from the last steadied one are shrunk where they are about as small as tracking
    noise; large ones are kept. As `driving.smooth_tracking`, from the past only."""
    if last is None:
        return frame
    values = {}
    for name, noise in SMOOTHING.items():
        before = getattr(last, name)
        change = getattr(frame, name) - before
        values[name] = before + change * (change.square() / (change.square() + noise**2)).clamp_min(LEAST_SHARE)
    return dataclasses.replace(frame, **values)
