"""Drivers: reading a performance from a video, a capture folder, an .npz of parameters or a Live Link Face CSV."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from avatar.animation.live_link import has_columns, read_live_link
from avatar.animation.options import DEFAULT_FPS, DriverPart
from avatar.base.errors import ConfigError, HeadModelError, InputError
from avatar.base.limits import DRIVER_FRAMES, FPS
from avatar.base.npz import read_npz
from avatar.data.capture_schema import PARAMETERS, POSE_KEYS
from avatar.data.folders import PICTURES, VIDEOS, find_capture
from avatar.flame.model import HeadParameters
from avatar.media.video import probe_video

if TYPE_CHECKING:
    from avatar.flame.assets import HeadAsset

TAKEN = "a video, a capture folder, a run folder (its capture is taken), a Live Link Face .csv or an .npz of parameters"
PARAMETER_KEYS = {"expr": ("expr", None), **{key: (name, size) for name, (key, size) in POSE_KEYS.items()}}
"""Key in a parameter file -> (field of HeadParameters, components; None means the head's expression count): those of a
capture's flame_param files, stacked over frames. `expr` is needed."""
TABLES = (".tsv", ".txt", ".json", ".xlsx", ".bvh", ".mat")
PICKLES = (".pkl", ".pickle", ".pt", ".pth")
NPZ, NPY, CSV = ".npz", ".npy", ".csv"
AS_NPZ = "save the numbers with numpy: np.savez('driver.npz', expr=EXPR, jaw_pose=JAW, fps=25) (docs/design.md)"


@dataclass(frozen=True)
class Driver:
    """A performance: head parameters of N frames, their rate, and where the sound is."""

    params: HeadParameters
    fps: float
    audio: Path | None
    audio_start: float = 0.0
    """Seconds from the first picture of the file with the sound to the one at which the performance begins."""
    notes: tuple[str, ...] = ()
    """What a person should be told, a sentence each."""
    filmed: Path | None = None
    """The video file or capture folder that the performance was tracked in; None for parameters from elsewhere."""
    rotate: int = 0
    """Degrees by which that video's frames are turned clockwise."""


class TrackVideo(Protocol):
    """Follows the head through a driver's video."""

    def __call__(self, video: Path, asset: HeadAsset, part: DriverPart) -> Driver: ...


def find_driver(source: Path, part: DriverPart | None = None) -> Path:
    """The file or folder that a path given as driver means: a run's capture, or the capture that a folder lies in.

    Nothing large is read. Raises InputError for what drives nothing, with what to do about it, and for a part that no
    video can have, ConfigError where another part than the whole is asked for of anything but a video.
    """
    source, whole = Path(source), DriverPart()
    part = (part or whole).check()
    found = _meant(source)
    if part != whole and (found.is_dir() or is_parameters(found)):
        raise ConfigError("--start, --end, --live and --rotate are for a driver that is a video", found=source)
    return found


def is_parameters(source: Path) -> bool:
    """Whether a file that drives holds parameters instead of pictures."""
    return source.suffix.lower() in (NPZ, CSV)


def _meant(source: Path) -> Path:
    if not source.exists():
        raise InputError("the driver does not exist", where=source, expected=TAKEN, fix="check the path")
    kind = source.suffix.lower()
    # parameters of single frames in a capture's own folder stand for its whole clip; elsewhere a file is what it is
    listed = kind == NPZ and source.parent.name == PARAMETERS and find_capture(source) is not None
    if source.is_dir() or listed or (kind == ".json" and source.name.startswith("transforms")):
        capture = find_capture(source)
        if capture is None:
            held = ", ".join(sorted(entry.name for entry in source.iterdir())[:6]) if source.is_dir() else "a file"
            raise InputError(
                "the driver is a folder without a capture",
                where=source,
                expected=TAKEN,
                found=held or "an empty folder",
                fix="give the video itself; for single pictures make a video of them first",
            )
        return capture
    if kind in PICTURES:
        raise InputError(
            "the driver is a picture",
            where=source,
            expected=TAKEN,
            fix=_capture_above(source) or f"avatar capture --image {source} --out CAPTURE, then --driver CAPTURE",
        )
    if kind in PICKLES:
        raise InputError(
            "the driver is a file of Python objects, which are never read: it could run anything",
            where=source,
            expected=TAKEN,
            fix=AS_NPZ,
        )
    if kind == NPY:
        raise InputError(
            "the driver is a NumPy array without a name",
            where=source,
            expected=TAKEN,
            fix=f"name it: np.savez('driver.npz', expr=np.load('{source.name}'), fps=25) (docs/design.md)",
        )
    if kind in TABLES or (kind == CSV and not has_columns(source)):
        what = "the driver is a table without the columns of Live Link Face" if kind == CSV else "the driver is a table"
        raise InputError(what, where=source, expected=TAKEN, fix=AS_NPZ)
    return source


def _capture_above(path: Path) -> str | None:
    """What to do about a file that lies in a capture and is no driver by itself."""
    capture = find_capture(path)
    return None if capture is None else f"for the clip of the capture it lies in: --driver {capture}"


def load_driver(
    source: Path,
    asset: HeadAsset,
    part: DriverPart | None = None,
    *,
    track: TrackVideo | None = None,
    jaw_share: float = 1.0,
) -> Driver:
    """A driver from a video (tracked now), a capture folder or a run's, an .npz of parameters or a Live Link Face CSV.

    part: of a video, the whole by default. track: follows the head through it (`avatar.app.workflow.track_driver`).
    jaw_share: of a CSV's JawOpen, how much the jaw joint gets (`expressions.jaw_share_of` the avatar's clip); the
    direction gets the rest. Raises as `find_driver`, InputError for a file that cannot be read or is too long,
    CaptureError for a damaged capture, HeadModelError where a capture or parameter file belongs to another head model
    than `asset`.
    """
    part = part or DriverPart()
    found = find_driver(source, part)
    if found.is_dir():
        return _driver_from_capture(found, asset)
    if found.suffix.lower() == NPZ:
        return read_parameter_file(found, asset)
    if found.suffix.lower() == CSV:
        performance = read_live_link(found, asset, jaw_share)
        return Driver(performance.params, performance.fps, None, notes=performance.notes)
    if found.suffix.lower() not in VIDEOS:
        _require_video(found)
    if track is None:
        raise InputError("the driver is a video, and no tracker was given", where=found, expected="track=...")
    return track(found, asset, part)


def _require_video(path: Path) -> None:
    """Raise InputError, with all that can drive, unless a file of an unusual ending is a video."""
    try:
        probe_video(path)
    except InputError as cause:
        raise InputError(
            "the driver cannot be read", where=path, expected=TAKEN, found=cause.what, fix="give one of these"
        ) from cause


def _driver_from_capture(folder: Path, asset: HeadAsset) -> Driver:
    from avatar.data.capture import read_capture

    capture = read_capture(folder, expect_head=asset)
    return Driver(capture.parameters(), capture.fps, None, filmed=folder)


def read_parameter_file(path: Path, asset: HeadAsset) -> Driver:
    """Parameters from an .npz: `expr [N, E]`, and optionally `jaw_pose [N, 3] eyes_pose [N, 6] neck_pose [N, 3]
    rotation [N, 3] translation [N, 3]` (axis-angle in radians, metres), `fps` and `head_fingerprint`. Of a single
    frame the first dimension may be left out.

    Raises InputError for wrong keys, shapes or values, HeadModelError for another model's fingerprint.
    """
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as cause:
        raise InputError(
            "the parameter file cannot be read", where=path, expected="an .npz of arrays", found=cause, fix=AS_NPZ
        ) from cause
    if "expr" not in arrays:
        raise InputError(
            "the parameter file has no expressions",
            where=path,
            expected="expr [N, E]",
            found=", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items()) or "nothing",
            fix=_capture_above(path) or AS_NPZ,
        )
    if arrays["expr"].ndim == 1 and arrays["expr"].size:
        arrays["expr"] = arrays["expr"][None]
    if arrays["expr"].ndim != 2 or arrays["expr"].size == 0:
        raise InputError(
            "expr has the wrong shape",
            where=path,
            expected="[N, E], or [E] of a single frame",
            found=list(arrays["expr"].shape),
            fix=AS_NPZ,
        )
    if "head_fingerprint" in arrays and str(arrays["head_fingerprint"]) != asset.fingerprint:
        raise HeadModelError(
            "the parameters belong to another head model",
            where=path,
            expected=f"{asset.name} {asset.fingerprint}",
            found=str(arrays["head_fingerprint"]),
            fix="parameters of one head mean nothing in another: track the performance with the avatar's own head",
        )
    frames = arrays["expr"].shape[0]
    DRIVER_FRAMES.require("the driver's length", frames, error=InputError, where=path)
    params = HeadParameters.neutral(asset, frames)
    chosen = {}
    for key, (field, components) in PARAMETER_KEYS.items():
        if key not in arrays:
            continue
        expected = (frames, components if components is not None else asset.expression_count)
        if frames == 1 and arrays[key].shape == expected[1:]:
            arrays[key] = arrays[key][None]
        if arrays[key].shape != expected:
            error = HeadModelError if key == "expr" else InputError
            columns = f"a row per frame and {expected[1]} columns, one for each of the expressions of {asset.name}"
            rows = f"{frames} rows of {expected[1]}, one for each row of expr; leave {key} out where there is none"
            raise error(
                f"{key} has the wrong shape for this head model",
                where=path,
                expected=expected,
                found=arrays[key].shape,
                fix=f"give {columns if key == 'expr' else rows}",
            )
        values = _numbers(arrays[key], key, path)
        if not np.isfinite(values).all():
            bad = int(np.argwhere(~np.isfinite(values))[0, 0])
            raise InputError(
                f"{key} holds a value that is not a finite number",
                where=path,
                frame=bad,
                fix="leave such frames out of every array, or fill them in from the frames around them",
            )
        chosen[field] = torch.tensor(values, dtype=params.expr.dtype)
    fps = float(_numbers(arrays["fps"], "fps", path).reshape(-1)[0]) if "fps" in arrays else DEFAULT_FPS
    FPS.require("fps", fps, error=InputError, where=path)
    return Driver(dataclasses.replace(params, **chosen), fps, None)


def _numbers(array: np.ndarray, key: str, path: Path) -> np.ndarray:
    """The array as float64; InputError where it holds something else than numbers."""
    if array.dtype.kind not in "fiu" or array.size == 0:
        raise InputError(f"{key} does not hold numbers", where=path, found=f"{array.dtype} {array.shape}", fix=AS_NPZ)
    return array.astype(np.float64)
