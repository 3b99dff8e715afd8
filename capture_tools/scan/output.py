"""The files of a registration: registration.npz, report.json, pictures and a glb."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.errors import InputError
from avatar.base.files import read_json, write_bytes, write_json, write_npz
from avatar.base.provenance import provenance
from avatar.flame.assets import HeadAsset
from avatar.media.images import write_png
from capture_tools.scan.pictures import heat_map, overlay
from capture_tools.scan.registering import Registration
from capture_tools.scan.scan import scale_of

REGISTRATION, REPORT, HEAT_MAP, OVERLAY, MESH = (
    "registration.npz",
    "report.json",
    "heatmap.png",
    "overlay.png",
    "registration.glb",
)
ARRAYS = ("shape", "expr", "rotation", "translation", "neck", "jaw", "eyes")


@dataclass(frozen=True)
class ScanFiles:
    """Where a scan is, and where its registration goes."""

    scan: Path
    folder: Path
    """Of the registration."""
    landmarks: Path | None = None
    """The file of its landmarks. They are found on the scan by default."""


def write_registration(
    out: Path, path: Path, made: Registration, asset: HeadAsset, sequence: dict[str, Any] | None = None
) -> None:
    """Write all files of the registration of the scan `path` to the folder `out`; the report last.

    sequence: what the report says of the scan's place among others of the person. Raises OutputError.
    """
    arrays = {name: getattr(made.params, name).numpy().astype(np.float32) for name in ARRAYS}
    arrays = {name: value if name == "shape" else value[0] for name, value in arrays.items()}
    arrays |= {
        "vertices": made.vertices.astype(np.float32),
        "scan_to_model": made.scan_to_model,
        "head_fingerprint": np.array(asset.fingerprint),
    }
    write_npz(out / REGISTRATION, arrays)
    write_png(out / HEAT_MAP, heat_map(made, asset))
    write_png(out / OVERLAY, overlay(made, asset))
    write_bytes(out / MESH, mesh_glb(made.vertices, asset.faces))
    report = report_of(made, asset, path.name)
    write_json(out / REPORT, report if sequence is None else report | {"sequence": sequence})


def report_of(made: Registration, asset: HeadAsset, name: str) -> dict[str, Any]:
    """The content of report.json."""
    return {
        "scan": name,
        "head_model": {"name": asset.name, "fingerprint": asset.fingerprint},
        "stages": list(made.stages),
        "scan_to_mesh_mm": {stage: distances.summary() for stage, distances in made.distances.items()},
        "flipped_triangles": made.flipped,
        "crossing_triangles": made.crossing,
        "metres_per_scan_unit": scale_of(made.scan_to_model),
        "texture": made.texture,
        "warnings": made.warnings,
    }


def mesh_glb(vertices: np.ndarray, faces: np.ndarray) -> bytes:
    """A glb file of a mesh of vertices `[V, 3]` (metres) and faces `[F, 3]`, marked as synthetic."""
    import trimesh
    from trimesh.exchange.gltf import export_glb

    mesh = trimesh.Trimesh(vertices, faces, process=False)

    def said(tree: dict[str, Any]) -> None:
        tree["asset"]["extras"] = provenance()

    data = export_glb(trimesh.Scene(mesh), tree_postprocessor=said)
    assert isinstance(data, bytes)
    return data


def figures(folder: Path) -> dict[str, Any]:
    """What report.json of a registration says."""
    return read_json(folder / REPORT, InputError)
