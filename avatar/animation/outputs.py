"""What an output path of reanimate and render means: a video, one picture, or a numbered sequence of pictures."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar.base.errors import ConfigError, InputError, OutputError
from avatar.base.files import refuse_existing_file, refuse_inputs
from avatar.data.folders import refuse_own_places
from avatar.media.video import FORMS

VIDEO_ENDINGS = tuple(FORMS)
PICTURE = ".png"
DIGITS = 5
"""Of a frame's number in a folder of pictures."""
PATTERN = re.compile(r"(?P<before>[^%]*)%(?:0(?P<digits>[1-9]))?d(?P<after>[^%]*)\.png", re.IGNORECASE)
SEQUENCES = "a folder or a pattern such as frames/me_%04d.png for a sequence of pictures"
LAYERS = ("depth", "alpha")


@dataclass(frozen=True)
class PictureSequence:
    """Numbered PNG files, the first with number 0."""

    folder: Path
    before: str = ""
    digits: int = DIGITS
    after: str = ""

    def file(self, index: int) -> Path:
        return self.folder / f"{self.before}{index:0{self.digits}d}{self.after}{PICTURE}"

    @property
    def pattern(self) -> Path:
        """The folder, or the files' pattern in it."""
        own = self.before or self.after or self.digits != DIGITS
        return self.folder / f"{self.before}%0{self.digits}d{self.after}{PICTURE}" if own else self.folder

    def existing(self) -> list[Path]:
        """The files of the sequence that are there, whoever wrote them."""
        if not self.folder.is_dir():
            return []
        name = re.compile(rf"{re.escape(self.before)}\d{{{self.digits},}}{re.escape(self.after)}\{PICTURE}")
        return sorted(entry for entry in self.folder.iterdir() if name.fullmatch(entry.name))


@dataclass(frozen=True)
class Target:
    """Where frames go."""

    path: Path
    """As it was given."""
    sequence: PictureSequence | None
    """None for a video or one picture."""

    @property
    def video(self) -> bool:
        return self.sequence is None and self.path.suffix.lower() in VIDEO_ENDINGS

    @property
    def still(self) -> bool:
        return self.sequence is None and not self.video

    @property
    def holds_alpha(self) -> bool:
        return not self.video or FORMS[self.path.suffix.lower()].alpha

    def layer(self, name: str) -> PictureSequence:
        """Where a layer's pictures go: a folder beside the video or the folder of pictures, a pattern beside a pattern.

        That of one picture has one file, `layer_of_still`.
        """
        if self.sequence is None or self.sequence.folder == self.path:
            stem = self.path.name if self.sequence is not None else self.path.stem
            return PictureSequence(self.path.with_name(f"{stem}_{name}"))
        return PictureSequence(
            self.sequence.folder, self.sequence.before, self.sequence.digits, f"{self.sequence.after}_{name}"
        )

    def layer_of_still(self, name: str) -> Path:
        return self.path.with_name(f"{self.path.stem}_{name}{PICTURE}")


def target_of(out: Path, *, still: bool = False) -> Target:
    """The output that a path means: by its ending a video or, with `still`, one picture; a pattern with %05d, or a
    folder (no ending, or one that exists), a sequence of pictures.

    Raises InputError for anything else.
    """
    out = Path(out)
    pattern = PATTERN.fullmatch(out.name)
    if pattern is not None:
        place = PictureSequence(out.parent, pattern["before"], int(pattern["digits"] or 1), pattern["after"])
        return Target(out, place)
    endings = (*VIDEO_ENDINGS, *([PICTURE] if still else []))
    ending = out.suffix.lower()
    if ending in endings:
        return Target(out, None)
    if out.name and (not ending or (out.is_dir() and ending != PICTURE)):
        return Target(out, PictureSequence(out))
    first = out.with_suffix(endings[0]) if out.name else "out.mp4"
    many = f", or --out {out.with_name(f'{out.stem}_%04d.png')}" if ending == PICTURE else ""
    raise InputError(
        "the output file has an ending that cannot be written",
        where=out,
        expected=f"{' or '.join(endings)}, or {SEQUENCES}",
        fix=f"give it one of these: --out {first}{many}",
    )


def parse_layers(text: str) -> tuple[str, ...]:
    """`"depth,alpha"` as names of LAYERS. Raises ConfigError for an unknown one."""
    names = tuple(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    for name in names:
        if name not in LAYERS:
            close = difflib.get_close_matches(name.lower(), LAYERS, n=1)
            hint = f"did you mean {close[0]}?" if close else None
            raise ConfigError("--layers is unknown", expected="depth, alpha or depth,alpha", found=name, fix=hint)
    return names


def require_writable(
    target: Target, layers: Sequence[str], overwrite: bool, inputs: Sequence[Path] = (), *, unfinished: bool = False
) -> None:
    """Raise OutputError, before any work, where the output or a layer of it is one of the `inputs`, belongs to a
    capture or a run, or exists and `overwrite` is False.

    unfinished: pictures that are there may be an interrupted command's, which goes on.
    """
    for name in () if target.still else layers:
        _require_sequence(target.layer(name), overwrite or unfinished, inputs)
    if target.still:
        for name in layers:
            _require_file(target.layer_of_still(name), overwrite, inputs)
    if target.sequence is not None:
        _require_sequence(target.sequence, overwrite or unfinished, inputs)
    else:
        _require_file(target.path, overwrite, inputs)


def _require_file(path: Path, overwrite: bool, inputs: Sequence[Path]) -> None:
    refuse_inputs(path, *inputs)
    refuse_own_places(path)
    refuse_existing_file(path, overwrite)


def _require_sequence(place: PictureSequence, overwrite: bool, inputs: Sequence[Path]) -> None:
    if place.folder.exists() and not place.folder.is_dir():
        raise OutputError("the output folder is a file", where=place.folder, fix="choose another --out")
    refuse_own_places(place.file(0))
    existing = place.existing()
    for path in existing:
        refuse_inputs(path, *inputs)
    if existing and not overwrite:
        raise OutputError(
            "the pictures exist already",
            where=place.folder,
            found=f"{existing[0].name} and {len(existing) - 1} more",
            fix="choose another --out, or add --overwrite",
        )
