"""From a clip to a capture folder, stage by stage; and the light version that only tracks a driver.

    landmarks   decode once, find the face in every frame chosen
    crops       decode again, cut the fixed square, matte the person
    tracking    fit the head model to the whole clip
    write       background plate, capture folder, report

Each stage leaves its arrays in `stages/`; a rerun starts after the last one finished.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avatar.conventions import OPEN_HEAD
from avatar.data.capture import write_capture
from avatar.errors import AvatarError, InputError
from avatar.files import CLAIM_FILE, claim_folder, require_free_space, sha256_of_file
from avatar.flame.assets import HeadAsset, load_head
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from avatar.progress import Progress
from avatar.videos import probe_video, read_video
from capture_tools.background import background_motion, background_plate
from capture_tools.checks import (
    capture_warnings,
    drop_reasons,
    refuse_two_people,
    require_usable,
)
from capture_tools.landmarks import ClipLandmarks, LandmarkDetector
from capture_tools.matting import MODEL_SIZE, PersonSegmenter, fill_holes, refine_matte, steady
from capture_tools.report import write_contact_sheet, write_overlay
from capture_tools.stages import Stages
from capture_tools.track import TrackResult, TrackSettings, track
from capture_tools.video import Crop, FrameSelection, choose_crop, select_frames

DEFAULT_FRAMES = 300
STAGE_VERSION = 1
"""Raised when a stage's arrays change meaning, so that an older folder is not continued."""


@dataclass(frozen=True)
class CaptureSettings:
    """How a clip becomes a capture."""

    size: int = 512
    """Pixels across the square images."""
    head_model: str = OPEN_HEAD
    """Name of a head model (avatar model list)."""
    start: float | None = None
    """Seconds into the clip from which frames are used."""
    end: float | None = None
    """Seconds into the clip up to which frames are used."""
    every: int | None = None
    """Use each n-th frame; by default as many as keep the capture within max_frames."""
    max_frames: int | None = None
    """Most frames to use, spread evenly; 300 by default."""


def capture(video: Path, out: Path, settings: CaptureSettings | None = None) -> Path:
    """Make a capture folder from a clip of one person before a fixed camera; returns `out`.

    Goes on after the last finished stage where `out` holds an unfinished capture of the same clip and settings, and
    returns at once where it is finished.
    Raises InputError for a clip that cannot be used (unreadable, cut, no face, two people, fewer than 20 usable
    frames), HeadModelError for an unknown head model, OutputError where `out` holds something else or the disk is
    full. An `out` made by a failing first stage is removed again.
    """
    settings = settings or CaptureSettings()
    video, out = Path(video), Path(out)
    if not 64 <= settings.size <= 2048 or settings.size % 2:
        raise InputError("--size is out of range", expected="an even number from 64 to 2048", found=settings.size)
    asset = load_head(settings.head_model)
    limit = settings.max_frames or DEFAULT_FRAMES
    _, selection = select_frames(video, start=settings.start, end=settings.end, every=settings.every, max_frames=limit)
    fresh = claim_folder(out, "capture", _identity(video, asset, settings))
    stages = Stages(out)
    if (out / "transforms.json").exists() and not stages.folder.exists():
        return out
    try:
        require_free_space(out, _bytes_needed(selection.expected, settings.size))
        clip = _usable(_landmark_stage(video, selection, stages), video)
    except AvatarError:
        if fresh:
            _withdraw(out, stages)
        raise
    crop = choose_crop(clip.pixels[clip.used], clip.width, clip.height, settings.size)
    _crop_stage(video, selection, clip, crop, stages)
    result = _tracking_stage(clip, asset, stages)
    _write_stage(out, video, clip, crop, result, asset, stages, settings)
    stages.remove()
    return out


@dataclass(frozen=True)
class _Clip:
    """What the landmark stage found, all frames looked at."""

    width: int
    height: int
    fps: float
    timestamps: np.ndarray
    """`[N]` seconds."""
    pixels: np.ndarray
    """`[N, 478, 2]` source pixels, NaN where no face was found."""
    others: np.ndarray
    """`[N]` size of the largest other face over the followed one's."""
    reasons: dict[int, str]
    """Why a frame is not used."""

    @property
    def used(self) -> np.ndarray:
        """Indices of the frames used."""
        return np.array([i for i in range(len(self.timestamps)) if i not in self.reasons], dtype=int)


