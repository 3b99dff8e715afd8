"""A small writer of glTF 2.0 binary files: accessors over one buffer, and the container of JSON and bytes."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

COMPONENTS = {"float32": 5126, "uint8": 5121, "uint16": 5123, "uint32": 5125}
KINDS = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
VERTICES, INDICES = 34962, 34963
"""Targets of buffer views: attributes of vertices, indices of triangles."""
MAGIC, VERSION, JSON_CHUNK, BINARY_CHUNK = b"glTF", 2, b"JSON", b"BIN\0"


class Buffer:
    """The bytes of a file with its `bufferViews` and `accessors`, each view aligned to four bytes."""

    def __init__(self) -> None:
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.data = bytearray()

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes; returns the index of their view."""
        self.data += b"\0" * (-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.views.append(view if target is None else view | {"target": target})
        self.data += data
        return len(self.views) - 1

    def accessor(self, array: np.ndarray, target: int | None = None, *, bounds: bool = False) -> int:
        """Append an array `[N, ...]` (matrices row by row: they are stored column by column); returns its accessor.

        bounds: state the least and largest value of each component, as positions and times need it.
        """
        matrix = array.ndim == 3
        stored = np.ascontiguousarray(array.transpose(0, 2, 1) if matrix else array)
        accessor: dict[str, Any] = {
            "bufferView": self.view(stored.tobytes(), target),
            "componentType": COMPONENTS[stored.dtype.name],
            "count": len(stored),
            "type": KINDS[stored.shape[1:]],
        }
        if bounds:
            flat = stored.reshape(len(stored), -1)
            accessor |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def glb(document: dict[str, Any], buffer: Buffer) -> bytes:
    """The file of a document without `buffers`, `bufferViews` and `accessors`, which come from `buffer`."""
    binary = bytes(buffer.data) + b"\0" * (-len(buffer.data) % 4)
    parts = {"buffers": [{"byteLength": len(buffer.data)}], "bufferViews": buffer.views, "accessors": buffer.accessors}
    text = json.dumps(document | parts, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    length = 12 + 8 + len(text) + 8 + len(binary)
    header = MAGIC + struct.pack("<II", VERSION, length)
    chunks = ((JSON_CHUNK, text), (BINARY_CHUNK, binary))
    return header + b"".join(struct.pack("<I", len(data)) + kind + data for kind, data in chunks)
