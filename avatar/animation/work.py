"""The hidden folder beside an output while it is being made, with which an interrupted command goes on.

`.out.mp4.work` holds a note of what is being made, the parts of a video that are finished, and the tracked performances
of drivers. It goes when the output is complete. Who changes the command or its input begins anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.animation.outputs import PictureSequence
from avatar.base.errors import AvatarError, InputError, OutputError
from avatar.base.files import read_json, write_json
from avatar.base.folder_lock import locked_folder

NOTE = "work.json"
PARTS, DRIVERS = "part_*", "driver_*.npz"


def work_folder(out: Path) -> Path:
    """The hidden folder of an output; it need not be there."""
    return Path(out).with_name(f".{Path(out).name}.work")


def is_unfinished(out: Path) -> bool:
    """Whether an interrupted command left pictures of this output."""
    return (work_folder(out) / NOTE).is_file()


@dataclass
class Work:
    """An output that is being made. Its folder is locked while this is used."""

    folder: Path
    sequences: list[PictureSequence] = field(default_factory=list)
    """Numbered pictures that are written to their places at once."""

    def begin(self, identity: str, sequences: Sequence[PictureSequence], frames: int, overwrite: bool) -> None:
        """Go on with what an interrupted command of the same identity left, or begin anew: what another one left of its
        parts and pictures is removed, and with `overwrite` any picture of `sequences`.

        Raises OutputError where pictures of the sequences exist that no interrupted command left and `overwrite` is
        False; they stay as they are.
        """
        self.sequences = list(sequences)
        left = self._note()
        if left is not None and left["identity"] == identity:
            return
        own = range(left["frames"] if left is not None else 0)
        for place in sequences:
            theirs = {place.file(index) for index in own}
            others = [path for path in place.existing() if path not in theirs]
            if others and not overwrite:
                raise OutputError(
                    "the pictures exist already", where=others[0], fix="choose another --out, or add --overwrite"
                )
        for path in self.folder.glob(PARTS):
            path.unlink()
        for place in sequences:
            for path in place.existing():
                path.unlink()
        write_json(self.folder / NOTE, {"identity": identity, "frames": frames})

    def part(self, index: int, ending: str) -> Path:
        """The file of a part of a video."""
        return self.folder / f"part_{index:05d}{ending}"

    def driver(self, key: str) -> Path:
        """The file of a driver's tracked performance."""
        return self.folder / f"driver_{key}.npz"

    def finish(self) -> None:
        """The output is complete: nothing is left to go on with."""
        for path in [self.folder / NOTE, *self.folder.glob(PARTS), *self.folder.glob(DRIVERS)]:
            path.unlink(missing_ok=True)

    def _note(self) -> dict | None:
        try:
            left = read_json(self.folder / NOTE, InputError)
        except AvatarError:  # none, or one that says nothing any more
            return None
        fits = isinstance(left, dict) and isinstance(left.get("identity"), str) and isinstance(left.get("frames"), int)
        return left if fits else None

    def leave(self) -> None:
        """Forget what was being made where nothing of it was finished, so that no hidden folder stays behind."""
        if not any(self.folder.glob(PARTS)) and not any(place.existing() for place in self.sequences):
            (self.folder / NOTE).unlink(missing_ok=True)


@contextmanager
def work_beside(out: Path) -> Iterator[Work]:
    """The work on an output, whose hidden folder is locked while the block runs.

    Raises OutputError where another command is making the same output, or the folder cannot be written.
    """
    folder = work_folder(out)
    with locked_folder(folder):
        work = Work(folder)
        try:
            yield work
        finally:
            work.leave()


def identity_of(*parts: object) -> str:
    """A hex SHA-256 of arrays, tensors and JSON values: what decides how the pictures look."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype}{list(part.shape)}".encode())
            part = part.detach().cpu().reshape(-1).view(torch.uint8).numpy()  # NumPy has no bfloat16
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
        digest.update(b"|")
    return digest.hexdigest()
