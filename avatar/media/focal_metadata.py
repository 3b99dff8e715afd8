"""Focal length of the lens from a video file's metadata, as 35 mm equivalent.

Apple's cameras write it beside the video track (AVFoundation, `quickTimeMetadataKeyCameraFocalLength35mmEquivalent`),
where FFmpeg does not look, so the boxes are read here. Android's recorder writes nothing about the lens; programs that
carry tags over use Exif's name.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

KEYS = ("camera.focal_length.35mm_equivalent", "focallengthin35mmfilm", "focallengthin35mmformat")
"""Ends of the names under which files hold it, in lower case: QuickTime's and Exif's two."""
SHORTEST, LONGEST = 5.0, 1000.0
"""Millimetres; anything else is no focal length."""
FILM_DIAGONAL = math.hypot(36.0, 24.0)
"""Millimetres across the frame of 35 mm film, corner to corner."""
LARGEST_METADATA = 1 << 20
"""Bytes; a larger box of metadata is not read."""


def focal_over_longer_side(focal_35mm: float | None, width: int, height: int) -> float | None:
    """A focal length as of 35 mm film in units of the longer side of a picture of `width` x `height` pixels.
    None stays None: the file does not tell.

    The equivalent is defined by the picture's diagonal (CIPA DCG-001: the same angle across as on 36 x 24 mm), so it
    holds for any shape of picture. It is an expectation, not the truth: video uses less of the sensor than photos do
    (stabilising and cropping make the real focal length up to a fifth longer), and files do not say which they mean.
    """
    return focal_35mm and focal_35mm / FILM_DIAGONAL * math.hypot(width, height) / max(width, height)


def read_focal_35mm(path: Path, tags: Mapping[str, str]) -> float | None:
    """Millimetres as of 35 mm film, or None where the file does not say, or says what cannot be.

    `tags`: what the container's reader found in the file. A damaged file gives None, never an error.
    """
    found = [value for key, value in tags.items() if _is_focal(key)]
    try:
        with open(path, "rb") as file:
            found += [value for key, value in _quicktime_metadata(file) if _is_focal(key)]
    except (OSError, struct.error, UnicodeDecodeError):
        pass
    for value in found:
        number = re.match(r"\s*(\d+(?:\.\d+)?)", value)
        if number and SHORTEST <= float(number[1]) <= LONGEST:
            return float(number[1])
    return None


def _is_focal(key: str) -> bool:
    return key.lower().endswith(KEYS)


def _quicktime_metadata(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Keys and values of the `meta` boxes of the movie and of its tracks, as text."""
    size = file.seek(0, 2)
    for kind, begin, end in _boxes(file, 0, size):
        if kind == b"moov":
            for inner, first, last in _boxes(file, begin, end):
                if inner == b"meta":
                    yield from _keys_and_values(file, first, last)
                if inner == b"trak":
                    for part, start, stop in _boxes(file, first, last):
                        if part == b"meta":
                            yield from _keys_and_values(file, start, stop)


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its content begins, where it ends) of the boxes between two places; stops at a damaged one."""
    while begin + 8 <= end:
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = struct.unpack(">Q", file.read(8))[0], 16
        size = size or end - begin  # 0: up to the end
        if size < head or begin + size > end:
            return
        yield kind, begin + head, begin + size
        begin += size


def _keys_and_values(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[str, str]]:
    """QuickTime File Format, "Metadata atoms": a list of keys, and values that name their key's place in it."""
    if end - begin > LARGEST_METADATA:
        return
    file.seek(begin)
    if file.read(8)[4:] != b"hdlr":  # ISO's variant has version and flags first
        begin += 4
    names: list[str] = []
    for kind, first, last in _boxes(file, begin, end):
        if kind == b"keys":
            names = [_read(file, a, b).decode() for _, a, b in _boxes(file, first + 8, last)]
        if kind == b"ilst":
            for item, a, b in _boxes(file, first, last):
                place = int.from_bytes(item, "big")
                if 1 <= place <= len(names):
                    for part, c, d in _boxes(file, a, b):
                        if part == b"data":
                            yield names[place - 1], _as_text(_read(file, c, d))


def _read(file: BinaryIO, begin: int, end: int) -> bytes:
    file.seek(begin)
    return file.read(end - begin)


def _as_text(data: bytes) -> str:
    """A value with its type (1: text, 21 and 22: whole numbers, 23 and 24: floating point) and its locale before it."""
    kind, content = int.from_bytes(data[:4], "big"), data[8:]
    if kind in (21, 22):
        return str(int.from_bytes(content, "big", signed=kind == 21))
    if kind in (23, 24):
        return str(struct.unpack(">f" if kind == 23 else ">d", content)[0])
    return content.decode() if kind == 1 else ""
