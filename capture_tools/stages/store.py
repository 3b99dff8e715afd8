"""Arrays of finished stages, kept in the capture folder so that an interrupted capture resumes where it stopped."""

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
"""The file that each stage writes last."""
ARRAYS = ("images.npy", "masks.npy", "images_kept.npy", "masks_kept.npy")
PIECE = 1 << 24
"""Bytes per write when a file is filled."""


class Stages:
    """The `stages` folder of one capture."""

    def __init__(self, capture: Path) -> None:
        self.folder = Path(capture) / FOLDER

    def path(self, name: str) -> Path:
        """The path of a stage's file; ValueError for a name that `remove` would not delete."""
        if name not in (*FINISHED, *ARRAYS, SECONDS):
            raise ValueError(f"{name} is not in the list of the stages' files")
        return self.folder / name

    def any_finished(self) -> bool:
        """Whether a rerun has a finished stage to resume from."""
        return any(self.path(name).exists() for name in FINISHED)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of a finished stage, else None. Raises CaptureError where they are damaged."""
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
        """Write a finished stage's arrays, atomically."""
        write_npz(self.path(f"{name}.npz"), {key: np.asarray(value) for key, value in arrays.items()})

    def open_array(self, name: str, shape: tuple[int, ...] | None = None) -> np.memmap:
        """A memory-mapped uint8 array: created with `shape`, else opened for reading.

        All of its blocks are allocated at once, because writing to a map on a full disk kills the process.
        Raises OutputError where the disk has no room.
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
            refusal = output_error(error, path)  # made before the file goes: it says how much is free
            path.unlink(missing_ok=True)
            raise refusal from error

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block's time to the stage's seconds, which survive interruptions."""
        began = time.monotonic()
        yield
        known = self.seconds()
        known[name] = round(known.get(name, 0.0) + time.monotonic() - began, 2)
        write_json(self.path(SECONDS), known)

    def seconds(self) -> dict[str, float]:
        """Seconds per stage so far."""
        path = self.path(SECONDS)
        return dict(read_json(path, CaptureError)) if path.exists() else {}

    def remove(self) -> None:
        """Delete the stages' files after the capture is written; other files in the folder stay."""
        for name in (*FINISHED, *ARRAYS, SECONDS):
            self.path(name).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def fill(file: BinaryIO, length: int) -> None:
    """Write `length` zeros, so that all blocks are allocated; OSError on a full disk."""
    while length > 0:
        length -= file.write(bytes(min(length, PIECE)))
