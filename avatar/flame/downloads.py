"""Downloads of FLAME: the model is taken out of a zip archive; web pages, other archives and empty files are refused,
told apart by their first bytes."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from avatar.base.errors import HeadModelError

LARGEST_MODEL = 2**30
"""Bytes of a model file, unpacked: FLAME with all its bases takes 60 MB."""
SITE = "https://flame.is.tue.mpg.de"
PREFERRED = ("generic_model.pkl", "flame2023.pkl", "flame2023_open.pkl")
"""Of several models in one archive, the one most people want: both sexes together, the jaw with its joint."""
ZIP = b"PK"
ARCHIVES = {b"\x1f\x8b": "gzip", b"7z\xbc\xaf": "7z", b"Rar!": "rar", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
TAR_MARK = slice(257, 262)
MOST_SHOWN = 8


def model_content(path: Path) -> io.BytesIO:
    """The bytes of a model file: the file itself (a pickle or an .npz), or the model inside a zip archive.

    Nothing is unpacked to disk. Raises HeadModelError for an archive of another kind or without one model that is
    meant, a web page, an empty file, and one that is too large.
    """
    try:
        _require_size(path.stat().st_size, path)
        content = io.BytesIO(path.read_bytes())
    except OSError as cause:
        raise HeadModelError("the head model's file cannot be read", where=path, found=cause.strerror) from cause
    refuse_foreign(content.getvalue()[:512], path)
    if not is_zip(content):
        return content
    try:
        with zipfile.ZipFile(content) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            if names and all(name.endswith(".npy") for name in names):
                content.seek(0)
                return content
            info = archive.getinfo(choose_model(names, path))
            _require_size(info.file_size, path, info.filename)
            return io.BytesIO(archive.read(info))
    except (RuntimeError, NotImplementedError) as cause:  # a password, or a way of packing that Python does not know
        raise HeadModelError(
            "the archive cannot be unpacked here", where=path, found=cause, fix="unpack it and give the .pkl inside"
        ) from cause
    except (zipfile.BadZipFile, zlib.error, EOFError) as cause:
        raise HeadModelError(
            "the archive is damaged", where=path, found=cause, fix=f"download it again from {SITE}"
        ) from cause


def is_zip(file: BinaryIO) -> bool:
    """Whether an open file is a zip archive, as an .npz is too; reads from its beginning and goes back there."""
    start = file.read(len(ZIP))
    file.seek(0)
    return start == ZIP


def refuse_foreign(start: bytes, path: Path) -> None:
    """Raise HeadModelError where a file that begins with `start` is something that people take for a model file."""
    if not start:
        raise HeadModelError(
            "the head model's file is empty", where=path, fix=f"download it again from {SITE}; it did not arrive"
        )
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:5].lower() in (b"<!doc", b"<html", b"<?xml", b"<head"):
        raise HeadModelError(
            "the file is a web page, not a head model",
            where=path,
            expected="a FLAME .pkl, or the .zip it comes in",
            fix=f"log in at {SITE} in a browser and download the file there",
        )
    kind = next((kind for mark, kind in ARCHIVES.items() if start.startswith(mark)), None)
    kind = "tar" if start[TAR_MARK] == b"ustar" else kind
    if kind is not None:
        raise HeadModelError(
            f"the file is an archive ({kind})",
            where=path,
            expected="a FLAME .pkl, or the .zip it comes in",
            fix="unpack it and give the .pkl that is inside",
        )


def choose_model(names: list[str], path: Path) -> str:
    """The model among the files of an archive. Raises HeadModelError where there is none, or it is not clear which."""
    files = [PurePosixPath(name) for name in names]
    models = [
        file
        for file in files
        if file.suffix.lower() in (".pkl", ".npz") and not any(part.startswith(("__", ".")) for part in file.parts)
    ]
    preferred = [file for file in models if file.name.lower() in PREFERRED]
    for chosen in (models, preferred):
        if len(chosen) == 1:
            return names[files.index(chosen[0])]
    shown = [str(file) for file in models or files]
    raise HeadModelError(
        "the archive holds several models" if models else "the archive holds no FLAME model",
        where=path,
        expected="one .pkl file, or " + " or ".join(PREFERRED),
        found=", ".join(shown[:MOST_SHOWN]) + (", ..." if len(shown) > MOST_SHOWN else "") or "nothing",
        fix="unpack it and give the file you want" if models else f"download the model itself from {SITE}",
    )


def _require_size(size: int, path: Path, name: str = "") -> None:
    if size > LARGEST_MODEL:
        raise HeadModelError(
            "the head model's file is too large",
            where=path,
            expected=f"at most {LARGEST_MODEL:,} bytes",
            found=f"{name} {size:,}".strip(),
        )
