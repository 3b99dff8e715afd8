"""Training progress by steps or by time, and the learning rate that follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

FEWEST_STEPS = 100
"""A time budget that the preparation has used up still gives so many steps: an avatar of none shows nothing."""


@dataclass
class Schedule:
    """Progress of a training that ends after `steps`, or sooner when `minutes` (above 0) are used up.

    The clock goes on where a resumed run stopped: `elapsed` seconds are behind it already.
    """

    steps: int
    minutes: float
    final_rate: float
    warmup: int
    elapsed: float = 0.0
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        self._began = self.clock() - self.elapsed

    def seconds(self) -> float:
        """Seconds spent so far, those before a resume included."""
        return self.clock() - self._began

    def progress(self, step: int) -> float:
        """The share of the training that is done before step `step` (from 0), in [0, 1]."""
        done = step / self.steps
        if self.minutes > 0:
            done = max(done, self.seconds() / (60 * self.minutes))
        return min(max(done, 0.0), 1.0)

    def finished(self, step: int) -> bool:
        """Whether `step` steps are enough: a time budget used up by the preparation still buys a few."""
        return self.progress(step) >= 1.0 and step >= min(FEWEST_STEPS, self.steps)

    def rate_factor(self, step: int, progress: float) -> float:
        """What learning rates are multiplied by: a linear rise over the warm-up, then an exponential fall to
        `final_rate` at the end."""
        rise = min((step + 1) / self.warmup, 1.0) if self.warmup > 0 else 1.0
        return rise * self.final_rate**progress

    def seconds_left(self, step: int, rate: float) -> float:
        """Seconds until the training ends at `rate` steps a second, or when its budget is used up."""
        left = max(self.steps - step, 0) / max(rate, 1e-9)
        return min(left, max(60 * self.minutes - self.seconds(), 0.0)) if self.minutes > 0 else left
