"""Writing of capture folders; an interrupted one never looks finished."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.conventions import CAMERA_MODES, LANDMARK_COUNT, SCHEMA_VERSION, SPLITS
from avatar.base.errors import CaptureError
from avatar.base.files import refuse_links, write_json
from avatar.data.capture_arrays import parameter_arrays, write_arrays
from avatar.data.capture_schema import (
    BACKGROUND,
    CANONICAL,
    CANONICAL_JAW,
    IMAGES,
    LANDMARKS,
    MASKS,
    PARAMETERS,
    REPORT,
    REPORT_KEYS,
    Frame,
    camera_entries,
    frame_entry,
    split_frames,
    transforms_name,
)
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from avatar.media.images import write_png

WRITERS = 2
"""Threads that encode PNG files."""


def write_capture(
    folder: Path,
    *,
    images: Iterable[np.ndarray] | None,
    masks: Iterable[np.ndarray] | None,
    cameras: Camera | Sequence[Camera],
    params: HeadParameters,
    asset: HeadAsset,
    fps: float,
    timestamps: Sequence[float],
    landmarks: np.ndarray,
    visible: np.ndarray,
    background: np.ndarray | None,
    report: Mapping[str, Any],
    camera_mode: str,
) -> Path:
    """Write a capture folder of N frames and return it.

    images: sRGB uint8 `[H, W, 3]` each, in time order, read one by one; None where `images/00000.png`, ... exist.
    masks: uint8 `[H, W]` each, 255 = person; None likewise. cameras: N of them, or one for all frames.
    params: N frames of `asset`'s head. timestamps: N seconds.
    landmarks: `[N, 478, 2]` pixels, NaN = missing. visible: `[N, 478]` bool.
    report: the keys of report.json; what the caller did not measure becomes null.

    The transforms files are removed first and written last, so an interrupted folder never looks finished.
    Raises CaptureError where the parts do not fit each other, OutputError where the disk is full or a link stands in
    the folder.
    """
    folder = Path(folder)
    refuse_links(folder)
    count = len(timestamps)
    cameras = [cameras] * count if isinstance(cameras, Camera) else list(cameras)
    landmarks, visible = np.asarray(landmarks, dtype=np.float32), np.asarray(visible, dtype=bool)
    arrays = parameter_arrays(params, asset, count, folder)
    check_parts(folder, count, cameras, landmarks, visible, camera_mode)
    for split in (None, *SPLITS):
        (folder / transforms_name(split)).unlink(missing_ok=True)

    names = [f"{index:05d}" for index in range(count)]
    size = (cameras[0].height, cameras[0].width)
    write_images(folder / IMAGES, names, images, (*size, 3))
    write_images(folder / MASKS, names, masks, size)
    for name, values in zip(names, arrays, strict=True):
        write_arrays(folder / PARAMETERS / f"{name}.npz", values)
    write_arrays(folder / CANONICAL, canonical(arrays[0]))
    write_arrays(folder / LANDMARKS, {"pixels": landmarks, "visible": visible}, compressed=True)
    if background is not None:
        write_png(folder / BACKGROUND, background)
    known = {"frames_used": count, "camera_mode": camera_mode, "focal_px": float(cameras[0].fl_x)}
    known |= {"frames_dropped": [], "warnings": []}
    write_json(folder / REPORT, {key: known.get(key) for key in REPORT_KEYS} | dict(report))

    frames = [
        Frame(
            file_path=f"{IMAGES}/{name}.png",
            fg_mask_path=f"{MASKS}/{name}.png",
            flame_param_path=f"{PARAMETERS}/{name}.npz",
            camera=camera,
            timestep_index=index,
            timestamp=float(timestamp),
        )
        for index, (name, camera, timestamp) in enumerate(zip(names, cameras, timestamps, strict=True))
    ]
    head = {"name": asset.name, "fingerprint": asset.fingerprint}
    write_transforms(folder, frames, split_frames(count), fps, head, camera_mode)
    return folder


def write_transforms(
    folder: Path, frames: Sequence[Frame], splits: Mapping[str, list[int]], fps: float, head: dict[str, str], mode: str
) -> None:
    """Write transforms_<split>.json and, as the sign that the capture is finished, transforms.json."""
    entries = [frame_entry(frame) for frame in frames]
    header = {"schema_version": SCHEMA_VERSION, "fps": float(fps), "head_model": head, "camera_mode": mode}
    header |= {"camera_model": "OPENCV", **camera_entries(frames[0].camera), "camera_indices": [0]}

    def content(indices: Iterable[int]) -> dict[str, Any]:
        indices = list(indices)
        steps = [entries[i]["timestep_index"] for i in indices]
        return {**header, "timestep_indices": steps, "frames": [entries[i] for i in indices]}

    for split in SPLITS:
        write_json(folder / transforms_name(split), content(splits[split]))
    write_json(folder / transforms_name(None), content(range(len(frames))))


def canonical(frame: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a frame's npz with its person at rest and a jaw that shows the mouth."""
    arrays = {key: value if key in ("shape", "static_offset") else np.zeros_like(value) for key, value in frame.items()}
    arrays["jaw_pose"][:, 0] = CANONICAL_JAW
    return arrays


def check_parts(
    folder: Path, count: int, cameras: Sequence[Camera], landmarks: np.ndarray, visible: np.ndarray, mode: str
) -> None:
    """Raise CaptureError where the parts handed to `write_capture` do not fit each other."""
    if count == 0:
        raise CaptureError("a capture needs frames", where=folder, expected="at least one frame", found=0)
    if mode not in CAMERA_MODES:
        raise CaptureError("the camera_mode is unknown", where=folder, expected=" or ".join(CAMERA_MODES), found=mode)
    if len(cameras) != count or len({(camera.width, camera.height) for camera in cameras}) != 1:
        raise CaptureError(
            "the cameras do not fit the frames", where=folder, expected=f"{count} of one size", found=len(cameras)
        )
    if landmarks.shape != (count, LANDMARK_COUNT, 2) or visible.shape != (count, LANDMARK_COUNT):
        expected, found = (count, LANDMARK_COUNT), (landmarks.shape, visible.shape)
        raise CaptureError("the landmarks do not fit the frames", where=folder, expected=expected, found=found)


def write_images(
    folder: Path, names: Sequence[str], images: Iterable[np.ndarray] | None, shape: tuple[int, ...]
) -> None:
    """Write one PNG per name with two threads, keeping only a few images in memory; None = they must be there."""
    if images is None:
        missing = [name for name in names if not (folder / f"{name}.png").is_file()]
        if missing:
            raise CaptureError(
                "images are missing", where=folder, expected=f"{len(names)} files", found=f"no {missing[0]}.png"
            )
        return
    waiting: list[Future[Path]] = []
    with ThreadPoolExecutor(WRITERS) as pool:
        for index, (name, image) in enumerate(zip_longest(names, images)):
            if name is None or image is None:
                found = f"{'more' if name is None else index}"
                raise CaptureError("the number of images is wrong", where=folder, expected=len(names), found=found)
            if image.shape != shape:
                raise CaptureError(
                    "an image has the wrong size", where=folder, frame=index, expected=shape, found=image.shape
                )
            waiting.append(pool.submit(write_png, folder / f"{name}.png", np.ascontiguousarray(image)))
            if len(waiting) > 2 * WRITERS:
                waiting.pop(0).result()
        for future in waiting:
            future.result()
