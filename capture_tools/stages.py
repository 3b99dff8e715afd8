"""Finished stages of a capture, kept in its folder so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from avatar.errors import CaptureError
from avatar.files import atomic_write, read_json, write_json

FOLDER = "stages"
SECONDS = "seconds.json"


def remove_leftovers(capture: Path) -> None:
    """Remove the temporary files of a process that was killed while it wrote into a capture folder."""
    for part in Path(capture).rglob(".*.part*"):
        part.unlink(missing_ok=True)


class Stages:
    """The `stages` folder of one capture."""

    def __init__(self, capture: Path) -> None:
        self.folder = Path(capture) / FOLDER

    def path(self, name: str) -> Path:
        return self.folder / name

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

        def write(part: Path) -> None:
            with open(part, "wb") as file:
                np.savez(file, **{key: np.asarray(value) for key, value in arrays.items()})

        atomic_write(self.path(f"{name}.npz"), write)

    def open_array(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """A uint8 array on disk: made anew with `shape`, else opened for reading."""
        path = self.path(f"{name}.npy")
        if shape is None:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)

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
        """Forget all stages; the capture is written."""
        shutil.rmtree(self.folder, ignore_errors=True)
