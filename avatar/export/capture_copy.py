"""A run's capture as a folder of its own: the files of the contract, without the stages that made it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from avatar.base.conventions import SPLITS
from avatar.base.errors import CaptureError, OutputError
from avatar.base.files import output_error, safe_join
from avatar.data.capture import Capture
from avatar.data.capture_schema import BACKGROUND, CANONICAL, LANDMARKS, REPORT, TRANSFORMS, transforms_name

OPTIONAL = (
    BACKGROUND,
    CANONICAL,
    LANDMARKS,
    REPORT,
    *("report/overlay.mp4", "report/contact_sheet.png"),
    *("appearance/albedo.png", "appearance/albedo.npz", "appearance/seen.png", "appearance/light.json"),
)
"""Copied where they are there; `appearance/` is what the report names as the head's texture and light."""


def copy_capture(capture: Capture, out: Path) -> Path:
    """Copy a capture folder to `out`, which does not exist yet or is empty, and return it.

    Files are copied as they are, `transforms.json` last; the folder gets its name when all are there. Raises
    CaptureError where a file leaves the capture's folder, OutputError where `out` holds something or cannot be written.
    """
    out = Path(out)
    require_new_folder(out)
    names = [name for frame in capture.frames for name in (frame.file_path, frame.fg_mask_path, frame.flame_param_path)]
    names += [name for name in OPTIONAL if safe_join(capture.folder, name, CaptureError).is_file()]
    names += [*map(transforms_name, SPLITS), TRANSFORMS]
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        for name in dict.fromkeys(names):
            target = safe_join(part, name, CaptureError)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(safe_join(capture.folder, name, CaptureError), target)
        os.replace(part, out)
    except OSError as error:
        raise output_error(error, out) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def require_new_folder(out: Path) -> None:
    """Raise OutputError where `out` is a file, or a folder that holds anything."""
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            "the output folder exists already" if out.is_dir() else "the output folder is a file",
            where=out,
            expected="a folder that does not exist yet",
            fix="choose another --out, or remove it yourself: --overwrite replaces files only",
        )
