"""Videos of an avatar: driven by another clip, or with a chosen expression along a camera path."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.animation.camera_paths import DEFAULT_AMPLITUDE_DEGREES, PathName, camera_path
from avatar.animation.driving import HeadMotion, expression_frames, mean_pose, retarget, smooth_tracking
from avatar.errors import ConfigError, HeadModelError, InputError
from avatar.files import refuse_existing_file
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from avatar.imaging import to_uint8, write_png
from avatar.progress import Progress
from avatar.videos import write_video

if TYPE_CHECKING:
    from avatar.flame.assets import HeadAsset
    from avatar.training.avatar_model import Avatar

DEFAULT_FPS = 25.0
DEFAULT_FRAMES = 100
MAXIMAL_FPS = 240.0
SMALLEST_SIZE = 16
PARAMETER_KEYS = {
    # key in the file: (field of HeadParameters, components; None means the head's expression count)
    "expr": ("expr", None),
    "jaw_pose": ("jaw", 3),
    "eyes_pose": ("eyes", 6),
    "neck_pose": ("neck", 3),
    "rotation": ("rotation", 3),
    "translation": ("translation", 3),
}
"""Keys of a parameter file: those of a capture's flame_param files, stacked over frames. `expr` is needed."""


@dataclass(frozen=True)
class Driver:
    """A performance: head parameters of N frames, their rate, and where the sound is."""

    params: HeadParameters
    fps: float
    audio: Path | None
    audio_start: float = 0.0
    """Seconds into the file with the sound at which the performance begins."""
    notes: tuple[str, ...] = ()
    """What a user should know about it."""


def load_driver(
    source: Path,
    asset: HeadAsset,
    *,
    start: float | None = None,
    end: float | None = None,
    live: bool = False,
    rotate: str | int = "auto",
) -> Driver:
    """A driver from a video (tracked now), a capture folder, or an .npz of parameters.

    start, end: seconds of a video between which it drives. live: track it as if it came from a camera. rotate:
    degrees (0, 90, 180, 270) by which its frames are turned clockwise, "auto" sets the face upright. ConfigError where
    one of these is given for anything but a video.

    Raises InputError for a file that is none of these, CaptureError for a damaged capture, HeadModelError where a
    capture or parameter file belongs to another head model than `asset`.
    """
    source = Path(source)
    tracked = source.is_dir() or source.suffix.lower() == ".npz"
    if tracked and (start is not None or end is not None or live or rotate != "auto"):
        raise ConfigError("--start, --end, --live and --rotate are for a driver that is a video", found=source)
    if source.is_dir():
        return _driver_from_capture(source, asset)
    if not source.exists():
        raise InputError(
            "the driver does not exist", where=source, expected="a video, a capture folder or an .npz of parameters"
        )
    if source.suffix.lower() == ".npz":
        return read_parameter_file(source, asset)
    from capture_tools.driver import track_driver
    from capture_tools.turning import turned_note

    found = track_driver(source, asset, start=start, end=end, live=live, rotate=rotate)
    notes = turned_note(found.rotate if rotate == "auto" else 0, "driver")
    return Driver(found.params, found.fps, found.audio, start or 0.0, tuple(notes))


def _driver_from_capture(folder: Path, asset: HeadAsset) -> Driver:
    from avatar.data.capture import read_capture

    capture = read_capture(folder, expect_head=asset)
    return Driver(capture.parameters(), capture.fps, None)


