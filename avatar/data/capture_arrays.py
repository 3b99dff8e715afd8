"""The arrays of a capture folder: head parameters per frame and landmarks, written and strictly read.

Shapes of `flame_param/*.npz` follow VHAP and GaussianAvatars: per-frame values carry a leading 1, `shape` has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.base.conventions import LANDMARK_COUNT
from avatar.base.errors import CaptureError
from avatar.base.files import write_npz
from avatar.base.npz import read_npz
from avatar.data.capture_schema import POSE_KEYS
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters


def head_sizes(asset: HeadAsset) -> dict[str, int]:
    """Expected lengths of `shape`, `expr` and `static_offset`: the head's directions and vertices."""
    return {
        "shape": asset.shapedirs.shape[-1],
        "expr": asset.exprdirs.shape[-1],
        "static_offset": asset.template.shape[0],
    }


def load_arrays(path: Path, frame: int | None, keys: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Any]:
    """Named arrays of an npz file, without pickles; raises CaptureError where one is missing or the file is damaged."""
    try:
        found = read_npz(path, {*keys, *optional})
    except FileNotFoundError as cause:
        raise CaptureError("a file is missing", where=path, frame=frame) from cause
    except (OSError, ValueError) as cause:
        raise CaptureError("a file is damaged", where=path, frame=frame, expected="npz arrays", found=cause) from cause
    missing = [key for key in keys if key not in found]
    if missing:
        raise CaptureError(
            "an array is missing", where=path, frame=frame, expected=", ".join(keys), found=f"no {', '.join(missing)}"
        )
    return found


def checked(array: np.ndarray, shape: tuple[int | None, ...], name: str, path: Path, frame: int | None) -> np.ndarray:
    """`array` as float32 where it has `shape` (None = any length) and only finite values, else CaptureError."""
    fits = len(array.shape) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or not np.issubdtype(array.dtype, np.number):
        expected = f"numbers of shape {shape}".replace("None", "any")
        raise CaptureError(
            f"{name} has the wrong shape",
            where=path,
            frame=frame,
            expected=expected,
            found=f"{array.dtype} {array.shape}",
        )
    if not np.isfinite(array).all():
        found = f"{int((~np.isfinite(array)).sum())} of {array.size} are not"
        raise CaptureError(f"{name} is not finite", where=path, frame=frame, expected="finite values", found=found)
    return array.astype(np.float32)


def read_parameters(paths: Sequence[Path], expected_sizes: Mapping[str, int] | None) -> HeadParameters:
    """HeadParameters of the frames whose npz files are `paths`, float32.

    `expected_sizes` (see `head_sizes`) is None where the head model is not known.
    Raises CaptureError for a damaged file, a wrong shape, a value that is not finite, or an identity (`shape`,
    `static_offset`) that differs between frames.
    """
    sizes: Mapping[str, int | None] = expected_sizes or {}
    shapes: dict[str, tuple[int | None, ...]] = {key: (1, length) for key, length in POSE_KEYS.values()}
    shapes["expr"] = (1, sizes.get("expr"))
    shapes["shape"] = (sizes.get("shape"),)
    identity: dict[str, np.ndarray] = {}
    rows: dict[str, list[np.ndarray]] = {key: [] for key in shapes if key != "shape"}
    for index, path in enumerate(paths):
        arrays = load_arrays(path, index, shapes, optional=("static_offset",))
        for key, shape in shapes.items():
            arrays[key] = checked(arrays[key], shape, key, path, index)
        if "static_offset" in arrays:
            offset_shape = (1, sizes.get("static_offset"), 3)
            arrays["static_offset"] = checked(arrays["static_offset"], offset_shape, "static_offset", path, index)
        if index == 0:
            identity = {key: arrays[key] for key in ("shape", "static_offset") if key in arrays}
            shapes["expr"], shapes["shape"] = arrays["expr"].shape, arrays["shape"].shape
        for key in ("shape", "static_offset"):
            if (key in arrays) != (key in identity) or (
                key in identity and not np.array_equal(arrays[key], identity[key])
            ):
                raise CaptureError(
                    f"{key} differs between frames",
                    where=path,
                    frame=index,
                    expected="one identity for the whole clip, as in frame 0",
                    fix="a capture holds one person; capture the clip again",
                )
        for key, values in rows.items():
            values.append(arrays[key][0])
    stacked = {key: torch.from_numpy(np.stack(values)) for key, values in rows.items()}
    offset = identity.get("static_offset")
    return HeadParameters(
        shape=torch.from_numpy(identity["shape"]),
        expr=stacked["expr"],
        static_offset=None if offset is None else torch.from_numpy(offset[0]),
        **{name: stacked[key] for name, (key, _) in POSE_KEYS.items()},
    )


def read_landmarks(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """landmarks.npz: pixels `[count, 478, 2]` float32 and visible `[count, 478]` bool; raises CaptureError.

    A landmark marked visible must have a finite position; missing ones are NaN.
    """
    arrays = load_arrays(path, None, ("pixels", "visible"))
    pixels, visible = arrays["pixels"], arrays["visible"]
    if pixels.shape != (count, LANDMARK_COUNT, 2) or not np.issubdtype(pixels.dtype, np.floating):
        expected = f"floats of shape {(count, LANDMARK_COUNT, 2)}"
        raise CaptureError(
            "pixels has the wrong shape", where=path, expected=expected, found=f"{pixels.dtype} {pixels.shape}"
        )
    if visible.shape != (count, LANDMARK_COUNT) or visible.dtype != bool:
        expected = f"bool of shape {(count, LANDMARK_COUNT)}"
        raise CaptureError(
            "visible has the wrong shape", where=path, expected=expected, found=f"{visible.dtype} {visible.shape}"
        )
    if np.isinf(pixels).any() or (visible & np.isnan(pixels).any(axis=-1)).any():
        raise CaptureError(
            "a visible landmark has no position", where=path, expected="finite pixels where visible is true"
        )
    return pixels.astype(np.float32), visible


def parameter_arrays(params: HeadParameters, asset: HeadAsset, count: int, folder: Path) -> list[dict[str, np.ndarray]]:
    """The arrays of each frame's npz, float32; raises CaptureError for a wrong shape or a value that is not finite."""
    sizes = head_sizes(asset)
    lengths = {name: length for name, (_, length) in POSE_KEYS.items()} | {"expr": sizes["expr"]}
    values: dict[str, np.ndarray] = {}
    for name, length in lengths.items():
        array = getattr(params, name).detach().cpu().numpy()
        values[POSE_KEYS[name][0] if name in POSE_KEYS else name] = checked(array, (count, length), name, folder, None)
    shared = {"shape": checked(params.shape.detach().cpu().numpy(), (sizes["shape"],), "shape", folder, None)}
    if params.static_offset is not None:
        offset = params.static_offset.detach().cpu().numpy()
        shared["static_offset"] = checked(offset, (sizes["static_offset"], 3), "static_offset", folder, None)[None]
    return [{**{key: array[index : index + 1] for key, array in values.items()}, **shared} for index in range(count)]


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], compressed: bool = False) -> Path:
    """Write an npz file atomically; compression is for landmarks only, float parameters hardly shrink."""
    return write_npz(path, arrays, compressed=compressed)
