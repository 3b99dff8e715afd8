"""Registrations as folders: a scan's file in, registration.npz, report.json, pictures and a glb out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.errors import InputError
from avatar.base.files import read_json, sha256_of_file, withdraw_claim, write_bytes, write_json, write_npz
from avatar.base.folder_lock import claimed_folder
from avatar.base.provenance import provenance
from avatar.flame.assets import HeadAsset
from avatar.flame.library import open_head_model
from avatar.media.images import write_png
from capture_tools.embed.embedding import ready_head
from capture_tools.scan.landmarks import read_landmarks
from capture_tools.scan.pictures import heat_map, overlay
from capture_tools.scan.reading import read_scan
from capture_tools.scan.registering import Registration, register_scan
from capture_tools.scan.scan import scale_of
from capture_tools.scan.settings import RegisterSettings

REGISTRATION, REPORT, HEAT_MAP, OVERLAY, MESH = (
    "registration.npz",
    "report.json",
    "heatmap.png",
    "overlay.png",
    "registration.glb",
)
ARRAYS = ("shape", "expr", "rotation", "translation", "neck", "jaw", "eyes")


def register_files(scans: Sequence[Path], out: Path, settings: RegisterSettings | None = None) -> list[Path]:
    """Register scans into `out`, or each of several into a folder of its name there; returns the folders.

    Folders that the same command has finished before are left as they are. Raises InputError for a scan that cannot be
    used, HeadModelError for an unknown head, OutputError where a folder holds something else or is being written.
    """
    settings = (settings or RegisterSettings()).check()
    scans, out = [Path(scan) for scan in scans], Path(out)
    if settings.landmarks is not None and len(scans) != 1:
        raise InputError(
            "--landmarks belongs to one scan",
            expected="one SCAN",
            found=f"{len(scans)} scans",
            fix="register the scans one by one",
        )
    for scan in scans:
        if not scan.is_file():
            raise InputError("the scan does not exist", where=scan, fix="check the path")
    asset = open_head_model(settings.head_model)
    if len(scans) == 1:
        return [_register_file(scans[0], out, asset, settings)]
    with claimed_folder(out, "registrations", {"head_model": asset.fingerprint[:12]}):
        try:
            names = folder_names(scans)
            return [_register_file(s, out / n, asset, settings) for s, n in zip(scans, names, strict=True)]
        except InputError:
            withdraw_claim(out)
            raise


def folder_names(scans: Sequence[Path]) -> list[str]:
    """A name for each scan: its file's own, with its folder's before it, or a number, where that is not enough."""
    names = [scan.stem for scan in scans]
    if len(set(names)) < len(names):
        names = [f"{scan.absolute().parent.name}_{scan.stem}" for scan in scans]
    return [f"{n}_{names[:i].count(n) + 1}" if names.count(n) > 1 else n for i, n in enumerate(names)]


def _register_file(path: Path, out: Path, asset: HeadAsset, settings: RegisterSettings) -> Path:
    identity: dict[str, Any] = {"scan": sha256_of_file(path)[:16], "head_model": asset.fingerprint[:12]}
    if settings.unit != "auto":
        identity["unit"] = settings.unit
    if settings.pupil_distance is not None:
        identity["pupil_distance"] = settings.pupil_distance
    landmarks = None
    if settings.landmarks is not None:
        landmarks = read_landmarks(settings.landmarks)
        identity["landmarks"] = sha256_of_file(settings.landmarks)[:16]
    with claimed_folder(out, "registration", identity):
        if (out / REPORT).is_file():  # written last
            return out
        try:
            scan = read_scan(path)
            ready = ready_head(asset)
            _write(out, path, register_scan(scan, ready, settings, landmarks), ready)
        except InputError:
            withdraw_claim(out)
            raise
    return out


def _write(out: Path, path: Path, made: Registration, asset: HeadAsset) -> None:
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
    write_bytes(out / MESH, _glb(made, asset))
    write_json(out / REPORT, report_of(made, asset, path.name))


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
        "warnings": made.warnings,
    }


def _glb(made: Registration, asset: HeadAsset) -> bytes:
    import trimesh
    from trimesh.exchange.gltf import export_glb

    mesh = trimesh.Trimesh(made.vertices, asset.faces, process=False)

    def said(tree: dict[str, Any]) -> None:
        tree["asset"]["extras"] = provenance()

    data = export_glb(trimesh.Scene(mesh), tree_postprocessor=said)
    assert isinstance(data, bytes)
    return data


def figures(folder: Path) -> dict[str, Any]:
    """What report.json of a registration says."""
    return read_json(folder / REPORT, InputError)