def find_landmarks(video: Path, selection: FrameSelection, label: str = "landmarks") -> ClipLandmarks:
    """Decode the chosen frames and find the one face followed through them. Raises InputError for a bad file."""
    info = probe_video(video)
    clip = ClipLandmarks(info.width, info.height, info.fps / selection.every)
    previous = None
    frames = read_video(video, start=selection.start, end=selection.end, every=selection.every)
    with LandmarkDetector() as detector, Progress(label, selection.expected) as bar:
        for timestamp, image in frames:
            previous = clip.add(timestamp, detector.detect_all(image), previous)
            bar.update(len(clip.faces))
    if len(clip.timestamps) > 1:
        clip.fps = (len(clip.timestamps) - 1) / max(clip.timestamps[-1] - clip.timestamps[0], 1e-3)
    return clip


def _landmark_stage(video: Path, selection: FrameSelection, stages: Stages) -> _Clip:
    stored = stages.load("landmarks")
    if stored is None:
        with stages.timed("landmarks"):
            found = find_landmarks(video, selection)
            stored = {
                "size": np.array([found.width, found.height]),
                "fps": np.array(found.fps),
                "timestamps": np.array(found.timestamps),
                "pixels": found.pixels(),
                "others": np.array(found.others),
            }
            stages.save("landmarks", **stored)
    width, height = (int(v) for v in stored["size"])
    pixels = stored["pixels"]
    return _Clip(width, height, float(stored["fps"]), stored["timestamps"], pixels, stored["others"], {})


def _usable(clip: _Clip, video: Path) -> _Clip:
    """Decide which frames can be used. Raises InputError where too few can, or where two people are shown."""
    refuse_two_people(clip.pixels, clip.others, video)
    clip = replace(clip, reasons=drop_reasons(clip.pixels))
    require_usable(clip.pixels, clip.reasons, video)
    return clip


def _crop_stage(video: Path, selection: FrameSelection, clip: _Clip, crop: Crop, stages: Stages) -> None:
    if stages.load("crops") is not None:
        return
    used, size = clip.used, crop.size
    with stages.timed("crops"), PersonSegmenter() as segmenter, Progress("crops and mattes", 2 * len(used)) as bar:
        images = stages.open_array("images", (len(used), size, size, 3))
        mattes = stages.open_array("mattes", (len(used), size, size))
        confidences = np.zeros((len(used), MODEL_SIZE, MODEL_SIZE), np.uint8)
        rows = {int(frame): row for row, frame in enumerate(used)}
        frames = read_video(video, start=selection.start, end=selection.end, every=selection.every)
        for index, (_, image) in enumerate(frames):
            if (row := rows.get(index)) is not None:
                images[row] = crop.cut(image)
                confidences[row] = np.rint(255 * segmenter.confidence(images[row]))
                bar.update(row + 1)
        for row, confidence in enumerate(steady(confidences)):
            mattes[row] = fill_holes(refine_matte(confidence, images[row]))
            bar.update(len(used) + row + 1)
        images.flush()
        mattes.flush()
        stages.save("crops", crop=[crop.x0, crop.y0, crop.side, crop.size])


def _tracking_stage(clip: _Clip, asset: HeadAsset, stages: Stages) -> TrackResult:
    stored = stages.load("tracking")
    if stored is not None:
        return TrackResult.from_arrays(stored)
    used = clip.used
    with stages.timed("tracking"):
        result = _track_with_progress(clip.pixels[used], clip.timestamps[used], clip.width, clip.height, asset)
        stages.save("tracking", **result.to_arrays())
    return result


def _track_with_progress(
    pixels: np.ndarray,
    times: np.ndarray,
    width: int,
    height: int,
    asset: HeadAsset,
    settings: TrackSettings | None = None,
) -> TrackResult:
    settings = settings or TrackSettings()
    with Progress("tracking", settings.rigid_steps + settings.face_steps + settings.offset_steps, unit="step") as bar:
        return track(pixels, times, width, height, asset, settings, lambda done, _, note: bar.update(done, note))


