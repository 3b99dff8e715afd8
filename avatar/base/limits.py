"""Limits of numbers that a user can give, with what to do about a value beyond them.

Commands, functions and files are checked against the same `Limits`; those of the settings are in `avatar.config`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from avatar.base.conventions import Rotate
from avatar.base.errors import AvatarError, ConfigError, InputError


@dataclass(frozen=True)
class Limits:
    """The values that a number may have: from `low` to `high`, both included."""

    low: float
    high: float
    unit: str = ""
    fix: str | None = None
    """What to do about a value beyond them."""
    above: bool = False
    """`low` itself is excluded."""
    even: bool = False

    def hold(self, value: float) -> bool:
        """Whether the value is a number within the limits. NaN never is, nor what is no number."""
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        lowest = value > self.low if self.above else value >= self.low
        return lowest and value <= self.high and not (self.even and value % 2)

    def __str__(self) -> str:
        low = f"above {_shown(self.low)}, up to" if self.above else f"{_shown(self.low)} to"
        kind = "an even number, " if self.even else ""
        return f"{kind}{low} {_shown(self.high)}{f' {self.unit}' if self.unit else ''}"

    def require(
        self,
        name: str,
        value: float | None,
        *,
        error: type[AvatarError] = ConfigError,
        where: str | Path | None = None,
        fix: str | None = None,
    ) -> None:
        """Raise `error` unless `value` lies within the limits; None stands for a value that was not given."""
        if value is not None and not self.hold(value):
            raise error(f"{name} is out of range", where=where, expected=str(self), found=value, fix=self.fix or fix)


def _shown(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


FEWEST_FRAMES = 20
"""Usable frames below which a clip makes no avatar."""
MOST_FRAMES = 36_000
"""Frames of one video that is rendered or drives: twenty minutes at 30 frames a second."""

CAPTURE_SIZE = Limits(64, 2048, "pixels", "256 suits a laptop, 512 a GPU", even=True)
RENDER_SIZE = Limits(16, 4096, "pixels", "an avatar shows no more than its capture held: twice that is plenty")
CLIP_FRAMES = Limits(
    FEWEST_FRAMES, 10_000, "frames", "an avatar needs 20 frames with a face; beyond 300 it gains little"
)
RENDER_FRAMES = Limits(1, MOST_FRAMES, "frames", "100 show enough; for more than that make several videos")
DRIVER_FRAMES = Limits(1, MOST_FRAMES, "frames", "cut it into parts, or of a video choose one by --start and --end")
FPS = Limits(0.001, 1000, "frames per second", "25 and 30 are usual")
MINUTES = Limits(0, 10_080, "minutes (a week)", "5 to 10 suit most clips", above=True)
SECONDS = Limits(0, 360_000, "seconds", "count in seconds from the beginning of the video")
SHOT = Limits(1, 10_000, "", "1 is the first shot; without --shot the one with most frames of a face is taken")
SEED = Limits(0, 2**32 - 2, "", "any whole number in this range will do")
GAIN = Limits(0, 3, "", "1 leaves a region as the driver moves it, 0 keeps it still")
PUPIL_DISTANCE = Limits(40, 85, "millimetres", "63 is the mean of adults; most have 54 to 74")
AMPLITUDE = Limits(
    0, 60, "degrees", "a clip shows the face from the front; keep near the angles it was filmed from", above=True
)
SYNTHETIC_SIZE = Limits(64, 2048, "pixels", "256 is enough for an avatar")
SYNTHETIC_FRAMES = Limits(1, 5_000, "frames", "150 to 300 are enough for an avatar")
SYNTHETIC_FPS = Limits(1, 240, "frames per second", "25 and 30 are usual")
DEMO_FRAMES = Limits(FEWEST_FRAMES, 5_000, "frames", "180 are enough for an avatar")
DEMO_DRIVER_FRAMES = Limits(2, 5_000, "frames", "100 show enough")

CAPTURE_SIDE = Limits(1, 8192, "pixels", "make the capture again at a smaller size")
PICTURE_PIXELS = Limits(0, 120_000_000, "pixels", "scale the picture down; a face 500 pixels wide is enough")
VIDEO_PIXELS = Limits(0, 40_000_000, "pixels", "scale the video down; a face 500 pixels wide is enough")


def require_clip_part(
    start: float | None, end: float | None, max_frames: int | None = None, shot: int | None = None
) -> None:
    """Raise InputError where the requested part of a clip cannot be one of any clip."""
    for name, value in (("--start", start), ("--end", end)):
        SECONDS.require(name, value, error=InputError)
    if start is not None and end is not None and end <= start:
        raise InputError(
            "--end comes before --start",
            expected="an end after the start",
            found=f"{start:g} to {end:g} s",
            fix="choose another --start or --end",
        )
    CLIP_FRAMES.require("--max-frames", max_frames, error=InputError)
    SHOT.require("--shot", shot, error=InputError)


def require_rotate(rotate: str | int) -> None:
    """Raise InputError unless `rotate` is one of `conventions.Rotate`."""
    if rotate not in get_args(Rotate):
        raise InputError("--rotate is unknown", expected="auto or 0, 90, 180, 270 degrees clockwise", found=rotate)


def require_synthetic(*, seed: int, size: int, frames: int, fps: float) -> None:
    """Raise InputError for numbers of which no synthetic clip can be made."""
    SEED.require("--seed", seed, error=InputError)
    SYNTHETIC_SIZE.require("--size", size, error=InputError)
    SYNTHETIC_FRAMES.require("--frames", frames, error=InputError)
    SYNTHETIC_FPS.require("--fps", fps, error=InputError)


def require_picture_size(
    width: int, height: int, limits: Limits, *, where: str | Path, error: type[AvatarError] = InputError
) -> None:
    """Raise `error` for a picture or video with more pixels than there is room for in memory."""
    if width * height > limits.high:
        raise error(
            "the picture is too large",
            where=where,
            expected=f"at most {limits.high / 1e6:g} million pixels",
            found=f"{width} x {height}, {width * height / 1e6:,.0f} million",
            fix=limits.fix,
        )
