"""How late a live avatar is: delays of its pictures, rates, and what was left out."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

RECENT = 2.0
"""Seconds over which the figures of the moment are taken."""


@dataclass(frozen=True)
class LiveFigures:
    """Figures of a stretch of time. Delays are those from a source's picture to the avatar's, seconds; nan without."""

    seconds: float
    tracked: int
    """Pictures of the source in which the face was followed."""
    dropped: int
    """Pictures of the source that were replaced by newer ones before they could be."""
    shown: int
    """Pictures of the avatar."""
    delay: float
    """Mean over the pictures, at the moment each was shown."""
    longest_delay: float
    age: float
    """Mean over time: how long ago what the shown picture shows happened, which grows until the next is there."""
    oldest: float
    """The largest age."""

    @property
    def tracked_rate(self) -> float:
        """Pictures of the source followed, 1/s."""
        return self.tracked / self.seconds if self.seconds > 0 else 0.0

    @property
    def shown_rate(self) -> float:
        """Pictures of the avatar, 1/s."""
        return self.shown / self.seconds if self.seconds > 0 else 0.0


class Delays:
    """Keeps account for several threads. Times are seconds of one clock (`time.monotonic`)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: float | None = None
        self._last = 0.0
        self._tracked = self._dropped = 0
        self._whole = _Shown()
        self._tracks: deque[float] = deque()
        self._shows: deque[tuple[float, float]] = deque()
        """(when, captured) of the recent pictures and the one before them."""

    def track(self, now: float, dropped: int) -> None:
        """A picture of the source was followed; `dropped`: those left out since the one before it."""
        with self._lock:
            self._began = now if self._began is None else self._began
            self._last = max(self._last, now)
            self._tracked += 1
            self._dropped += dropped
            self._tracks.append(now)
            while self._tracks[0] < now - RECENT:
                self._tracks.popleft()

    def show(self, now: float, captured: float) -> None:
        """The avatar's picture of what happened at `captured` is shown."""
        with self._lock:
            self._last = max(self._last, now)
            self._whole.add(now, captured)
            self._shows.append((now, captured))
            while len(self._shows) > 1 and self._shows[1][0] < now - RECENT:
                self._shows.popleft()

    def recent(self, now: float) -> LiveFigures:
        """The figures of the last `RECENT` seconds; `dropped` counts from the beginning."""
        with self._lock:
            since = now - RECENT
            shown = _Shown()
            for when, captured in self._shows:
                shown.add(when, captured)
            shown.until(now)
            count = sum(when >= since for when, _ in self._shows)
            tracked = sum(when >= since for when in self._tracks)
            began = now if self._began is None else self._began
            return shown.figures(max(0.0, min(RECENT, now - began)), tracked, self._dropped, count)

    def whole(self) -> LiveFigures:
        """The figures from the first picture that was followed to the last that was followed or shown."""
        with self._lock:
            seconds = 0.0 if self._began is None else self._last - self._began
            return self._whole.figures(seconds, self._tracked, self._dropped, self._whole.count)


class _Shown:
    """Sums over shown pictures."""

    def __init__(self) -> None:
        self.count = 0
        self._delay = self._longest = self._age = self._seconds = self._oldest = 0.0
        self._last: tuple[float, float] | None = None

    def add(self, now: float, captured: float) -> None:
        self.until(now)
        self.count += 1
        self._delay += now - captured
        self._longest = max(self._longest, now - captured)
        self._oldest = max(self._oldest, now - captured)
        self._last = now, captured

    def until(self, now: float) -> None:
        """The last picture stays until `now`."""
        if self._last is None:
            return
        since, captured = self._last
        self._age += (now - since) * ((since + now) / 2 - captured)
        self._seconds += now - since
        self._oldest = max(self._oldest, now - captured)
        self._last = now, captured

    def figures(self, seconds: float, tracked: int, dropped: int, shown: int) -> LiveFigures:
        nan = float("nan")
        if self.count == 0:
            return LiveFigures(seconds, tracked, dropped, shown, nan, nan, nan, nan)
        delay = self._delay / self.count
        age = self._age / self._seconds if self._seconds > 0 else delay
        return LiveFigures(seconds, tracked, dropped, shown, delay, self._longest, age, self._oldest)


def figure_lines(figures: LiveFigures, behind: float = 0.0) -> list[str]:
    """What a person reads of a whole performance. behind: seconds that a file ran slower than its own rate."""
    if not figures.shown:
        return []
    missed = f", {figures.dropped} left out" if figures.dropped else ", none left out"
    delays = f"{figures.delay:.2f} s after the driver's on average, {figures.longest_delay:.2f} s at most"
    ages = f"{figures.age:.2f} s on average, {figures.oldest:.2f} s at most"
    lines = [
        f"followed {figures.tracked} pictures in {figures.seconds:.1f} s ({figures.tracked_rate:.1f} a second{missed})",
        f"showed {figures.shown} of the avatar ({figures.shown_rate:.1f} a second), each {delays}",
        f"age of what was shown: {ages}",
    ]
    if behind > 0:
        lines.append(f"the file could not be read at its own rate: it ran {behind:.1f} s longer")
    return lines


def figure_status(figures: LiveFigures) -> str:
    """The same of the last seconds, in one line."""
    if not figures.shown:
        return f"{figures.tracked_rate:.0f} pictures a second followed"
    return (
        f"delay {figures.delay:.2f} s, {figures.tracked_rate:.0f} pictures a second followed, "
        f"{figures.shown_rate:.0f} shown, {figures.dropped} left out"
    )
