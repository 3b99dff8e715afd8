"""The stage `landmarks`: faces, hands and statistics of every frame."""

from __future__ import annotations

from pathlib import Path

from capture_tools.detect.observing import Observations, observe
from capture_tools.detect.selection import FrameSelection
from capture_tools.stages.store import Stages


def frames_looked_at(stages: Stages) -> int:
    """How many frames of this capture's clip were looked at, of which those used were chosen."""
    stored = stages.load("landmarks")
    return 0 if stored is None else len(stored["timestamps"])


def landmark_stage(video: Path, selection: FrameSelection, stages: Stages) -> Observations:
    """Observe the frames, or load what an interrupted capture observed. Raises InputError for a bad file."""
    stored = stages.load("landmarks")
    if stored is not None:
        return Observations(**stored)
    with stages.timed("landmarks"):
        seen = observe(video, selection)
        stages.save("landmarks", **seen.to_arrays())
    return seen
