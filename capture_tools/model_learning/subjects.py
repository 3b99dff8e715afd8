"""Who is who among registrations, and which of a person's is the neutral one, from names or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar.base.errors import InputError
from avatar.base.files import read_json

NEUTRAL = "neutral"
SHOWN = 5
"""Names in a message."""


@dataclass(frozen=True)
class Person:
    """One person's registrations."""

    name: str
    folders: tuple[Path, ...]
    neutral: Path | None
    """None where no name tells it."""


def people_from_names(folders: Sequence[Path]) -> list[Person]:
    """People of folders SUBJECT/FRAME; or SUBJECT_FRAME where all of them stand in one folder.

    SUBJECT is what stands before `_neutral` in one of the names, else what stands before the last underscore. The
    neutral frame is called `neutral`, or its name begins or ends so.
    """
    places = [folder.absolute() for folder in folders]
    flat = len({place.parent for place in places}) == 1
    heads = {p.name[: -len(NEUTRAL) - 1] for p in places if p.name.lower().endswith("_" + NEUTRAL)} - {""}
    groups: dict[str, list[tuple[str, Path]]] = {}
    for folder, place in zip(folders, places, strict=True):
        subject, frame = _split(place.name, heads) if flat else (place.parent.name, place.name)
        groups.setdefault(subject, []).append((frame, folder))
    people = []
    for subject, frames in sorted(groups.items()):
        frames.sort()
        named = [f for frame, f in frames if frame.lower().startswith(NEUTRAL) or frame.lower().endswith(NEUTRAL)]
        people.append(Person(subject, tuple(f for _, f in frames), named[0] if named else None))
    return people


def _split(name: str, heads: set[str]) -> tuple[str, str]:
    """Subject and frame of a folder's name."""
    fitting = [head for head in heads if name.startswith(head + "_")]
    subject = max(fitting, key=len) if fitting else name.rpartition("_")[0]
    return (subject, name[len(subject) + 1 :]) if subject else (name, "")


def people_from_file(path: Path, folders: Sequence[Path]) -> list[Person]:
    """People as a JSON file tells them: {"anna": ["rest", "smile"], ...}, the neutral folder first.

    A folder is known by the end of its path, `rest` or `anna/rest`. Those that are not named are left out. Raises
    InputError for a file of another form, and for a folder that is not there, ambiguous, or given twice.
    """
    content = read_json(path, InputError)
    form = '{"anna": ["rest", "smile", ...], "ben": [...]}: folders of each person, the neutral one first'
    right = isinstance(content, dict) and all(
        isinstance(names, list) and names and all(isinstance(n, str) and n for n in names) for names in content.values()
    )
    if not right or not content:
        raise InputError("the file of subjects has another form", where=path, expected=form)
    taken: dict[Path, str] = {}
    people = []
    for subject, names in content.items():
        mine = []
        for name in names:
            folder = _find(name, folders, path)
            if folder in taken:
                raise InputError(
                    "a registration is given to two people, or twice to one",
                    where=path,
                    found=f"{name} of {subject}, and of {taken[folder]}",
                    fix="name each folder once, with its parent where names repeat: anna/rest",
                )
            taken[folder] = subject
            mine.append(folder)
        people.append(Person(subject, tuple(mine), mine[0]))
    return people


def _find(name: str, folders: Sequence[Path], where: Path) -> Path:
    wanted = Path(name).parts
    found = [folder for folder in folders if folder.absolute().parts[-len(wanted) :] == wanted]
    if len(found) == 1:
        return found[0]
    known = ", ".join(folder.name for folder in folders[:SHOWN])
    raise InputError(
        "the file of subjects names a registration that is not there"
        if not found
        else "the file of subjects names a registration that there are several of",
        where=where,
        expected=f"the end of one folder's path, such as {known}",
        found=name if not found else f"{name}: {', '.join(str(f) for f in found[:SHOWN])}",
        fix="correct the name, or add the folder to the command" if not found else "name its parent too: anna/rest",
    )
