"""Work that takes long beside the drawing: one thing at a time, in a thread that a person can stop."""

from __future__ import annotations

import threading
from collections.abc import Callable

from avatar.base.errors import InputError
from avatar.base.progress import progress_to

CLOSING = 10.0
"""Seconds that a thread is waited for at the end."""


class GivenUp(Exception):
    """Raised inside work that a person has stopped."""


class Errand:
    """At most one piece of work at a time. It is stopped at the next step of one of its progress bars."""

    def __init__(self, name: str) -> None:
        """name: of the thread."""
        self.name = name
        self.progressed: Callable[[str, float | None], None] = lambda label, share: None
        """Takes what is being done and how much of it is; None where nobody knows."""
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(
        self,
        work: Callable[[], object],
        failed: Callable[[Exception], None],
        ended: Callable[[bool], None] = lambda stopped: None,
    ) -> None:
        """Begin a piece of work. failed: takes what it raises. ended: is told at the end whether it was stopped.

        Raises InputError where the last one is not done yet.
        """
        with self._lock:
            if self.is_busy:
                raise InputError("something else is being read", fix="wait for it, or stop it")
            self._stopped.clear()
            self._thread = threading.Thread(
                target=self._run, args=(work, failed, ended), name=f"avatar-{self.name}", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Give up what is being done. Returns at once."""
        self._stopped.set()

    def close(self) -> bool:
        """Give up and wait; returns whether the thread has ended."""
        self.stop()
        if self._thread is not None:
            self._thread.join(CLOSING)
        return not self.is_busy

    def _run(
        self, work: Callable[[], object], failed: Callable[[Exception], None], ended: Callable[[bool], None]
    ) -> None:
        stopped = False
        try:
            with progress_to(self._step):
                work()
        except GivenUp:
            stopped = True
        except Exception as error:
            failed(error)
        finally:
            ended(stopped)

    def _step(self, label: str, done: int, total: int | None) -> None:
        if self._stopped.is_set():
            raise GivenUp
        self.progressed(label, min(1.0, done / total) if total else None)
