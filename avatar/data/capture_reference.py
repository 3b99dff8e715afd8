"""`capture.json` of a run folder: which capture a run was trained on, and whether it still is the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from avatar.base.conventions import SCHEMA_VERSION
from avatar.base.errors import RunError
from avatar.base.files import read_json, sha256_of_file, write_json
from avatar.data.capture import Capture, read_capture
from avatar.data.capture_schema import TRANSFORMS
from avatar.flame.assets import HeadAsset

CAPTURE_FILE = "capture.json"


def write_capture_reference(run: Path, capture: Capture) -> Path:
    """Write RUN/capture.json. A capture inside the run folder is noted by its relative path, so both can move."""
    folder, home = capture.folder.resolve(), Path(run).resolve()
    inside = folder.is_relative_to(home)
    content = {
        "schema_version": SCHEMA_VERSION,
        "folder": os.path.relpath(folder, home) if inside else str(folder),
        "fingerprint": sha256_of_file(folder / TRANSFORMS),
        "head_model": {"name": capture.head_name, "fingerprint": capture.head_fingerprint},
        "camera_mode": capture.camera_mode,
        "frames": len(capture.frames),
        "width": capture.width,
        "height": capture.height,
        "fps": capture.fps,
    }
    return write_json(Path(run) / CAPTURE_FILE, content)


def read_capture_reference(run: Path) -> dict[str, Any]:
    """RUN/capture.json as written by `write_capture_reference`; raises RunError where it is missing or damaged."""
    where = Path(run) / CAPTURE_FILE
    content = read_json(where, RunError)
    for key in ("folder", "fingerprint"):
        if not isinstance(content, dict) or not isinstance(content.get(key), str):
            raise RunError(f"the entry {key} is missing", where=where, expected=f"a text {key}", fix="train again")
    return content


def open_run_capture(run: Path, *, expect_head: HeadAsset | None = None) -> Capture:
    """The capture a run was trained on.

    Raises RunError where it has moved away or was made anew since, CaptureError and HeadModelError as `read_capture`.
    """
    reference = read_capture_reference(run)
    folder = Path(run).resolve() / reference["folder"]
    if not (folder / TRANSFORMS).is_file():
        raise RunError(
            "the capture this run was trained on is not there any more",
            where=Path(run) / CAPTURE_FILE,
            expected=folder,
            fix="put the capture folder back; rendering and reanimation work without it, training and eval do not",
        )
    found = sha256_of_file(folder / TRANSFORMS)
    if found != reference["fingerprint"]:
        raise RunError(
            "the capture was made anew after this run was trained",
            where=folder,
            expected=f"{TRANSFORMS} with fingerprint {reference['fingerprint'][:12]}",
            found=found[:12],
            fix="train again: avatar train CAPTURE --out ANOTHER_RUN",
        )
    return read_capture(folder, expect_head=expect_head)
