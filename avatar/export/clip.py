"""The performance that is exported: the clip that a run was made from, or a driver's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.base.errors import RunError
from avatar.data.capture_reference import open_run_capture, read_capture_reference

if TYPE_CHECKING:
    from avatar.animation.driver_files import Driver
    from avatar.avatar import Avatar
    from avatar.flame.model import HeadParameters

GONE = "the run's capture is not there: its training frames stand for the clip, without the times between them"


@dataclass(frozen=True)
class Clip:
    """A performance of N frames."""

    params: HeadParameters
    times: np.ndarray
    """`[N]` float64 seconds, rising."""
    fps: float
    capture: Path | None = None
    """Folder of the run's capture, where it is there and unchanged."""
    notes: tuple[str, ...] = ()
    """What a person should be told, a sentence each."""


def clip_of_run(run: Path, avatar: Avatar) -> Clip:
    """The clip as it was tracked, with its own times; without the capture, the training frames in their order.

    Raises CaptureError where the capture is damaged, HeadModelError where it is another head's.
    """
    try:
        capture = open_run_capture(run, expect_head=avatar.asset)
    except RunError:
        reference = read_capture_reference(run) if (Path(run) / "capture.json").is_file() else {}
        fps = float(reference.get("fps") or 25.0)
        params = avatar.parameters.detach().to("cpu")
        return Clip(params, np.arange(len(params)) / fps, fps, None, (GONE,))
    times = np.array([frame.timestamp for frame in capture.frames])
    rising = np.concatenate([[True], np.diff(times) > 0])
    params = capture.parameters().select(np.flatnonzero(rising).tolist())
    return Clip(params, times[rising], capture.fps, capture.folder)


def clip_of_driver(driver: Driver) -> Clip:
    """A driver's performance as it is, from time 0."""
    params = driver.params.detach().to("cpu")
    return Clip(params, np.arange(len(params)) / driver.fps, driver.fps, None, driver.notes)
