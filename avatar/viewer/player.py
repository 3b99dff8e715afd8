"""Playing a performance by the clock: frames are left out where pictures take longer than the clip's frames."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class _Playing:
    began: float
    first: int
    frames: int
    fps: float
    loop: bool


class Player:
    """Which frame is due. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._playing: _Playing | None = None

    @property
    def is_playing(self) -> bool:
        return self._playing is not None

    def start(self, now: float, frame: int, frames: int, fps: float, loop: bool) -> None:
        """Play `frames` frames from `frame` on; from the first where that is the last."""
        self._playing = _Playing(now, frame if frame < frames - 1 else 0, frames, fps, loop)

    def stop(self) -> None:
        self._playing = None

    def at(self, now: float) -> tuple[int | None, float | None]:
        """The frame that is due, and the seconds until the next one is; None and None while nothing is played."""
        playing = self._playing
        if playing is None:
            return None, None
        passed = (now - playing.began) * playing.fps
        frame = playing.first + int(passed)
        wait = (int(passed) + 1 - passed) / playing.fps
        if playing.loop:
            return frame % playing.frames, wait
        if frame >= playing.frames - 1:
            self._playing = None
            return playing.frames - 1, None
        return frame, wait
