"""Files and folders: atomic writes, claimed output folders, checked paths."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar.base.errors import AvatarError, OutputError

if TYPE_CHECKING:
    import numpy as np

CLAIM_FILE = ".avatar.json"
LOCK_FILE = ".avatar.lock"
"""In a folder that is being written: see `avatar.base.folder_lock`."""
LEFTOVER = r"\..+\.\d+\.part(\.[^.]+)?"
"""The names of `atomic_write`'s temporary files."""


def atomic_write(path: Path, write: Callable[[Path], object]) -> Path:
    """Call `write` with a temporary file beside `path`, then rename that into place.

    A reader never sees a partial file, and a failed write leaves the old one as it was. Nothing is synced to disk: a
    power cut can still lose the last write.
    Raises OutputError when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise output_error(error, path) from error
    finally:
        with suppress(OSError):  # where the folder cannot be, as below a file, there is nothing to remove either
            temporary.unlink(missing_ok=True)
    return path


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left at or below `folder`, which nobody else may be writing.

    Files of any other name stay. Folders with a claim of their own are another command's and are left alone.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not Path(place, name, CLAIM_FILE).exists()]
        for name in names:
            if re.fullmatch(LEFTOVER, name):
                Path(place, name).unlink(missing_ok=True)


def refuse_links(folder: Path, *names: str) -> None:
    """Raise OutputError where one of the entries `names` of `folder`, or anything below them, is a link.

    What is written or removed through a link is somewhere else. Without names everything below `folder` is looked at.
    `folder` itself may be a link: it was chosen by the user.
    """
    folder = Path(folder)
    every = folder.iterdir() if folder.is_dir() else ()
    waiting = [folder / name for name in names] or list(every)
    while waiting:
        path = waiting.pop()
        if path.is_symlink():
            raise OutputError(
                "a link stands where files are written",
                where=path,
                expected="a file or folder of its own",
                found=f"a link to {os.readlink(path)}",
                fix="remove the link (what it leads to stays as it is), or choose another output folder",
            )
        if path.is_dir():
            waiting += path.iterdir()


def output_error(error: OSError, path: Path) -> OutputError:
    """The OutputError that tells a user what an operating-system error at `path` means."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(nearest_existing(path)).free / 2**20
        return OutputError(
            "the disk is full",
            where=path,
            found=f"{free:.0f} MiB free",
            fix="free some space and run again; what was finished is kept",
        )
    above = nearest_existing(Path(path).parent)
    if not above.is_dir():
        found, fix = f"{above} is a file, and no folder", "choose a path below a folder"
        return OutputError("the file cannot be written", where=path, found=found, fix=fix)
    return OutputError(
        "the file cannot be written",
        where=path,
        found=error.strerror or str(error),
        fix="check the path and its permissions",
    )


def nearest_existing(path: Path) -> Path:
    """The path itself or the closest parent folder that exists."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return path


def require_free_space(folder: Path, needed_bytes: int) -> None:
    """Raise OutputError before work begins when `folder`'s disk has less than `needed_bytes` free."""
    free = shutil.disk_usage(nearest_existing(folder)).free
    if free < needed_bytes:
        raise OutputError(
            "the disk has too little free space",
            where=folder,
            expected=f"at least {needed_bytes / 2**20:.0f} MiB",
            found=f"{free / 2**20:.0f} MiB",
            fix="free some space or choose another --out",
        )


def write_bytes(path: Path, data: bytes) -> Path:
    return atomic_write(path, lambda part: part.write_bytes(data))


def write_text(path: Path, text: str) -> Path:
    return write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> Path:
    """Write JSON, atomically; NaN is refused so that any reader can load it."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_npz(path: Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> Path:
    """Write arrays as an npz without pickled objects, atomically.

    The archive is made in memory: a zip file that meets a full disk raises once more when it is collected.
    """
    import numpy as np

    archive = io.BytesIO()
    contents: dict[str, Any] = dict(arrays)
    (np.savez_compressed if compressed else np.savez)(archive, **contents)
    return write_bytes(path, archive.getvalue())


def read_json(path: Path, error: type[AvatarError] = AvatarError) -> Any:
    """Read a JSON file; raises `error` where it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as cause:
        raise error("a file is missing", where=path) from cause
    except (OSError, ValueError, RecursionError) as cause:
        raise error("a file is damaged", where=path, expected="JSON", found=cause) from cause


