"""The light version of a capture: track a driver's clip, writing nothing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from avatar.errors import InputError
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from capture_tools.checks import refuse_two_people
from capture_tools.finding import find_landmarks
from capture_tools.fitting import track_with_progress
from capture_tools.track import TrackSettings
from capture_tools.video import select_frames


class DriverTrack(NamedTuple):
    """A driver's performance: N frames, one after another at `fps`."""

    params: HeadParameters
    """N frames, the driver's own shape."""
    fps: float
    audio: Path | None
    """The file that holds the sound; None where there is none."""
    landmarks: np.ndarray
    """`[N, 478, 2]` pixels of the source; NaN in frames without a face, whose parameters are carried over from their
    neighbours."""


def track_driver(
    video: Path,
    asset: HeadAsset,
    *,
    start: float | None = None,
    end: float | None = None,
    settings: TrackSettings | None = None,
) -> DriverTrack:
    """Track every frame of a clip with the capture's tracker, writing nothing.

    Raises InputError for an unreadable clip, one without a face or with two people, HeadModelError for a head without
    landmarks.
    """
    video = Path(video)
    info, selection = select_frames(video, start=start, end=end, every=1)
    found = find_landmarks(video, selection, "driver landmarks")
    pixels = found.pixels()
    refuse_two_people(pixels, np.array(found.others), video)
    seen = np.isfinite(pixels).all(axis=(1, 2))
    if not seen.any():
        raise InputError("no face was found in the driver", where=video, fix="give a clip that shows one face")
    result = track_with_progress(pixels, np.array(found.timestamps), found.width, found.height, asset, settings)
    return DriverTrack(result.params, found.fps, video if info.has_audio else None, pixels)