def read_parameter_file(path: Path, asset: HeadAsset) -> Driver:
    """Parameters from an .npz: `expr [N, E]`, and where wanted `jaw_pose [N, 3] eyes_pose [N, 6] neck_pose [N, 3]
    rotation [N, 3] translation [N, 3]` (axis-angle in radians, metres), `fps` and `head_fingerprint`.

    Raises InputError for wrong keys, shapes or values, HeadModelError for another model's fingerprint.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: np.asarray(stored[key]) for key in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as cause:
        raise InputError(
            "the parameter file cannot be read", where=path, expected="an .npz of arrays", found=cause
        ) from cause
    if "expr" not in arrays or arrays["expr"].ndim != 2 or arrays["expr"].shape[0] == 0:
        raise InputError(
            "the parameter file has no expressions",
            where=path,
            expected="expr [N, E]",
            found=", ".join(arrays) or "nothing",
        )
    if "head_fingerprint" in arrays and str(arrays["head_fingerprint"]) != asset.fingerprint:
        raise HeadModelError(
            "the parameters belong to another head model",
            where=path,
            expected=f"{asset.name} {asset.fingerprint}",
            found=str(arrays["head_fingerprint"]),
        )
    frames = arrays["expr"].shape[0]
    params = HeadParameters.neutral(asset, frames)
    chosen = {}
    for key, (field, components) in PARAMETER_KEYS.items():
        if key not in arrays:
            continue
        expected = (frames, components if components is not None else asset.expression_count)
        if arrays[key].shape != expected:
            error = HeadModelError if key == "expr" else InputError
            raise error(
                f"{key} has the wrong shape for this head model", where=path, expected=expected, found=arrays[key].shape
            )
        values = _numbers(arrays[key], key, path)
        if not np.isfinite(values).all():
            bad = int(np.argwhere(~np.isfinite(values))[0, 0])
            raise InputError(f"{key} holds a value that is not a finite number", where=path, frame=bad)
        chosen[field] = torch.tensor(values, dtype=params.expr.dtype)
    fps = float(_numbers(arrays["fps"], "fps", path).reshape(-1)[0]) if "fps" in arrays else DEFAULT_FPS
    if not 0 < fps <= MAXIMAL_FPS:
        raise InputError("fps cannot be this", where=path, expected=f"above 0, up to {MAXIMAL_FPS:g}", found=fps)
    return Driver(dataclasses.replace(params, **chosen), fps, None)


def _numbers(array: np.ndarray, key: str, path: Path) -> np.ndarray:
    """The array as float64; InputError where it holds something else than numbers."""
    if array.dtype.kind not in "fiu" or array.size == 0:
        raise InputError(f"{key} does not hold numbers", where=path, found=f"{array.dtype} {array.shape}")
    return array.astype(np.float64)


def reanimate(
    avatar: Avatar, driver: Driver, out: Path, *, head_motion: HeadMotion = "driver", overwrite: bool = False
) -> Path:
    """Write the avatar performing what the driver does, with the driver's sound and the synthetic tag.

    Raises OutputError where `out` exists and `overwrite` is False, or cannot be written.
    """
    require_suffix(out, (".mp4",))
    refuse_existing_file(out, overwrite)
    own = avatar.parameters
    params = retarget(own, smooth_tracking(driver.params.to(own.expr.device)), head_motion)
    cameras = [avatar.camera] * params.expr.shape[0]
    return _write(avatar, params, cameras, out, driver, "reanimate")


def render_path(
    avatar: Avatar,
    out: Path,
    *,
    path: PathName = "orbit",
    expression: str = "neutral",
    frames: int | None = None,
    fps: float = DEFAULT_FPS,
    size: int | None = None,
    amplitude: float = DEFAULT_AMPLITUDE_DEGREES,
    overwrite: bool = False,
) -> Path:
    """Write the avatar with a chosen expression along a camera path, as .mp4, or its first frame as .png.

    expression: see `driving.expression_frames`. size: longer side in pixels, the captured size by default.
    frames: 100 by default, the clip's own number for the expression `clip`; in a .png a sweep is at its fullest.
    Raises ConfigError for unknown names, OutputError where `out` exists and `overwrite` is False.
    """
    require_suffix(out, (".mp4", ".png"))
    refuse_existing_file(out, overwrite)
    if (frames is not None and frames < 1) or not 0 < fps <= MAXIMAL_FPS or (size is not None and size < SMALLEST_SIZE):
        raise ConfigError(
            "a number cannot be this",
            expected=f"--frames from 1, --fps above 0 and up to {MAXIMAL_FPS:g}, --size from {SMALLEST_SIZE}",
            found=f"frames {frames}, fps {fps:g}, size {size}",
        )
    still = Path(out).suffix.lower() == ".png"
    if still:
        frames, expression = 1, expression.removeprefix("sweep:")
    elif frames is None:
        frames = avatar.parameters.expr.shape[0] if expression == "clip" else DEFAULT_FRAMES
    params = expression_frames(expression, avatar.parameters, avatar.asset, frames)
    camera = avatar.camera
    if size is not None:
        scale = size / max(camera.width, camera.height)
        camera = camera.scaled(max(2, round(camera.width * scale)), max(2, round(camera.height * scale)))
    cameras = camera_path(path, camera, head_centre(avatar), frames, amplitude)
    if still:
        return write_png(out, _frame(avatar, params, 0, cameras[0]), synthetic=True)
    return _write(avatar, params, cameras, out, Driver(params, fps, None), "render")


def head_centre(avatar: Avatar) -> np.ndarray:
    """[3] the middle of the face (of the head, where the model has no region `face`) of the avatar at rest, in metres,
    world: what camera paths turn about."""
    with torch.no_grad():
        vertices = avatar.head(mean_pose(avatar.parameters)).vertices[0].double().cpu().numpy()
    face = vertices[avatar.asset.regions.get("face", slice(None))]
    return (face.min(0) + face.max(0)) / 2


def require_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    """Raise InputError unless the output file has one of the endings."""
    if Path(path).suffix.lower() not in suffixes:
        raise InputError(
            "the output file has an ending that cannot be written", where=path, expected=" or ".join(suffixes)
        )


def _frame(avatar: Avatar, params: HeadParameters, index: int, camera: Camera) -> np.ndarray:
    with torch.no_grad():
        image = avatar.render(params.frame(index), camera).image
    return to_uint8(image.float().cpu().numpy())


def _write(
    avatar: Avatar,
    params: HeadParameters,
    cameras: list[Camera],
    out: Path,
    source: Driver,
    label: str,
) -> Path:
    """Render the frames into `out`, at the rate and with the sound of `source`."""

    def images() -> Iterator[np.ndarray]:
        with Progress(label, len(cameras)) as bar:
            for index, camera in enumerate(cameras):
                yield _frame(avatar, params, index, camera)
                bar.update(index + 1)

    return write_video(
        out, images(), source.fps, audio_from=source.audio, audio_start=source.audio_start, synthetic=True
    )