def safe_join(root: Path, relative: str, error: type[AvatarError] = AvatarError) -> Path:
    """`root / relative`, where a path read from disk may not leave `root`."""
    root = Path(root).resolve()
    path = (root / relative).resolve()
    if not path.is_relative_to(root):
        raise error(
            "a path leaves its folder",
            where=root,
            expected="a path inside the folder",
            found=f"{relative}, which is {path}",
            fix="where that is a link, put what it leads to in its place; any other such path was not written by this "
            "program: make the folder again",
        )
    return path


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, all with as many parents as it takes to tell them apart: `anna/capture`, `bob/capture`."""
    parts = [Path(folder).resolve().parts for folder in folders]
    depths = range(1, max(map(len, parts), default=1) + 1)
    tried = (["/".join(part[-depth:]) for part in parts] for depth in depths)
    return next((names for names in tried if len(set(names)) == len(names)), [str(folder) for folder in folders])


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def claim_folder(folder: Path, kind: str, identity: dict[str, Any]) -> bool:
    """Make `folder` ours for one purpose, or continue in it.

    `kind` says what the folder is ("capture", "run", "demo", ...), `identity` which input and settings it is
    made from (JSON values). Returns True when the folder is new or empty, False when it was claimed before with
    the same kind and identity, so that a stage can resume.
    Raises OutputError when it holds anything else; nothing is touched then.
    """
    fresh = can_be_claimed(folder, kind, identity)
    if fresh:
        write_json(Path(folder) / CLAIM_FILE, {"kind": kind, "identity": identity})
    return fresh


def can_be_claimed(folder: Path, kind: str, identity: dict[str, Any]) -> bool:
    """What `claim_folder` would return or raise, without writing anything."""
    folder = Path(folder)
    claim = {"kind": kind, "identity": identity}
    if folder.exists() and not folder.is_dir():
        raise OutputError("the output folder is a file", where=folder, fix="choose another --out")
    held = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
    held = [name for name in held if name != LOCK_FILE and not re.fullmatch(LEFTOVER, name)]
    if not held:
        return True
    if CLAIM_FILE not in held:
        raise OutputError(
            "the output folder already holds something else",
            where=folder,
            found=", ".join(held[:4]),
            fix="choose another --out, or empty the folder",
        )
    previous = read_json(folder / CLAIM_FILE, OutputError)
    if previous != claim:
        raise OutputError(
            f"the output folder was made by another {previous.get('kind', 'command')}",
            where=folder,
            expected=describe_claim(claim),
            found=describe_claim(previous),
            fix="choose another --out, or remove the folder",
        )
    return False


def withdraw_claim(folder: Path) -> None:
    """Take back a claimed folder that holds nothing else; one with anything else in it stays as it is."""
    folder = Path(folder)
    if folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {CLAIM_FILE, LOCK_FILE}:
        (folder / CLAIM_FILE).unlink(missing_ok=True)
        with suppress(OSError):  # a lock keeps the folder until it is released
            folder.rmdir()


def describe_claim(claim: dict[str, Any]) -> str:
    identity = claim.get("identity") or {}
    return f"{claim.get('kind')} " + " ".join(f"{key}={value}" for key, value in sorted(identity.items()))


def refuse_inputs(path: Path, *inputs: Path) -> None:
    """Raise OutputError when the output file `path` is one of the files that the command reads."""
    for given in inputs:
        if Path(path).exists() and given.is_file() and os.path.samefile(path, given):
            raise OutputError(
                "the output file is one that the command reads",
                where=path,
                expected="another file: it would be replaced",
                found=given,
                fix="choose another --out",
            )


def require_place_for(path: Path, overwrite: bool) -> None:
    """Raise OutputError unless the output file `path` can be written: it is no folder, it does not exist or `overwrite`
    was asked for, and its folder is the user's."""
    if path.is_dir():
        raise OutputError("the output file is a folder", where=path, fix="choose another --out")
    place = nearest_existing(path.parent)
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise OutputError(
            "nothing can be written there", where=place, expected="a folder of yours", fix="choose another --out"
        )
    refuse_existing_file(path, overwrite)


def refuse_existing_file(path: Path, overwrite: bool) -> None:
    """Raise OutputError when the output file `path` exists and `overwrite` was not asked for."""
    if Path(path).exists() and not overwrite:
        raise OutputError("the output file exists already", where=path, fix="choose another --out, or add --overwrite")
