"""The stage `tracking`: the head model fitted to the whole clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from avatar.base.progress import Progress
from avatar.flame.assets import HeadAsset
from capture_tools.dense_landmarks.placing import DenseLandmarks, place_dense_landmarks
from capture_tools.detect.found_clip import FoundClip
from capture_tools.detect.selection import Crop
from capture_tools.stages.store import Stages
from capture_tools.track.clip_tracking import PER_FRAME, TrackResult, TrackSettings, step_count, track
from capture_tools.track.photometric import Pictures

MISFIT, MISFIT_TIMES = 0.08, 4.0
"""Landmark distance over the eye distance, absolute and over the clip's median, from which on a frame shows no face.
Real faces stay below 0.03, near-profiles below 0.06."""

MEASURED_FOCAL = 0.002
"""Standard deviation of the log focal length found by structure from motion."""


def tracking_stage(
    clip: FoundClip, crop: Crop, asset: HeadAsset, stages: Stages, settings: TrackSettings
) -> TrackResult:
    """Fit the head to the frames used: to their landmarks, then to the crops."""
    stored = stages.load("tracking")
    if stored is not None:
        return TrackResult.from_arrays(stored)
    used = clip.used
    images = stages.open_array("images")
    with stages.timed("tracking"):
        result = track_with_progress(
            *(clip.pixels[used], clip.timestamps[used], clip.width, clip.height, asset, settings),
            occluded=clip.unseen[used],
            dense=place_dense_landmarks(asset, images, crop, clip.pixels[used]),
            pictures=Pictures(images, stages.open_array("masks"), crop),
        )
        stages.save("tracking", **result.to_arrays())
    return result


def lens_settings(expected: float | None, measured: float | None = None) -> TrackSettings:
    """The tracker's settings for a focal length over the longer side of the frame.

    expected: from the file's metadata, or None. measured: from structure from motion, which is far more certain.
    """
    if measured is not None:
        return TrackSettings(focal_prior=measured, focal_deviation=MEASURED_FOCAL)
    return TrackSettings() if expected is None else TrackSettings(focal_prior=expected)


def without_misfits(clip: FoundClip, result: TrackResult) -> tuple[FoundClip, TrackResult, np.ndarray]:
    """Leave out frames that the head cannot be fitted to: false positives of the detector.

    `result` holds the frames that `clip` uses. Returns both without those frames, and the rows that stay, `[K]`.
    """
    errors = result.errors_iod
    bad = (errors > MISFIT) & (errors > MISFIT_TIMES * np.median(errors))
    reason = "the head does not fit what was taken for a face ({:.0%} of the eye distance)"
    return leave_out(clip, result, {int(row): reason.format(errors[row]) for row in np.nonzero(bad)[0]})


def leave_out(
    clip: FoundClip, result: TrackResult, reasons: dict[int, str]
) -> tuple[FoundClip, TrackResult, np.ndarray]:
    """Clip and result without the rows of `result` in `reasons`, and the rows that stay, `[K]`."""
    rows = np.array([row for row in range(len(result.errors_iod)) if row not in reasons], dtype=int)
    if not reasons:
        return clip, result, rows
    known = clip.reasons | {int(clip.used[row]): reason for row, reason in reasons.items()}
    per_frame = {name: getattr(result, name)[rows] for name in PER_FRAME}
    return replace(clip, reasons=known), replace(result, params=result.params.select(rows), **per_frame), rows


def track_with_progress(
    pixels: np.ndarray,
    times: np.ndarray,
    width: int,
    height: int,
    asset: HeadAsset,
    settings: TrackSettings | None = None,
    *,
    occluded: np.ndarray | None = None,
    pictures: Pictures | None = None,
    dense: DenseLandmarks | None = None,
) -> TrackResult:
    """`track`, with a progress bar."""
    settings = settings or TrackSettings()
    with Progress("tracking", step_count(settings, pictures is not None), unit="step") as bar:
        return track(
            *(pixels, times, width, height, asset, settings, lambda done, _, note: bar.update(done, note)),
            occluded=occluded,
            pictures=pictures,
            dense=dense,
        )
