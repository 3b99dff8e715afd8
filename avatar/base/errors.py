"""Errors that a user can act on. The command line prints them without a traceback."""

from __future__ import annotations

from pathlib import Path


class AvatarError(Exception):
    """Something the user can act on: what went wrong, where, what was expected and found, what to do.

    `str(error)` is the whole message on one line per part, ready to print.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        frame: int | None = None,
        expected: object | None = None,
        found: object | None = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.where, self.frame = what, where, frame
        self.expected, self.found, self.fix = expected, found, fix
        place = [str(where)] if where is not None else []
        place += [f"frame {frame}"] if frame is not None else []
        parts = [what + (f" ({', '.join(place)})" if place else "")]
        parts += [f"expected: {expected}"] if expected is not None else []
        parts += [f"found: {found}"] if found is not None else []
        parts += [f"what to do: {fix}"] if fix is not None else []
        super().__init__("\n  ".join(parts))


class InputError(AvatarError):
    """A video, image or argument from the user cannot be used."""


class CaptureError(AvatarError):
    """A capture folder is incomplete, damaged or does not fit what is asked of it."""


class HeadModelError(AvatarError):
    """A head model is unknown, damaged, or not the one the data was made with."""


class ConfigError(AvatarError):
    """A setting does not exist or has a value that cannot work."""


class RunError(AvatarError):
    """A run folder is incomplete, damaged or of another version."""


class OutputError(AvatarError):
    """The output cannot be written: it holds something else, or the disk is full."""


class TrainingError(AvatarError):
    """Training cannot go on, for example because a value is not finite."""


class MissingDependencyError(AvatarError):
    """An optional package that was asked for is not installed."""
