"""Reading of untrusted .npz archives: plain arrays only, none larger than its declared bytes."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np

LARGEST_BYTES = 2**31
"""Most bytes, unpacked, of all arrays requested together."""
ENDING = ".npy"


def read_npz(
    file: Path | BinaryIO, keys: Collection[str] | None = None, *, largest: int = LARGEST_BYTES
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; of `keys` those that are there, or all. Nothing is unpickled.

    An array's declared shape is compared with its bytes first, so a header cannot allocate more than the member holds;
    all members together hold at most `largest` bytes. Raises ValueError for a file that is not such an archive, is
    damaged or too large, OSError where it cannot be opened.
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
