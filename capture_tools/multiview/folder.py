"""Reconstructions as folders: photographs in, reconstruction.npz, a glb, overlay.png and report.json out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.errors import InputError
from avatar.base.files import sha256_of_file, withdraw_claim, write_bytes, write_json, write_npz
from avatar.base.folder_lock import claimed_folder
from avatar.flame.assets import HeadAsset
from avatar.flame.library import open_head_model
from avatar.media.images import write_png
from avatar.media.video import turned
from capture_tools.detect.tflite_models import require_networks
from capture_tools.detect.turning import upright_rotation
from capture_tools.embed.embedding import ready_head
from capture_tools.multiview.reconstructing import Reconstruction, reconstruct, yaws
from capture_tools.multiview.settings import ReconstructSettings
from capture_tools.photo import Photograph, find_face, read_photograph
from capture_tools.report.overlay import draw_landmarks
from capture_tools.report.painting import MeshPainter, crop_camera
from capture_tools.scan.output import ARRAYS, mesh_glb

RECONSTRUCTION, REPORT, OVERLAY, MESH = "reconstruction.npz", "report.json", "overlay.png", "reconstruction.glb"
FEWEST, MOST = 2, 8
"""Photographs of a head."""
OTHER_PERSON = 0.6
"""Identity distance from which on two photographs show different people (avatar.training.recognition)."""
PANEL = 320
"""Pixels of a panel of the overlay."""

Describe = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""uint8 `[H, W, 3]` and its landmarks `[478, 2]` -> `[128]`, as avatar.training.recognition gives it."""


def reconstruct_files(
    paths: Sequence[Path], out: Path, settings: ReconstructSettings | None = None, describe: Describe | None = None
) -> Path:
    """Make one head of photographs of one person and write it to the folder `out`, which is returned.

    describe: tells people apart; without it nobody checks that all photographs show the same person. A folder that the
    same command has finished before is left as it is. Raises InputError for photographs that cannot be used,
    HeadModelError for an unknown head, OutputError where `out` holds something else or is being written,
    MissingDependencyError where a network is not installed.
    """
    settings = settings or ReconstructSettings()
    paths, out = [Path(path) for path in paths], Path(out)
    if not FEWEST <= len(paths) <= MOST:
        raise InputError(
            "a head needs several photographs",
            expected=f"{FEWEST} to {MOST} photographs",
            found=len(paths),
            fix="one alone is fitted by: avatar capture --image PHOTO --out CAPTURE" if len(paths) == 1 else None,
        )
    asset = open_head_model(settings.head_model)
    require_networks()
    photographs, landmarks, warnings = read_views(paths)
    if describe is None:
        warnings.append("the face-recognition network is not installed: nothing checked that this is one person")
    else:
        require_one_person(describe, paths, photographs, landmarks)
    identity: dict[str, Any] = {
        "photographs": [sha256_of_file(path)[:16] for path in paths],
        "head_model": asset.fingerprint[:12],
    }
    identity |= {} if settings.refine else {"refine": False}
    with claimed_folder(out, "reconstruction", identity):
        if (out / REPORT).is_file():  # written last
            return out
        try:
            ready = ready_head(asset)
            made = reconstruct(photographs, landmarks, ready, settings)
        except InputError:
            withdraw_claim(out)
            raise
        _write(out, paths, made, ready, warnings)
    return out


def read_views(paths: Sequence[Path]) -> tuple[list[Photograph], list[np.ndarray], list[str]]:
    """Photographs set upright, the landmarks `[478, 2]` of the largest face in each, and warnings."""
    photographs, landmarks, warnings = [], [], []
    for path in paths:
        photograph = read_photograph(path)
        degrees = upright_rotation([photograph.image])
        photograph = replace(photograph, image=turned(photograph.image, degrees))
        points, said = find_face(photograph, path)
        photographs.append(photograph)
        landmarks.append(points)
        warnings += [f"{path.name}: {text}" for text in said]
    return photographs, landmarks, warnings


def require_one_person(
    describe: Describe, paths: Sequence[Path], photographs: list[Photograph], landmarks: list[np.ndarray]
) -> None:
    """Raise InputError where a photograph is farther than OTHER_PERSON from every other one."""
    people = [describe(photo.image, points) for photo, points in zip(photographs, landmarks, strict=True)]
    distance = np.full((len(people), len(people)), np.inf)
    for a, b in itertools.permutations(range(len(people)), 2):
        distance[a, b] = np.linalg.norm(people[a] - people[b])
    nearest = distance.min(1)
    stranger = int(nearest.argmax())
    if nearest[stranger] > OTHER_PERSON:
        raise InputError(
            "the photographs show different people",
            where=paths[stranger],
            expected=f"an identity distance below {OTHER_PERSON:g} to another photograph",
            found=f"{nearest[stranger]:.2f} to the nearest",
            fix="leave this photograph out",
        )


def _write(out: Path, paths: Sequence[Path], made: Reconstruction, asset: HeadAsset, warnings: list[str]) -> None:
    params = made.track.params
    arrays = {name: getattr(params, name).numpy().astype(np.float32) for name in ARRAYS}
    arrays |= {name: arrays[name][0] for name in ("expr", "jaw")}
    assert params.static_offset is not None
    arrays |= {
        "vertices": made.vertices.astype(np.float32),
        "static_offset": params.static_offset.numpy(),
        "world_from_camera": made.track.camera.world_from_cam,
        "focal": made.track.camera.fl_x / made.frame.scales,
        "head_fingerprint": np.array(asset.fingerprint),
    }
    write_npz(out / RECONSTRUCTION, arrays)
    write_bytes(out / MESH, mesh_glb(made.vertices, asset.faces))
    write_png(out / OVERLAY, overlay(made, asset))
    write_json(out / REPORT, report_of(made, asset, paths, warnings))


def overlay(made: Reconstruction, asset: HeadAsset) -> np.ndarray:
    """Photographs in a row, with landmarks and with the head, uint8 `[H, W, 3]`."""
    import cv2

    painter, camera = MeshPainter(asset), crop_camera(made.track.camera, made.crop)
    columns = []
    for i, image in enumerate(made.images):
        detected, fitted = (made.crop.to_crop(points[i]) for points in (made.landmarks, made.track.projected))
        panels = [draw_landmarks(image, detected, fitted), painter.draw(image, made.track.params.frame(i), camera)]
        panels = [cv2.resize(panel, (PANEL, PANEL), interpolation=cv2.INTER_AREA) for panel in panels]
        columns.append(np.concatenate(panels))
    return np.concatenate(columns, 1)


def report_of(made: Reconstruction, asset: HeadAsset, paths: Sequence[Path], warnings: list[str]) -> dict[str, Any]:
    """The content of report.json."""
    seen = made.seen[:, asset.region("face")].any(0).mean()
    return {
        "photographs": [
            {
                "name": path.name,
                "yaw_degrees": round(float(np.rad2deg(yaw)), 1),
                "landmark_error_iod": round(float(error), 4),
                "focal_px": round(float(made.track.camera.fl_x / scale), 1),
            }
            for path, yaw, error, scale in zip(
                paths, yaws(made.track), made.track.errors_iod, made.frame.scales, strict=True
            )
        ],
        "head_model": {"name": asset.name, "fingerprint": asset.fingerprint},
        "focal_source": "the photographs' Exif" if made.frame.known else "estimated from the landmarks, with a prior",
        "dense_landmarks": made.dense,
        "face_seen": round(float(seen), 3),
        "warnings": warnings,
    }
