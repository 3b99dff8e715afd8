"""Folder locks: one command at a time writes into a folder. The operating system frees the lock when a process ends."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from avatar.base.errors import OutputError
from avatar.base.files import (
    LOCK_FILE,
    can_be_claimed,
    claim_folder,
    output_error,
    refuse_links,
    remove_leftovers,
)
from avatar.base.progress import warn

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
"""Errors of file systems without locks."""
FAR = 1 << 30
"""Offset of the byte locked on Windows, where a locked byte cannot be read: far behind the file's text."""
TRIES, PAUSE = 20, 0.05
"""Attempts, and seconds between them, at a folder that another process is creating or removing."""


@contextmanager
def claimed_folder(folder: Path, kind: str, identity: dict[str, Any]) -> Iterator[bool]:
    """`claim_folder`, locked while the block runs; yields whether the folder is new or empty.

    Raises OutputError where the folder holds anything else (it is not touched then), where a link stands in it, and
    where another command is writing into it.
    """
    can_be_claimed(folder, kind, identity)
    refuse_links(folder)
    with locked_folder(folder):
        yield claim_folder(folder, kind, identity)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other commands from writing into `folder` while the block runs; a missing folder is made.

    `.avatar.lock` in the folder is locked and says who holds it; what a killed process left half written is removed.
    At the end the file goes, and the folder too where the block left it empty. Not to be nested for one folder.
    Raises OutputError with the other's process number and start where another command holds the folder.
    """
    folder = Path(folder)
    refuse_links(folder, LOCK_FILE)
    chosen_empty = folder.is_dir() and not any(folder.iterdir())
    try:
        descriptor = _acquire(folder)
        try:
            remove_leftovers(folder)
            yield
        finally:
            _release(folder / LOCK_FILE, descriptor)
    finally:
        if not chosen_empty:
            with suppress(OSError):
                folder.rmdir()


def _acquire(folder: Path) -> int:
    """A descriptor of the folder's lock file that holds the lock."""
    path = folder / LOCK_FILE
    for _ in range(TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # a command that was refused has just taken its folder away
            time.sleep(PAUSE)
            continue
        except OSError as error:
            raise output_error(error, folder) from error
        if not _lock(descriptor, folder):
            refusal = _held(descriptor, folder)
            os.close(descriptor)
            raise refusal
        if _is_at(descriptor, path):
            try:
                _write_holder(descriptor)
            except OSError as error:
                _release(path, descriptor)
                raise output_error(error, path) from error
            return descriptor
        os.close(descriptor)  # who held it before has removed the file: another one is there now, or none
    raise OutputError("the folder comes and goes", where=folder, fix="stop the other commands that write there")


def _lock(descriptor: int, folder: Path) -> bool:
    """Take the lock, or return False where another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return _lock_on_windows(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        warn(f"{folder} cannot be locked here ({error.strerror}): start no second command that writes into it")
    return True


def _lock_on_windows(descriptor: int) -> bool:
    import msvcrt

    os.lseek(descriptor, FAR, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int) -> None:
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    holder = json.dumps({"pid": os.getpid(), "started": started, "host": socket.gethostname()})
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, holder.encode())


def _held(descriptor: int, folder: Path) -> OutputError:
    """The error that says who holds the lock."""
    found = "a process that has not said its number yet"
    for _ in range(TRIES):  # between locking and writing its number a process has a moment
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            holder = json.loads(os.read(descriptor, 4096))
            place = "" if holder["host"] == socket.gethostname() else f" on {holder['host']}"
            found = f"process {holder['pid']}{place}, started {holder['started']}"
            break
        except (ValueError, KeyError, TypeError):
            time.sleep(PAUSE)
    return OutputError(
        "another command is writing into this folder",
        where=folder,
        found=found,
        fix="wait until it has finished or stop it, or choose another output folder",
    )


def _release(path: Path, descriptor: int) -> None:
    """Remove the lock file and free the lock, in this order: who opens the file in between sees that it has gone."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
    os.close(descriptor)
    if os.name == "nt":  # where an open file cannot be removed
        with suppress(OSError):
            path.unlink(missing_ok=True)
