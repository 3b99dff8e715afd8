"""Registering the scans again with a better model, between two rounds of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from avatar.base.errors import InputError
from avatar.base.files import CLAIM_FILE, read_json, sha256_of_file
from avatar.base.folder_lock import claimed_folder
from avatar.base.npz import read_npz
from avatar.base.progress import Progress
from avatar.flame.assets import HeadAsset
from avatar.flame.landmarks import surface_points
from capture_tools.model_learning.reading import read_registration
from capture_tools.model_learning.state import Registrations
from capture_tools.scan.landmarks import ScanLandmarks
from capture_tools.scan.output import REGISTRATION, REPORT, write_registration
from capture_tools.scan.person import Hints
from capture_tools.scan.reading import ENDINGS, read_scan
from capture_tools.scan.registering import register_scan
from capture_tools.scan.scan import apply
from capture_tools.scan.settings import RegisterSettings

DIGITS = 16
"""Of a scan's SHA-256 that its registration remembers."""


def find_scans(folders: Sequence[Path], place: Path) -> list[Path]:
    """The scan of each registration, found in `place` by its content. Raises InputError where one is missing."""
    known = {
        sha256_of_file(path)[:DIGITS]: path
        for path in sorted(place.rglob("*"))
        if path.suffix.lower() in ENDINGS and path.is_file()
    }
    found = []
    for folder in folders:
        file = folder / CLAIM_FILE
        claim = read_json(file, InputError) if file.is_file() else None
        identity = claim.get("identity") if isinstance(claim, dict) else None
        scan = identity.get("scan") if isinstance(identity, dict) else None
        if scan not in known:
            raise InputError(
                "the scan of a registration is not there",
                where=place,
                expected=f"the file that {folder} was registered from, unchanged",
                found=f"{len(known)} scans, none with its content",
                fix="correct --scans, or leave out --rounds",
            )
        found.append(known[scan])
    return found


def register_again(
    data: Registrations, folders: Sequence[Path], scans: Sequence[Path], asset: HeadAsset, out: Path
) -> tuple[Registrations, list[Path]]:
    """The same registrations with another head, in folders below `out`; those that are there already are kept.

    Landmarks are taken from the last registrations, so that correspondence is kept and no face is searched. Raises
    InputError for a scan that cannot be used, OutputError where `out` holds something else.
    """
    made = []
    identity = {"head_model": asset.fingerprint[:12]}
    with (
        claimed_folder(out, "registrations", identity),
        Progress("registering again", len(folders), "scan") as bar,
    ):
        for index, (folder, scan) in enumerate(zip(folders, scans, strict=True)):
            target = out / f"{index:04d}_{folder.name}"
            if not (target / REPORT).is_file():  # written last
                landmarks, settings = last_landmarks(folder, asset)
                registered = register_scan(read_scan(scan), asset, settings, Hints(landmarks))
                write_registration(target, scan, registered, asset)
            made.append(target)
            bar.update(index + 1)
    heads = [read_registration(folder, asset) for folder in made]
    again = Registrations(
        data.names,
        torch.tensor(np.stack([head.vertices for head in heads])),
        torch.tensor(np.stack([head.pose for head in heads])),
        data.subjects,
        data.subject_names,
        data.neutral,
    )
    return again, made


def last_landmarks(folder: Path, asset: HeadAsset) -> tuple[ScanLandmarks, RegisterSettings]:
    """iBUG's landmarks of a registration in its scan's frame, and settings that give the scan the same size again."""
    arrays = read_npz(folder / REGISTRATION, ("vertices", "scan_to_model"))
    faces, barycentrics = asset.ibug_faces, asset.ibug_barycentrics
    points = surface_points(arrays["vertices"].astype(np.float64), asset.faces, faces, barycentrics)
    placed = ScanLandmarks("ibug", points, np.tile(np.eye(3), (len(points), 1, 1)))
    apart = 1000 * float(np.linalg.norm(np.subtract(*placed.pupils())))
    to_scan = np.linalg.inv(arrays["scan_to_model"].astype(np.float64))
    landmarks = ScanLandmarks("ibug", apply(to_scan, points), placed.information)
    return landmarks, RegisterSettings(pupil_distance=apart)
