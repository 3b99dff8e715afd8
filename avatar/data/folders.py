"""What a path given by a user is: people give a run where a capture is meant, a folder inside one, or a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from avatar.base.errors import AvatarError, CaptureError, InputError, OutputError, RunError
from avatar.base.files import CLAIM_FILE, LOCK_FILE, read_json
from avatar.data.capture_reference import CAPTURE_FILE, read_capture_reference
from avatar.data.capture_schema import TRANSFORMS

CHECKPOINTS, SETTINGS, CAPTURE, STAGES = "checkpoints", "config.yaml", "capture", "stages"
OF_A_RUN = (CHECKPOINTS, SETTINGS, CAPTURE, CAPTURE_FILE, CLAIM_FILE, LOCK_FILE, "eval", "previews", "tensorboard")
"""What the program writes into a run and reads again, besides logs; anything else in it is the user's."""
DEEPEST = 2
"""Folders above a path that are looked at: RUN/eval/val is deep enough."""
MOST_SHOWN = 6
PICTURES = (".png", ".jpg", ".jpeg", ".heic", ".heif", ".webp", ".bmp", ".tif", ".tiff")
VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".gif", ".3gp", ".wmv", ".flv", ".ts")
"""Endings of the usual files of each kind."""


def is_capture(path: Path) -> bool:
    return (path / TRANSFORMS).is_file()


def is_run(path: Path) -> bool:
    """Whether a training has left something here, whole or not."""
    return (path / CAPTURE_FILE).is_file() or ((path / CHECKPOINTS).is_dir() and (path / SETTINGS).is_file())


def find_capture(path: Path) -> Path | None:
    """The capture that a path means: itself, the one it lies in, or that of the run it is or lies in.

    Raises RunError where the run's note of its capture is damaged.
    """
    path = Path(path)
    own = _at_or_above(path, is_capture)
    if own is not None:
        return own
    if is_capture(path / CAPTURE):
        return path / CAPTURE
    run = _at_or_above(path, is_run)
    if run is None:
        return None
    if is_capture(run / CAPTURE):
        return run / CAPTURE
    if (run / CAPTURE_FILE).is_file():
        noted = run / read_capture_reference(run)["folder"]
        return noted if is_capture(noted) else None
    return None


def find_run(path: Path) -> Path | None:
    """The run that a path means: itself or the one it lies in."""
    return _at_or_above(Path(path), is_run)


def run_at(path: Path) -> Path:
    """The run that a path means. Raises RunError where there is none, naming what is there."""
    path = Path(path)
    run = find_run(path)
    if run is not None:
        return run
    fix = "make one: avatar create VIDEO --out RUN"
    if is_capture(path):
        fix = f"this is a capture; train an avatar on it first: avatar train {path} --out RUN"
    elif is_capture(path / CAPTURE):
        fix = "its training has not begun; give the same avatar create command again"
    elif inside := _children(path, is_run):
        fix = f"give one of these: {', '.join(inside)}"
    raise RunError(
        "this is not a run folder with a trained avatar",
        where=path,
        expected=f"a folder with {CHECKPOINTS}/",
        found=_found(path),
        fix=fix,
    )


def capture_at(path: Path) -> Path:
    """The capture that a path means. Raises CaptureError where there is none, naming what is there."""
    path = Path(path)
    capture = find_capture(path)
    if capture is not None:
        return capture
    fix = "make one: avatar capture VIDEO --out CAPTURE"
    if path.is_file():
        fix = f"make one of it, if it is a video: avatar capture {path} --out CAPTURE"
    elif (path / STAGES).is_dir():
        fix = "it is not finished: give the command that began it again, and it goes on where it stopped"
    elif inside := _children(path, lambda child: is_capture(child) or is_capture(child / CAPTURE)):
        fix = f"give one of these: {', '.join(inside)}"
    raise CaptureError(
        "this is not a capture folder", where=path, expected=f"a folder with {TRANSFORMS}", found=_found(path), fix=fix
    )


def refuse_other_sources(path: Path) -> None:
    """Raise InputError where a folder or a picture is given in place of the video that an avatar is made from."""
    path = Path(path)
    if path.suffix.lower() in PICTURES and path.is_file():
        raise InputError(
            "this is a picture, not a video",
            where=path,
            expected="a video of one person",
            fix=f"a head can be fitted to one picture, without an avatar: avatar capture --image {path} --out CAPTURE",
        )
    if not path.is_dir():
        return
    videos = [str(entry) for entry in sorted(path.iterdir()) if entry.suffix.lower() in VIDEOS][:MOST_SHOWN]
    if (capture := find_capture(path)) is not None:
        fix = f"it is a capture, or lies in one; train an avatar on that: avatar train {capture} --out RUN"
    elif videos:
        fix = f"give one of these: {', '.join(videos)}"
    else:
        fix = "give a video file; of single pictures make a video first"
    raise InputError("this is a folder, not a video", where=path, expected="a video file", found=_found(path), fix=fix)


def refuse_own_places(out: Path) -> None:
    """Raise OutputError where a video or picture would be written into a capture, or among a run's own files."""
    out = Path(out)
    place = out.absolute().parent.resolve()
    for folder in (place, *place.parents):
        inside = (place / out.name).relative_to(folder).parts[0]
        if is_capture(folder) or _claimed_as(folder, "capture"):
            what, found = "the output file would lie in a capture", f"the capture {folder}"
        elif inside in OF_A_RUN and (is_run(folder) or _claimed_as(folder, "run")):
            what, found = "the output file would lie among a run's own files", f"{inside} of the run {folder}"
        else:
            continue
        raise OutputError(
            what, where=out, expected="a place of its own", found=found, fix="choose another --out, such as out.mp4"
        )


def _claimed_as(folder: Path, kind: str) -> bool:
    """Whether a command for a `kind` of folder began to write here."""
    try:
        claim = read_json(folder / CLAIM_FILE)
    except AvatarError:  # none, or one that says nothing any more
        return False
    return isinstance(claim, dict) and claim.get("kind") == kind


def _at_or_above(path: Path, fits: Callable[[Path], bool]) -> Path | None:
    """The path itself or the nearest folder above it that fits; None for a path that does not exist."""
    if not path.exists():
        return None
    above = list(Path(os.path.abspath(path)).parents)[:DEEPEST]
    return next((candidate for candidate in (path, *above) if fits(candidate)), None)


def _children(path: Path, fits: Callable[[Path], bool]) -> list[str]:
    if not path.is_dir():
        return []
    return [str(child) for child in sorted(path.iterdir()) if child.is_dir() and fits(child)][:MOST_SHOWN]


def _found(path: Path) -> str:
    if not path.exists():
        return "nothing"
    if not path.is_dir():
        return "a file"
    return ", ".join(sorted(entry.name for entry in path.iterdir())[:MOST_SHOWN]) or "an empty folder"
