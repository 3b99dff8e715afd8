"""The tracker of `avatar live` as seen from the program: a process that is started, told what to do, and ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from avatar.animation.options import Retarget
from avatar.app import live_messages as messages
from avatar.viewer.live import LiveHead

if TYPE_CHECKING:
    from avatar.avatar import Avatar

CALM = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""For programs that start a tracker without `app/cli.py`, which sets the same: threads that wait awake, or matrices
shared out among them, would make it several times slower beside the drawing."""
GOING = 3.0
"""Seconds that the process has to end by itself; a camera may hold it up, or a fit that is under way."""


@dataclass(frozen=True)
class OpenedSource:
    """What the tracker says of its source."""

    name: str
    fps: float
    """Pictures per second, as the source declares."""
    frames: int | None = None
    """Of a file."""
    rotate: int = 0
    """Degrees by which a file's frames are turned clockwise."""
    audio: bool = False
    """Whether a file has sound that can be decoded."""


class TrackerProcess:
    """A tracker in a process of its own. `open`, `prepare`, then take its `heads`; `close` ends it in any state.

    Errors of the tracker are raised here, typed as they were there.
    """

    def __init__(self, source: str, rotate: str | int) -> None:
        self.name = source
        self._closing = False
        self._lock = threading.Lock()
        places = os.pathsep.join(path or os.getcwd() for path in sys.path)
        environment = CALM | dict(os.environ) | {"PYTHONPATH": places}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "avatar.app.live_tracker", json.dumps({"source": source, "rotate": rotate})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # Ctrl-C is the program's alone
        )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def open(self) -> OpenedSource:
        """Wait until the source is open. Raises InputError where it cannot be used."""
        message = self._wait(messages.OPENED)
        opened = OpenedSource(**{name: value for name, value in message.items() if name != "kind"})
        self.name = opened.name
        return opened

    def prepare(self, avatar: Avatar, settings: Retarget) -> None:
        """Tell the tracker whom it moves, and wait until it is ready: with a file, until its driver is known.

        Raises InputError for a file without a face.
        """
        own = messages.numbers_of(avatar.parameters.to("cpu"), shared=True)
        self._tell(messages.AVATAR, head=avatar.asset.name, own=own, settings=asdict(settings))
        self._wait(messages.READY)

    def heads(self) -> Iterator[LiveHead]:
        """See `LiveTracker`."""
        self._tell(messages.START)
        for message in self._messages():
            if message["kind"] == messages.ENDED:
                return
            yield messages.head_of(message)

    def renew(self) -> None:
        self._tell(messages.RENEW)

    def close(self) -> None:
        """End the process and wait for it."""
        self._closing = True
        with self._lock, suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(GOING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, kind: str, **content: Any) -> None:
        with self._lock:
            stdin = self._process.stdin
            if stdin is None or stdin.closed:
                return
            with suppress(OSError):  # where it has failed, the message that says so is read next
                stdin.write(messages.line_of(kind, **content))
                stdin.flush()

    def _wait(self, kind: str) -> dict[str, Any]:
        return next(message for message in self._messages() if message["kind"] == kind)

    def _messages(self) -> Iterator[dict[str, Any]]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            message = json.loads(line)
            if message["kind"] == messages.FAILED:
                raise messages.failure_of(message)
            yield message
        if not self._closing:
            raise RuntimeError(f"the tracker's process ended by itself, with status {self._process.wait()}")
