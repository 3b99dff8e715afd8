"""Frame selection, and the square crop that all frames share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar.base.errors import InputError
from avatar.base.limits import require_clip_part
from avatar.media.video import VideoInfo, probe_video, read_video
from capture_tools.settings import DEFAULT_FRAMES

ABOVE, BELOW, BESIDE = 0.55, 0.95, 0.60
"""Margins of the crop around the face mesh (hairline to chin), in heights of that mesh: hair above, shoulders below."""
PERCENT = 2.0
"""Percentile of extreme positions ignored at each side, so that a bad frame does not widen the crop."""


@dataclass(frozen=True)
class FrameSelection:
    """Every `every`-th frame of the part of the clip between `start` and `end` (seconds, None = its ends)."""

    start: float | None
    end: float | None
    every: int
    expected: int
    """Approximate number of frames, for progress and disk space only."""
    rotate: int = 0
    """Degrees clockwise by which the frames are rotated, after the file's own orientation."""
    only: tuple[int, ...] | None = None
    """Of the frames above those at these positions alone, rising; None for all."""

    def read(self, path: Path) -> Iterator[tuple[float, np.ndarray]]:
        """The frames with their times (see `read_video`). Every pass over a clip reads through this method."""
        frames = read_video(path, start=self.start, end=self.end, every=self.every, rotate=self.rotate)
        if self.only is None:
            return frames
        wanted = set(self.only)
        return (frame for position, frame in enumerate(frames) if position in wanted)


def select_frames(
    path: Path, *, start: float | None = None, end: float | None = None, max_frames: int | None = DEFAULT_FRAMES
) -> tuple[VideoInfo, FrameSelection]:
    """Choose the frames of a clip: all of them up to `max_frames`, beyond that each n-th, evenly over the range.

    Neighbouring frames are redundant, so a long clip is thinned instead of cut; None keeps all frames. The rate of the
    capture is that of the frames kept.
    Raises InputError for an unreadable video or an empty range.
    """
    require_clip_part(start, end)
    info = probe_video(path)
    if max_frames is not None and max_frames < 1:
        raise InputError("--max-frames is out of range", expected="a whole number from 1", found=max_frames)
    first, last = start or 0.0, info.duration if end is None else min(end, info.duration)
    if last <= first:
        raise InputError(
            "no frame lies between the start and end asked for",
            where=path,
            expected=f"a range within 0 to {info.duration:.2f} s",
            found=f"{first:g} to {last:g} s",
            fix="choose another --start or --end",
        )
    whole = start is None and end is None
    count = info.frame_count if whole else min(info.frame_count, math.ceil((last - first) * info.fps))
    stride = 1 if max_frames is None else max(1, math.ceil(count / max_frames))
    return info, FrameSelection(start, end, stride, math.ceil(count / stride))


@dataclass(frozen=True)
class Crop:
    """A square of the source picture, in whole pixels, resized to `size` x `size`."""

    x0: int
    y0: int
    side: int
    size: int

    @property
    def scale(self) -> float:
        """Crop pixels per source pixel."""
        return self.size / self.side

    def cut(self, image: np.ndarray) -> np.ndarray:
        """`[H, W, C]` to `[size, size, C]`: area averaging to shrink, cubic interpolation to enlarge."""
        import cv2

        part = image[self.y0 : self.y0 + self.side, self.x0 : self.x0 + self.side]
        if self.side == self.size:
            return np.ascontiguousarray(part)
        mode = cv2.INTER_AREA if self.side > self.size else cv2.INTER_CUBIC
        return cv2.resize(part, (self.size, self.size), interpolation=mode)

    def to_crop(self, pixels: np.ndarray) -> np.ndarray:
        """Source pixels `[..., 2]` to crop pixels (both with pixel centres at 0.5)."""
        return ((pixels - np.array([self.x0, self.y0])) * self.scale).astype(np.float32)

    def to_source(self, pixels: np.ndarray) -> np.ndarray:
        """The inverse of `to_crop`."""
        return (pixels / self.scale + np.array([self.x0, self.y0])).astype(np.float32)


def choose_crop(pixels: np.ndarray, width: int, height: int, size: int) -> Crop:
    """One square around head and shoulders for a whole clip with a fixed camera.

    `pixels` `[N, 478, 2]` landmarks in source pixels, NaN where missing. The square covers the face in all frames, with
    margins for hair and shoulders, and is shrunk to stay inside the picture.
    """
    with np.errstate(invalid="ignore"):
        seen = pixels[np.isfinite(pixels).all(axis=(1, 2))]
    low, high = seen.min(axis=1), seen.max(axis=1)
    face = float(np.percentile(high[:, 1] - low[:, 1], 90))
    x0, top = np.percentile(low, PERCENT, axis=0)
    x1, bottom = np.percentile(high, 100 - PERCENT, axis=0)
    wanted = max(x1 - x0 + 2 * BESIDE * face, bottom - top + (ABOVE + BELOW) * face)
    side = int(min(round(wanted), width, height))
    left = round((x0 + x1) / 2 - side / 2)
    # A square that had to shrink loses hair and shoulders in the ratio of their margins.
    spare = side - (bottom - top)
    above = round(top - spare * ABOVE / (ABOVE + BELOW))
    return Crop(int(np.clip(left, 0, width - side)), int(np.clip(above, 0, height - side)), side, size)
