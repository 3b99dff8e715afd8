"""The files of a run's checkpoints: their names, which is the newest, and which are kept. Nothing is read from them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from avatar.base.errors import RunError
from avatar.base.files import safe_join

FOLDER = "checkpoints"
LATEST = "latest"
NAME = r"step_(\d{6,})\.safetensors"


def step_file(run: Path, step: int) -> Path:
    """Where the checkpoint of a step belongs."""
    return Path(run) / FOLDER / f"step_{step:06d}.safetensors"


def step_files(run: Path) -> list[Path]:
    """The checkpoints of a run, the one with the most steps first; files with any other name are not ours."""
    folder = Path(run) / FOLDER
    if not folder.is_dir():
        return []
    ours = [path for path in folder.iterdir() if re.fullmatch(NAME, path.name) and not path.is_symlink()]
    return sorted(ours, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """The steps in the name of one of `step_files`."""
    return int(path.stem.removeprefix("step_"))


def has_checkpoint(run: Path) -> bool:
    """Whether a training has left anything here to go on from, readable or not."""
    return (Path(run) / FOLDER / LATEST).exists() or bool(step_files(run))


def checkpoints_in_order(run: Path) -> tuple[list[Path], str | None]:
    """The checkpoints of a run in the order in which to try them, and what is wrong with `latest`, if anything.

    First comes the one that `latest` names, then the others from the newest on. Raises RunError where there is no trace
    of a training.
    """
    folder = Path(run) / FOLDER
    others = step_files(run)
    try:
        name = (folder / LATEST).read_text().strip()
        path = safe_join(folder, name, RunError)
    except (OSError, ValueError) as cause:
        if not has_checkpoint(run):
            raise RunError(
                "this is not a run folder with a trained avatar",
                where=run,
                expected=f"{FOLDER}/{LATEST}",
                fix="make one: avatar create VIDEO --out RUN",
            ) from cause
        return others, f"{LATEST} cannot be read" if (folder / LATEST).exists() else f"{LATEST} is missing"
    except RunError as error:
        return others, f"{LATEST} names {error.found}: {error.what}"
    if not path.is_file():
        return others, f"{LATEST} names {name}, which is missing" if name else f"{LATEST} is empty"
    named = folder / path.name if path.parent == folder.resolve() else path
    return [named, *(other for other in others if other != named)], None


def checkpoint_path(run: Path, checkpoint: str = LATEST) -> Path:
    """The file of a run's checkpoint: the latest, or one by its name. Raises RunError where there is none."""
    folder = Path(run) / FOLDER
    if checkpoint == LATEST:
        paths, trouble = checkpoints_in_order(run)
        if paths:
            return paths[0]
        raise RunError("the run has no checkpoint", where=folder, found=trouble, fix=train_again(run))
    path = safe_join(folder, checkpoint, RunError)
    if not path.is_file():
        held = ", ".join(sorted(file.name for file in step_files(run)))
        raise RunError("the checkpoint does not exist", where=path, expected=held or "a checkpoint", found=checkpoint)
    return path


def train_again(run: Path) -> str:
    """What to do where nothing of a training can be used any more."""
    return f"put back a copy of one, or train again: remove {Path(run) / FOLDER} and give the command that made the run"


def remove_old(run: Path, newest: int, keep: int, is_whole: Callable[[Path], bool]) -> None:
    """Remove all checkpoints but that of step `newest` and the `keep - 1` before it.

    Damaged ones are no use to fall back on and go. Of the whole ones those of later steps go first: a training that
    went on from an earlier one has left them behind.
    """
    others = [path for path in step_files(run) if step_of(path) != newest]
    others.sort(key=lambda path: (is_whole(path), step_of(path) < newest, step_of(path)), reverse=True)
    for place, path in enumerate(others):
        if place >= keep - 1 or not is_whole(path):
            path.unlink(missing_ok=True)
