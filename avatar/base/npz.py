"""Reading .npz archives that may come from anywhere: plain arrays only, and none larger than its bytes in the file."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np

LARGEST_BYTES = 2**31
"""Bytes of all arrays that are asked for together, unpacked."""
ENDING = ".npy"


def read_npz(
    file: Path | BinaryIO, keys: Collection[str] | None = None, *, largest: int = LARGEST_BYTES
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; of `keys` those that are there, or all. Nothing is unpickled.

    What an array's header declares is compared with its bytes first, so that no file can ask for more memory than
    `largest` bytes. Raises ValueError for a file that is no such archive, is damaged or too large, OSError where it
    cannot be opened.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = {i.filename.removesuffix(ENDING): i for i in archive.infolist() if i.filename.endswith(ENDING)}
            wanted = {name: info for name, info in members.items() if keys is None or name in keys}
            total = sum(info.file_size for info in wanted.values())
            if total > largest:
                raise ValueError(f"its arrays take {total:,} bytes, more than {largest:,}")
            return {name: _read_array(archive, info) for name, info in wanted.items()}
    except (OSError, MemoryError):
        raise
    except Exception as cause:  # zipfile, zlib and numpy raise many types for damaged archives
        raise ValueError(str(cause) or type(cause).__name__) from cause


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as stream:
        first = np.lib.format.read_magic(stream) == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > info.file_size:
        raise ValueError(f"{info.filename} declares the shape {shape} and has {info.file_size:,} bytes")
    with archive.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
