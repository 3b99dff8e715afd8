"""The third stage of a capture: the head model fitted to the whole clip."""

from __future__ import annotations

import numpy as np

from avatar.flame.assets import HeadAsset
from avatar.progress import Progress
from capture_tools.finding import FoundClip
from capture_tools.stages import Stages
from capture_tools.track import TrackResult, TrackSettings, track


def tracking_stage(clip: FoundClip, asset: HeadAsset, stages: Stages) -> TrackResult:
    stored = stages.load("tracking")
    if stored is not None:
        return TrackResult.from_arrays(stored)
    used = clip.used
    with stages.timed("tracking"):
        result = track_with_progress(clip.pixels[used], clip.timestamps[used], clip.width, clip.height, asset)
        stages.save("tracking", **result.to_arrays())
    return result


def track_with_progress(
    pixels: np.ndarray,
    times: np.ndarray,
    width: int,
    height: int,
    asset: HeadAsset,
    settings: TrackSettings | None = None,
) -> TrackResult:
    settings = settings or TrackSettings()
    with Progress("tracking", settings.rigid_steps + settings.face_steps + settings.offset_steps, unit="step") as bar:
        return track(pixels, times, width, height, asset, settings, lambda done, _, note: bar.update(done, note))