def _write_stage(
    out: Path,
    video: Path,
    clip: _Clip,
    crop: Crop,
    result: TrackResult,
    asset: HeadAsset,
    stages: Stages,
    settings: CaptureSettings,
) -> None:
    used, images, mattes = clip.used, stages.open_array("images"), stages.open_array("mattes")
    camera = crop_camera(result.camera, crop)
    detected = crop.to_crop(clip.pixels[used])
    inside = ((detected >= 0) & (detected <= crop.size)).all(-1)
    with stages.timed("background"):
        plate = background_plate(images, mattes)
        motion = background_motion(images, mattes)
    with stages.timed("pictures"):
        with Progress("overlay", len(used)) as bar:
            projected = crop.to_crop(result.projected)
            write_overlay(
                *(out / "report" / "overlay.mp4", images, result.params, camera, detected, projected, asset),
                fps=clip.fps,
                progress=bar.update,
            )
        sheet = out / "report" / "contact_sheet.png"
        write_contact_sheet(sheet, images, mattes, plate.image, result.params, camera, detected, asset)
    report: dict[str, Any] = {
        "frames_read": len(clip.timestamps),
        "frames_used": len(used),
        "frames_dropped": [{"frame": i, "reason": reason} for i, reason in sorted(clip.reasons.items())],
        "landmark_error_px": result.landmark_error_px * crop.scale,
        "landmark_error_iod": result.landmark_error_iod,
        "seconds_per_stage": stages.seconds(),
        "camera_mode": "static",
        "focal_px": camera.fl_x,
        "warnings": capture_warnings(clip.pixels, clip.others, clip.reasons, result, crop, motion),
        "focal_source": "estimated from the landmarks, with a prior",
        "background_motion_px": motion.pixels,
        "background_seen_share": float(plate.seen.mean()),
        "video": {"name": video.name, "width": clip.width, "height": clip.height, "fps": clip.fps},
        "crop": {"x0": crop.x0, "y0": crop.y0, "side": crop.side},
        "settings": asdict(settings),
        "frames": [
            {
                "frame": int(index),
                "timestamp": float(clip.timestamps[index]),
                "landmark_error_px": float(result.errors[row].mean() * crop.scale),
                "landmark_error_iod": float(result.errors_iod[row]),
            }
            for row, index in enumerate(used)
        ],
    }
    write_capture(
        out,
        images=iter(images),
        masks=iter(mattes),
        cameras=camera,
        params=result.params,
        asset=asset,
        fps=clip.fps,
        timestamps=[float(t) for t in clip.timestamps[used]],
        landmarks=detected,
        visible=result.facing & inside,
        background=plate.image,
        report=report,
        camera_mode="static",
    )


def crop_camera(camera: Camera, crop: Crop) -> Camera:
    """The source's camera as it sees the crop: the principal point moves with the square."""
    return camera.cropped(crop.x0, crop.y0, crop.side, crop.side).scaled(crop.size, crop.size)


class DriverTrack(NamedTuple):
    """A driver's performance: N frames, one after another at `fps`."""

    params: HeadParameters
    """N frames, the driver's own shape."""
    fps: float
    audio: Path | None
    """The file that holds the sound; None where there is none."""
    landmarks: np.ndarray
    """`[N, 478, 2]` pixels of the source; NaN in frames without a face, whose parameters are carried over from their
    neighbours."""


def track_driver(
    video: Path,
    asset: HeadAsset,
    *,
    start: float | None = None,
    end: float | None = None,
    settings: TrackSettings | None = None,
) -> DriverTrack:
    """Track every frame of a clip with the capture's tracker, writing nothing.

    Raises InputError for an unreadable clip, one without a face or with two people, HeadModelError for a head without
    landmarks.
    """
    video = Path(video)
    info, selection = select_frames(video, start=start, end=end, every=1)
    found = find_landmarks(video, selection, "driver landmarks")
    pixels = found.pixels()
    refuse_two_people(pixels, np.array(found.others), video)
    seen = np.isfinite(pixels).all(axis=(1, 2))
    if not seen.any():
        raise InputError("no face was found in the driver", where=video, fix="give a clip that shows one face")
    result = _track_with_progress(pixels, np.array(found.timestamps), found.width, found.height, asset, settings)
    return DriverTrack(result.params, found.fps, video if info.has_audio else None, pixels)


def _identity(video: Path, asset: HeadAsset, settings: CaptureSettings) -> dict[str, Any]:
    return {
        "video": sha256_of_file(video)[:16],
        "head_model": f"{asset.name} {asset.fingerprint[:12]}",
        "size": settings.size,
        "range": f"{settings.start or 0:g}-{'end' if settings.end is None else f'{settings.end:g}'}",
        "every": settings.every or 0,
        "max_frames": settings.max_frames or DEFAULT_FRAMES,
        "stage_version": STAGE_VERSION,
    }


def _bytes_needed(frames: int, size: int) -> int:
    """Crops and mattes raw, the same again as PNG, and room for videos."""
    return math.ceil(frames * size * size * 4 * 2.2) + 50 * 2**20


def _withdraw(out: Path, stages: Stages) -> None:
    """Remove a folder that this call made and that holds nothing finished."""
    stages.remove()
    (out / CLAIM_FILE).unlink(missing_ok=True)
    if not any(out.iterdir()):
        out.rmdir()
