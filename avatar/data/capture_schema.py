"""Schema of a capture folder: file names, keys, array shapes and the split (docs/design.md, The capture folder)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.conventions import CAMERA_MODES, SCHEMA_VERSION, SPLITS
from avatar.base.errors import CaptureError
from avatar.base.limits import FPS, Limits
from avatar.geometry.cameras import Camera

TRANSFORMS = "transforms.json"
IMAGES, MASKS, PARAMETERS = "images", "fg_masks", "flame_param"
LANDMARKS, BACKGROUND, REPORT = "landmarks.npz", "background.png", "report/report.json"
CANONICAL = "canonical_flame_param.npz"
"""The person at rest, the mouth a little open: GaussianAvatars takes a folder for one with a head by this file."""
CANONICAL_JAW = 0.3
"""Radians, as VHAP writes it."""
HELD_OUT = "held_out.json"
"""Beside the transforms of a held-out set: its kind, and its cameras relative to those of the clip."""
SPLIT_EVERY = 10
"""One frame in ten is held out for validation, and one tenth of the clip, its end, for the test."""

POSE_KEYS = {
    "translation": ("translation", 3),
    "rotation": ("rotation", 3),
    "neck": ("neck_pose", 3),
    "jaw": ("jaw_pose", 3),
    "eyes": ("eyes_pose", 6),
}
"""Field of HeadParameters -> (key in the npz, length)."""

REPORT_KEYS = (
    "frames_read",
    "frames_used",
    "frames_dropped",
    "landmark_error_px",
    "landmark_error_iod",
    "seconds_per_stage",
    "camera_mode",
    "focal_px",
    "warnings",
)


@dataclass(frozen=True)
class Frame:
    """One frame of a capture; the paths are relative to its folder."""

    file_path: str
    fg_mask_path: str
    flame_param_path: str
    camera: Camera
    timestep_index: int
    timestamp: float
    """Seconds from the start of the clip."""

    @property
    def name(self) -> str:
        """The image's name without folder and ending, for example `00042`."""
        return Path(self.file_path).stem


def transforms_name(split: str | None) -> str:
    """File name of the frame list of one split, or of all frames (None)."""
    return TRANSFORMS if split is None else f"transforms_{split}.json"


