"""The light version of a capture: track a driver's clip, writing nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from avatar.errors import InputError
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatar.lens import focal_over_longer_side
from capture_tools.finding import follow_face
from capture_tools.fitting import lens_settings, track_with_progress
from capture_tools.observing import observe
from capture_tools.track import TrackSettings
from capture_tools.video import select_frames

LARGEST_DRIFT = 0.5
"""Frames by which timestamps may differ from a constant rate before the performance is resampled to one."""


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

    A clip of variable frame rate is resampled to its average rate, so that the sound stays in time. Of several people
    the larger one is followed. Raises InputError for an unreadable clip or one without a face, HeadModelError for a
    head without landmarks.
    """
    video = Path(video)
    info, selection = select_frames(video, start=start, end=end, every=1)
    seen = observe(video, selection, "driver landmarks", hands=False)
    pixels, times, fps = follow_face(seen).pixels, seen.timestamps, float(seen.fps)
    if not np.isfinite(pixels).all(axis=(1, 2)).any():
        raise InputError("no face was found in the driver", where=video, fix="give a clip that shows one face")
    if settings is None:
        told = info.focal_35mm and focal_over_longer_side(info.focal_35mm, info.width, info.height)
        settings = lens_settings(told)
    params = track_with_progress(pixels, times, info.width, info.height, asset, settings).params
    if np.abs((times - times[0]) * fps - np.arange(len(times))).max() > LARGEST_DRIFT:
        steady = np.arange(round((times[-1] - times[0]) * fps) + 1) / fps + times[0]
        params, pixels = resample_parameters(params, times, steady), resample_points(pixels, times, steady)
    return DriverTrack(params, fps, video if info.has_audio else None, pixels)


def resample_parameters(params: HeadParameters, times: np.ndarray, wanted: np.ndarray) -> HeadParameters:
    """N frames at `times` `[N]` (seconds, increasing) to K frames at `wanted` `[K]`: rotations along the shortest arc,
    everything else linearly, the ends held."""
    before, share = _places(times, wanted)
    after = np.minimum(before + 1, len(times) - 1)
    weight = torch.as_tensor(share, dtype=params.expr.dtype)[:, None]
    mixed = {
        name: torch.lerp(getattr(params, name)[before], getattr(params, name)[after], weight)
        for name in ("expr", "translation")
    }
    for name in ("rotation", "neck", "jaw"):
        mixed[name] = _slerp(getattr(params, name)[before], getattr(params, name)[after], weight)
    eyes = [_slerp(params.eyes[before, k : k + 3], params.eyes[after, k : k + 3], weight) for k in (0, 3)]
    return replace(params, **mixed, eyes=torch.cat(eyes, -1))


def resample_points(points: np.ndarray, times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """`[N, P, 2]` at `times` to `[K, P, 2]` at `wanted`, linearly; NaN where a neighbour is."""
    before, share = _places(times, wanted)
    after = np.where(share > 0, np.minimum(before + 1, len(times) - 1), before)
    weight = share[:, None, None]
    return (points[before] * (1 - weight) + points[after] * weight).astype(points.dtype)


def _places(times: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frame at or before each wanted time, and how far it lies towards the next, in [0, 1]."""
    place = np.interp(wanted, times, np.arange(len(times)))
    before = np.minimum(np.floor(place).astype(int), len(times) - 1)
    return before, place - before


def _slerp(first: torch.Tensor, second: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Between axis-angles `[K, 3]` along the shortest arc; `share` `[K, 1]` in [0, 1]."""
    start = axis_angle_to_matrix(first)
    turn = matrix_to_axis_angle(axis_angle_to_matrix(second) @ start.mT)
    return matrix_to_axis_angle(axis_angle_to_matrix(share * turn) @ start)
