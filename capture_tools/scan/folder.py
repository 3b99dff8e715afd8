"""Registrations as folders: scans' files in, a folder of results out for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avatar.base.errors import InputError
from avatar.base.files import sha256_of_file, withdraw_claim
from avatar.base.folder_lock import claimed_folder
from avatar.flame.assets import HeadAsset
from avatar.flame.library import open_head_model
from capture_tools.embed.embedding import ready_head
from capture_tools.scan.landmarks import LANDMARK_ENDINGS, read_landmarks
from capture_tools.scan.output import REPORT, ScanFiles, write_registration
from capture_tools.scan.person import Hints
from capture_tools.scan.reading import ENDINGS, read_scan
from capture_tools.scan.registering import register_scan
from capture_tools.scan.sequence_folder import register_sequence
from capture_tools.scan.settings import RegisterSettings


def register_files(scans: Sequence[Path], out: Path, settings: RegisterSettings | None = None) -> list[Path]:
    """Register scans into `out`, or each of several into a folder of its name there; returns the folders.

    With `settings.sequence` the scans are of one person.

    Folders that the same command has finished before are left as they are. Raises InputError for a scan that cannot be
    used, HeadModelError for an unknown head, OutputError where a folder holds something else or is being written.
    """
    settings = (settings or RegisterSettings()).check()
    scans, out = [Path(scan) for scan in scans], Path(out)
    for scan in scans:
        if scan.is_dir():
            raise InputError(
                "this is a folder, not a scan",
                where=scan,
                expected=f"files: {', '.join(ENDINGS)}",
                fix=f"name the scans in it: {scan}/*.ply",
            )
        if not scan.is_file():
            raise InputError("the scan does not exist", where=scan, fix="check the path")
    names = folder_names(scans)
    files = landmark_files(names, settings.landmarks)
    asset = open_head_model(settings.head_model)
    if len(scans) == 1 and not settings.sequence:
        return [_register_file(ScanFiles(scans[0], out, files[0]), asset, settings)]
    each = [ScanFiles(scan, out / name, file) for scan, name, file in zip(scans, names, files, strict=True)]
    if settings.sequence:
        return register_sequence(each, out, asset, settings)
    with claimed_folder(out, "registrations", {"head_model": asset.fingerprint[:12]}):
        try:
            return [_register_file(one, asset, settings) for one in each]
        except InputError:
            withdraw_claim(out)
            raise


def folder_names(scans: Sequence[Path]) -> list[str]:
    """A name for each scan: its file's own, with its folder's before it, or a number, where that is not enough."""
    names = [scan.stem for scan in scans]
    if len(set(names)) < len(names):
        names = [f"{scan.absolute().parent.name}_{scan.stem}" for scan in scans]
    return [f"{n}_{names[:i].count(n) + 1}" if names.count(n) > 1 else n for i, n in enumerate(names)]


def landmark_files(names: Sequence[str], given: Path | None) -> list[Path | None]:
    """The file of landmarks of each scan: `given` itself, or that of the scan's name in the folder `given`.

    names: of the scans' registrations, as `folder_names` gives them. Raises InputError for one file with several scans,
    and for a folder that lacks a scan's.
    """
    if given is None:
        return [None] * len(names)
    if not given.is_dir():
        if len(names) == 1:
            return [given]
        raise InputError(
            "a file of landmarks belongs to one scan",
            where=given,
            expected="one SCAN, or a folder with a file for each",
            found=f"{len(names)} scans",
            fix="give --landmarks DIR, or register the scans one by one",
        )
    files: list[Path | None] = []
    for name in names:
        tried = [given / f"{name}{ending}" for ending in LANDMARK_ENDINGS]
        there = [path for path in tried if path.is_file()]
        if len(there) != 1:
            raise InputError(
                "a scan's landmarks are not told by the folder",
                where=given,
                expected=f"one of {', '.join(path.name for path in tried)}",
                found=", ".join(path.name for path in there) or "none of them",
                fix="add or remove files, or leave out --landmarks",
            )
        files.append(there[0])
    return files


def _register_file(files: ScanFiles, asset: HeadAsset, settings: RegisterSettings) -> Path:
    out = files.folder
    identity: dict[str, Any] = {"scan": sha256_of_file(files.scan)[:16], "head_model": asset.fingerprint[:12]}
    if settings.unit != "auto":
        identity["unit"] = settings.unit
    if settings.pupil_distance is not None:
        identity["pupil_distance"] = settings.pupil_distance
    landmarks = None
    if files.landmarks is not None:
        landmarks = read_landmarks(files.landmarks)
        identity["landmarks"] = sha256_of_file(files.landmarks)[:16]
    with claimed_folder(out, "registration", identity):
        if (out / REPORT).is_file():  # written last
            return out
        try:
            scan = read_scan(files.scan)
            ready = ready_head(asset)
            write_registration(out, files.scan, register_scan(scan, ready, settings, Hints(landmarks)), ready)
        except InputError:
            withdraw_claim(out)
            raise
    return out
