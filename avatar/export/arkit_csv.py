"""Live Link Face CSV of a clip; `avatar.animation.live_link` says what its columns mean and reads it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avatar.animation.live_link import COLUMNS, COUNT, TIMECODE, timecode, to_columns
from avatar.base.files import write_text

if TYPE_CHECKING:
    from avatar.export.clip import Clip
    from avatar.flame.assets import HeadAsset


def write_arkit_csv(path: Path, clip: Clip, asset: HeadAsset) -> Path:
    """Write a clip as Live Link Face would: a row a frame, 61 values with ten decimals, the clip's times as timecodes.

    Raises HeadModelError for a head without ARKit's names, OutputError where the file cannot be written.
    """
    rows = [",".join((TIMECODE, COUNT, *COLUMNS))]
    for time, values in zip(clip.times, to_columns(clip.params, asset), strict=True):
        numbers = (f"{value:.10f}" for value in values + 0.0)  # -0.0 becomes 0.0
        rows.append(",".join((timecode(float(time)), str(len(COLUMNS)), *numbers)))
    return write_text(path, "\n".join(rows) + "\n")
