"""The one thread in which the viewer computes: each page's newest request is drawn, older ones are forgotten."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from avatar.viewer.quality import Quality
from avatar.viewer.state import ViewState

REST_DELAY = 0.15
"""Seconds without a change after which a picture is drawn in full size."""


class Superseded(Exception):
    """Raised inside a picture that is not wanted any more."""


class Draw(Protocol):
    """Draws a state as uint8 `[height, W, 3]`; calls `between` now and then, which may raise `Superseded`."""

    def __call__(self, state: ViewState, height: int, between: Callable[[], None]) -> np.ndarray: ...


class RenderWorker:
    """Draws states in a thread of its own.

    A submitted state is drawn small at once; when nothing new comes, it is drawn again in full size. That second
    picture is given up as soon as something new is submitted; a small one is finished, so that a steady drag always
    shows something. The newest state of each page waits in turn, so that one page never starves another. Jobs (a
    recording, a new checkpoint) run in the same thread, in turn.
    """

    def __init__(
        self,
        draw: Draw,
        show: Callable[[ViewState, np.ndarray, bool], None],
        quality: Quality,
        failed: Callable[[Exception], None],
        tick: Callable[[float], float | None] = lambda now: None,
    ) -> None:
        """show: takes each state with its picture, and whether that is in full size. failed: is told of errors in
        pictures and jobs.

        tick: called with the time (`time.monotonic`) before each wait; returns the seconds after which it wants to be
        called again, or None.
        """
        self._draw, self._show, self.quality, self._failed, self._tick = draw, show, quality, failed, tick
        self._condition = threading.Condition()
        self._pending: dict[int | None, ViewState] = {}
        self._jobs: deque[Callable[[], None]] = deque()
        self._refine: dict[int | None, tuple[float, ViewState]] = {}
        """When to draw what in full size."""
        self._stopping = False
        self.pictures = 0
        """Pictures shown so far."""
        self._thread = threading.Thread(target=self._run, name="avatar-viewer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, state: ViewState) -> None:
        """Have a state drawn in place of any of its page that waits. Returns at once."""
        with self._condition:
            self._pending[state.page] = state
            self._refine.pop(state.page, None)
            self._condition.notify()

    def forget(self, page: int | None) -> None:
        """Draw nothing more for a page that was closed."""
        with self._condition:
            self._pending.pop(page, None)
            self._refine.pop(page, None)

    def post(self, job: Callable[[], None]) -> None:
        """Have a job run after those posted before. Returns at once."""
        with self._condition:
            self._jobs.append(job)
            self._condition.notify()

    def wake(self) -> None:
        """Have `tick` called soon."""
        with self._condition:
            self._condition.notify()

    def go_on(self) -> None:
        """For long jobs to call in between: raises `Superseded` where the viewer is closing."""
        if self._stopping:
            raise Superseded

    def close(self, timeout: float = 10.0) -> bool:
        """End the thread, in the midst of a picture or a job too. Returns whether it has ended."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping:
            again = self._guarded(lambda: self._tick(time.monotonic()))
            work = self._next(again)
            if work is not None:
                self._guarded(work)

    def _guarded(self, work: Callable[[], float | None]) -> float | None:
        try:
            return work()
        except Superseded:
            return None
        except Exception as error:
            self._failed(error)
            return None

    def _next(self, again: float | None) -> Callable[[], None] | None:
        """What to do now, after waiting for it for `again` seconds at most; None where it is the tick's turn."""
        with self._condition:
            if not (self._pending or self._jobs or self._stopping):
                waits = [again] if again is not None else []
                waits += [max(0.0, due - time.monotonic()) for due, _ in self._refine.values()]
                self._condition.wait(min(waits) if waits else None)
            if self._stopping:
                return None
            if self._jobs:
                return self._jobs.popleft()
            if self._pending:
                state = self._pending.pop(next(iter(self._pending)))
                return lambda: self._draw_moving(state)
            for page, (due, state) in self._refine.items():
                if time.monotonic() >= due:
                    del self._refine[page]
                    return lambda: self._draw_at_rest(state)
            return None

    def _draw_moving(self, state: ViewState) -> None:
        height, began = self.quality.moving, time.monotonic()
        image = self._draw(state, height, self.go_on)
        self.quality.took(height, time.monotonic() - began)
        full = height >= self.quality.at_rest
        self._deliver(state, image, full)
        if not full:
            self._refine_later(state)

    def _draw_at_rest(self, state: ViewState) -> None:
        def between() -> None:
            if self._stopping or self._pending:
                raise Superseded

        try:
            self._deliver(state, self._draw(state, self.quality.at_rest, between), True)
        except Superseded:
            self._refine_later(state)  # another page moved: this one has its turn again
            raise

    def _refine_later(self, state: ViewState) -> None:
        with self._condition:
            if state.page not in self._pending:
                self._refine[state.page] = time.monotonic() + REST_DELAY, state

    def _deliver(self, state: ViewState, image: np.ndarray, full: bool) -> None:
        self._show(state, image, full)
        self.pictures += 1
