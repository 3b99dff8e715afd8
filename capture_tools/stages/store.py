"""Finished stages of a capture, kept in its folder so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from avatar.base.errors import CaptureError
from avatar.base.files import output_error, read_json, write_json, write_npz

FOLDER = "stages"
SECONDS = "seconds.json"
FINISHED = ("rotation.npz", "landmarks.npz", "crops.npz", "camera.npz", "tracking.npz")
"""What a stage leaves last."""
ARRAYS = ("images.npy", "mattes.npy", "images_kept.npy", "mattes_kept.npy")
PIECE = 1 << 24
"""Bytes written at once to fill a file."""


class Stages:
    """The `stages` folder of one capture."""

    def __init__(self, capture: Path) -> None:
        self.folder = Path(capture) / FOLDER

    def path(self, name: str) -> Path:
        """One of the files that a stage may leave, and that `remove` takes away."""
        if name not in (*FINISHED, *ARRAYS, SECONDS):
            raise ValueError(f"{name} is not in the list of the stages' files")
        return self.folder / name

    def any_finished(self) -> bool:
        """Whether a rerun has anything to start from."""
        return any(self.path(name).exists() for name in FINISHED)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays a stage left, or None where it has not finished. Raises CaptureError where they are damaged."""
        path = self.path(f"{name}.npz")
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except Exception as cause:  # zipfile, zlib and numpy raise many types for damaged archives
            raise CaptureError(
                "a stage's file is damaged", where=path, found=cause, fix="remove it and run the capture again"
            ) from cause

    def save(self, name: str, **arrays: object) -> None:
        """Keep a finished stage's arrays, atomically."""
        write_npz(self.path(f"{name}.npz"), {key: np.asarray(value) for key, value in arrays.items()})

    def open_array(self, name: str, shape: tuple[int, ...] | None = None) -> np.memmap:
        """A uint8 array on disk: made anew with `shape`, else opened for reading.

        Raises OutputError where the disk has no room for all of it: a mapped file that finds the disk full only when it
        is filled kills the process.
        """
        path = self.path(f"{name}.npy")
        if shape is None:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            with open(path, "xb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                fill(file, math.prod(shape))
            return np.load(path, mmap_mode="r+", allow_pickle=False)
        except OSError as error:
            refusal = output_error(error, path)  # says how much is free while the part that was written is still there
            path.unlink(missing_ok=True)
            raise refusal from error

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block's time to the stage's seconds, kept over interruptions."""
        began = time.monotonic()
        yield
        known = self.seconds()
        known[name] = round(known.get(name, 0.0) + time.monotonic() - began, 2)
        write_json(self.path(SECONDS), known)

    def seconds(self) -> dict[str, float]:
        path = self.path(SECONDS)
        return dict(read_json(path, CaptureError)) if path.exists() else {}

    def remove(self) -> None:
        """Forget all stages; the capture is written. What they did not leave stays."""
        for name in (*FINISHED, *ARRAYS, SECONDS):
            self.path(name).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def fill(file: BinaryIO, length: int) -> None:
    """Write `length` zeros, so that the disk gives the file all its room; OSError where there is none."""
    while length > 0:
        length -= file.write(bytes(min(length, PIECE)))
