"""Binary PLY of a coloured surface: a triangle mesh, or its points alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.base.files import write_bytes
from avatar.base.provenance import MEANING, provenance

if TYPE_CHECKING:
    from avatar.export.surface import Surface

PROPERTIES = (("x y z nx ny nz", "float", "<f4"), ("red green blue", "uchar", "u1"))


def write_ply(path: Path, surface: Surface, *, points: bool = False) -> Path:
    """Write vertices with normals and colours, and the faces unless only `points` are wanted; little-endian.

    Raises OutputError where the file cannot be written.
    """
    fields = [(name, kind) for names, _, kind in PROPERTIES for name in names.split()]
    rows = np.zeros(len(surface.vertices), dtype=fields)
    columns = np.concatenate([surface.vertices, surface.normals], 1).T
    for name, values in zip(rows.dtype.names or (), (*columns, *surface.colours.T), strict=True):
        rows[name] = values
    made = provenance()
    header = ["ply", "format binary_little_endian 1.0", f"comment {MEANING}"]
    header += [f"comment program {made['program']} {made['version']}", f"comment date {made['date']}"]
    header += ["comment metres, y up, the face towards +z", f"element vertex {len(rows)}"]
    header += [f"property {kind} {name}" for names, kind, _ in PROPERTIES for name in names.split()]
    data = rows.tobytes()
    if not points:
        faces = np.zeros(len(surface.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
        faces["count"], faces["corners"] = 3, surface.faces
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        data += faces.tobytes()
    return write_bytes(path, "\n".join([*header, "end_header", ""]).encode() + data)