def split_frames(count: int) -> dict[str, list[int]]:
    """Indices of `count` frames in time order as {"train": [...], "val": [...], "test": [...]}.

    The last tenth of the clip is `test`; of the frames before it every tenth (9, 19, 29, ...) is `val`, so that the
    first frame, from which other readers take the identity, is in `train`; the rest is `train`. Short clips keep at
    least one frame in each split from 3 frames on: the middle one before the test frames is then `val`.
    """
    first_test = count - max(round(count / SPLIT_EVERY), 1) if count >= 3 else count
    val = list(range(SPLIT_EVERY - 1, first_test, SPLIT_EVERY))
    if not val and count >= 3:
        val = [first_test // 2]
    train = sorted(set(range(first_test)) - set(val))
    return {"train": train, "val": val, "test": list(range(first_test, count))}


def camera_entries(camera: Camera) -> dict[str, float]:
    """Intrinsics under the names that nerfstudio and GaussianAvatars read: pixels, fields of view in radians."""
    return {
        "w": int(camera.width),
        "h": int(camera.height),
        "fl_x": float(camera.fl_x),
        "fl_y": float(camera.fl_y),
        "cx": float(camera.cx),
        "cy": float(camera.cy),
        "camera_angle_x": float(2 * np.arctan(camera.width / (2 * camera.fl_x))),
        "camera_angle_y": float(2 * np.arctan(camera.height / (2 * camera.fl_y))),
    }


def frame_entry(frame: Frame) -> dict[str, Any]:
    """One entry of `frames` in transforms.json."""
    return {
        "file_path": frame.file_path,
        "fg_mask_path": frame.fg_mask_path,
        "flame_param_path": frame.flame_param_path,
        "transform_matrix": np.asarray(frame.camera.to_transform_matrix()).tolist(),
        "timestep_index": frame.timestep_index,
        "timestamp": frame.timestamp,
        # Not ours, but what GaussianAvatars and VHAP look for in each frame.
        "timestep_id": frame.name,
        "camera_index": 0,
        "camera_id": "0",
        **camera_entries(frame.camera),
    }


class Entries:
    """A JSON object read from disk, with typed access that says what is wrong and where."""

    def __init__(self, values: Any, where: Path, frame: int | None = None) -> None:
        self.where, self.frame = where, frame
        if not isinstance(values, dict):
            raise self.error("an entry is not an object", "a JSON object", type(values).__name__)
        self.values = values

    def error(self, what: str, expected: object = None, found: object = None, fix: str | None = None) -> CaptureError:
        return CaptureError(what, where=self.where, frame=self.frame, expected=expected, found=found, fix=fix)

    def get(self, key: str) -> Any:
        if key not in self.values:
            raise self.error(f"the entry {key} is missing", f"an entry {key}", ", ".join(sorted(self.values)) or "none")
        return self.values[key]

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(f"the entry {key} is not a text", "a text", value)
        return value

    def number(
        self, key: str, *, default: float | None = None, positive: bool = False, limits: Limits | None = None
    ) -> float:
        value = self.get(key) if default is None or key in self.values else default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < sys.float_info.max:
            raise self.error(f"the entry {key} is not a number", "a finite number", value)
        if positive and value <= 0:
            raise self.error(f"the entry {key} is out of range", "a number above zero", value)
        if limits is not None and not limits.hold(value):
            raise self.error(f"the entry {key} is out of range", limits, value, limits.fix)
        return float(value)

    def integer(self, key: str, *, default: int | None = None, limits: Limits | None = None) -> int:
        value = self.number(key, default=default, limits=limits)
        if value != int(value):
            raise self.error(f"the entry {key} is not a whole number", "a whole number", value)
        return int(value)

    def matrix(self, key: str) -> np.ndarray:
        """A rigid transform `[4, 4]`: finite, orthonormal rotation, last row 0 0 0 1."""
        try:
            value = np.array(self.get(key), dtype=np.float64)
        except (TypeError, ValueError) as cause:
            raise self.error(f"the entry {key} is not a matrix", "4 x 4 numbers", cause) from cause
        if value.shape != (4, 4) or not np.isfinite(value).all():
            raise self.error(f"the entry {key} is not a matrix", "4 x 4 finite numbers", f"shape {value.shape}")
        rotation = value[:3, :3]
        rigid = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) and np.linalg.det(rotation) > 0
        if not rigid or not np.allclose(value[3], (0, 0, 0, 1), atol=1e-6):
            raise self.error(
                f"the entry {key} is not a rigid transform", "a rotation and a translation", value.tolist()
            )
        return value


def check_header(entries: Entries) -> tuple[str, str, str, float]:
    """Version and head of a transforms file; returns head name, fingerprint, camera mode and frames per second."""
    version = entries.get("schema_version")
    if version != SCHEMA_VERSION:
        raise entries.error(
            "the capture has an unknown schema_version",
            SCHEMA_VERSION,
            version,
            "make the capture again with this version: avatar capture VIDEO --out CAPTURE",
        )
    head = Entries(entries.get("head_model"), entries.where)
    mode = entries.text("camera_mode")
    if mode not in CAMERA_MODES:
        raise entries.error("the camera_mode is unknown", " or ".join(CAMERA_MODES), mode)
    return head.text("name"), head.text("fingerprint"), mode, entries.number("fps", limits=FPS)


def check_splits(splits: dict[str, list[int]], count: int, where: Path) -> None:
    """Raise CaptureError unless every frame is in exactly one split."""
    listed = sorted(index for name in SPLITS for index in splits[name])
    if listed != list(range(count)):
        missing, twice = set(range(count)) - set(listed), {i for i in listed if listed.count(i) > 1}
        raise CaptureError(
            "the splits do not cover the frames once each",
            where=where,
            expected=f"{count} frames, each in one of {', '.join(SPLITS)}",
            found=f"in none: {sorted(missing)[:8]}, in several: {sorted(twice)[:8]}",
        )
