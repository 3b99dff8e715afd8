"""Progress bars and warnings on standard error, for terminals and logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

BAR_WIDTH = 24
TERMINAL_INTERVAL = 0.1
LOG_INTERVAL = 15.0
Listener = Callable[[str, int, "int | None"], None]
_LISTENER: ContextVar[Listener | None] = ContextVar("progress listener", default=None)


@contextmanager
def progress_to(listener: Listener) -> Iterator[None]:
    """While it lasts, the bars made in this thread print nothing: `listener` takes label, count and total.

    What it raises ends the loop that the bar belongs to: so a person can give up on it.
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


class Progress:
    """Shows how far a loop has come, on standard error.

    On a terminal one line is redrawn; elsewhere a line is printed every 15 s and one at the end, so that a log
    stays short. Use as a context manager:

        with Progress("train", steps, unit="step") as bar:
            for step in range(steps):
                bar.update(step + 1, note=f"loss {loss:.3f}")

    `total` None means unknown: count and rate are shown, no bar and no time left.
    """

    def __init__(
        self, label: str, total: int | None, unit: str = "frame", *, start: int = 0, stream: TextIO | None = None
    ) -> None:
        self.label, self.total, self.unit, self.start = label, total, unit, start
        self.stream = sys.stderr if stream is None else stream
        self._listener = _LISTENER.get()
        self.done = start
        self.note = ""
        self._redraws = self.stream.isatty()
        self._began = time.monotonic()
        self._shown = self._began if not self._redraws else float("-inf")
        self._width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def update(self, done: int, note: str = "", seconds_left: float | None = None) -> None:
        """`done` of `total` are finished. `seconds_left` overrides the estimate, where a time budget decides."""
        self.done, self.note = done, note
        if self._listener is not None:
            self._listener(self.label, done, self.total)
            return
        now = time.monotonic()
        if now - self._shown >= (TERMINAL_INTERVAL if self._redraws else LOG_INTERVAL):
            self._shown = now
            self._print(self.line(now, seconds_left))

    def close(self) -> None:
        """Print the last line: the count and the time taken."""
        if self._listener is not None:
            return
        seconds = time.monotonic() - self._began
        self._print(f"{self.label}: {self._count()} in {clock(seconds)}{self._rate(seconds)}{self._noted()}")
        if self._redraws:
            self.stream.write("\n")
            self.stream.flush()

    def line(self, now: float, seconds_left: float | None = None) -> str:
        """The text shown at monotonic time `now`."""
        seconds = now - self._began
        text = f"{self.label}: "
        if self.total:
            share = min(max(self.done / self.total, 0.0), 1.0)
            filled = round(share * BAR_WIDTH)
            text += f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {share:4.0%} "
        text += self._count() + self._rate(seconds)
        if seconds_left is None and self.total and self.done > self.start:
            seconds_left = seconds * (self.total - self.done) / (self.done - self.start)
        if seconds_left is not None:
            text += f", {clock(seconds_left)} left"
        return text + self._noted()

    def _count(self) -> str:
        return f"{self.done}/{self.total} {self.unit}s" if self.total else f"{self.done} {self.unit}s"

    def _rate(self, seconds: float) -> str:
        if seconds <= 0 or self.done <= self.start:
            return ""
        rate = (self.done - self.start) / seconds
        return f", {rate:.1f} {self.unit}s/s" if rate >= 1 else f", {1 / rate:.1f} s/{self.unit}"

    def _noted(self) -> str:
        return f", {self.note}" if self.note else ""

    def _print(self, text: str) -> None:
        if self._redraws:
            self.stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def clock(seconds: float) -> str:
    """Seconds as `m:ss`, or `h:mm:ss` from an hour on."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def warn(text: str) -> None:
    """Tell the user on standard error of something that does not stop the command."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
