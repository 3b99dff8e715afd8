"""A clip that was found and a fit of it, made up, for tests of what is said about them."""

from __future__ import annotations

import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from capture_tools.detect.found_clip import FoundClip
from capture_tools.detect.shots import Shot
from capture_tools.track.clip_tracking import TrackResult

EYES = 60.0
"""Pixels between the outer corners of the eyes."""


def found(count: int, dropped: dict[int, str] | None = None, focal: float | None = None) -> FoundClip:
    """`count` frames of a face that blinks and opens its mouth once."""
    pixels = np.full((count, 478, 2), 100.0, np.float32)
    pixels[:, 263, 0] += EYES
    pixels[:, [145, 374], 1] += 8
    pixels[count // 2, [145, 374], 1] -= 7
    pixels[count // 3, 14, 1] += 12
    hidden, alone = np.zeros((count, 478), bool), np.zeros(count)
    return FoundClip(
        *(320, 240, 25.0, focal, np.arange(count) / 25, pixels, alone, hidden, dropped or {}),
        shots=[Shot(0, count - 1)],
        shot=0,
        details=np.full(count, 2.0),
    )


def fitted(head: HeadAsset, errors: np.ndarray) -> TrackResult:
    """A fit with these errors over the eye distance `[N]`, of a head that turns from -15 to 15 degrees."""
    count = len(errors)
    params = HeadParameters.neutral(head, count)
    params.expr[:, 0] = torch.arange(count)
    params.rotation[:, 1] = torch.linspace(-0.26, 0.26, count)
    wide = np.repeat(errors[:, None], 478, 1).astype(np.float32)
    points = np.zeros((count, 478, 2), np.float32)
    camera = Camera(320, 240, 400, 400, 160, 120, np.eye(4))
    return TrackResult(params, camera, points, wide * EYES, errors.astype(np.float32), wide > -1)
