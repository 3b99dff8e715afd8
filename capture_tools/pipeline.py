"""From a clip to a capture folder, stage by stage.

    finding     decode once, find the face in every frame chosen
    cutting     decode again, cut the fixed square, matte the person
    filming     whether the camera moved, and its way if it did
    fitting     fit the head model to the whole clip: to landmarks, then to the pictures
    writing     background plate, the head's texture, pictures to check, report, capture folder

Each stage leaves its arrays in `stages/`; a rerun starts after the last one finished.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from avatar.base.conventions import OPEN_HEAD
from avatar.base.errors import AvatarError, InputError
from avatar.base.files import require_free_space, sha256_of_file, withdraw_claim
from avatar.base.folder_lock import claimed_folder
from avatar.base.limits import CAPTURE_SIZE, require_clip_part
from avatar.flame.assets import HeadAsset
from avatar.flame.library import open_head_model
from capture_tools.detect.checks import require_usable
from capture_tools.detect.selection import FrameSelection, choose_crop, select_frames
from capture_tools.detect.turning import chosen_rotation, require_rotate
from capture_tools.embed.embedding import ready_head
from capture_tools.stages.camera import CAMERA_CHOICES, camera_stage, without_lost_cameras
from capture_tools.stages.crops import crop_stage
from capture_tools.stages.export import write_stage
from capture_tools.stages.landmarks import find_clip, landmark_stage
from capture_tools.stages.store import Stages
from capture_tools.stages.tracking import lens_settings, tracking_stage, without_misfits

DEFAULT_FRAMES = 300
STAGE_VERSION = 4
"""Raised when a stage's arrays change meaning, so that an older folder is not continued."""


@dataclass(frozen=True)
class CaptureSettings:
    """How a clip becomes a capture."""

    size: int = 512
    """Pixels across the square images."""
    head_model: str = OPEN_HEAD
    """Name of a head model (avatar model list), or a FLAME file, which is imported."""
    start: float | None = None
    """Seconds into the clip from which frames are used."""
    end: float | None = None
    """Seconds into the clip up to which frames are used."""
    every: int | None = None
    """Use each n-th frame; by default as many as keep the capture within max_frames."""
    max_frames: int | None = None
    """Most frames to use, spread evenly; 300 by default."""
    shot: int | None = None
    """Which part of a clip that was cut, from 1; by default the one with most frames of a face."""
    camera: str = "auto"
    """"auto" looks whether the background moves; "static" and "moving" say so."""
    rotate: str | int = "auto"
    """Degrees (0, 90, 180, 270) by which the frames are turned clockwise; "auto" sets faces upright."""
    photometric: bool = True
    """Whether the head is fitted to the pictures after the landmarks."""


def capture(video: Path, out: Path, settings: CaptureSettings | None = None) -> Path:
    """Make a capture folder from a clip of one person; returns `out`.

    Goes on after the last finished stage where `out` holds an unfinished capture of the same clip and settings, and
    returns at once where it is finished.
    Raises InputError for a clip that cannot be used (unreadable, cut, no face, fewer than 20 usable
    frames, a still picture), HeadModelError for an unknown head model, OutputError where `out` holds something else, is
    being written by another command, or the disk is full. The `out` of a refused clip is removed again.
    """
    settings = settings or CaptureSettings()
    video, out = Path(video), Path(out)
    CAPTURE_SIZE.require("--size", settings.size, error=InputError)
    require_clip_part(settings.start, settings.end, settings.max_frames, settings.shot)
    if settings.camera not in CAMERA_CHOICES:
        raise InputError("--camera is unknown", expected=" or ".join(CAMERA_CHOICES), found=settings.camera)
    require_rotate(settings.rotate)
    asset = open_head_model(settings.head_model)
    settings = replace(settings, head_model=asset.name)
    limit = settings.max_frames or DEFAULT_FRAMES
    _, selection = select_frames(video, start=settings.start, end=settings.end, every=settings.every, max_frames=limit)
    with claimed_folder(out, "capture", _identity(video, asset, settings)) as fresh:
        return _capture(video, out, settings, asset, selection, fresh)


def _capture(
    video: Path, out: Path, settings: CaptureSettings, asset: HeadAsset, selection: FrameSelection, fresh: bool
) -> Path:
    """The stages, in a folder that was claimed for them."""
    stages = Stages(out)
    if (out / "transforms.json").exists():  # written last: nothing is left to do but to tidy up
        stages.remove()
        return out
    try:
        if fresh:
            require_free_space(out, _bytes_needed(selection.expected, settings.size))
        asset = ready_head(asset)
        selection = replace(selection, rotate=_rotation(video, selection, settings, stages))
        clip = find_clip(landmark_stage(video, selection, stages), video, settings.shot, selection)
        clip = replace(clip, rotate=selection.rotate, unasked=settings.rotate == "auto")
        crop = choose_crop(clip.pixels[clip.used], clip.width, clip.height, settings.size)
        crop_stage(video, selection, clip, crop, stages)
        filming = camera_stage(video, selection, clip, stages, settings.camera)
        lens = lens_settings(clip.focal_prior, filming.focal_prior(clip))
        tracker = lens if settings.photometric else replace(lens, photometric_steps=0)
        result = tracking_stage(clip, crop, asset, stages, tracker)
        clip, result, rows = without_misfits(clip, result)
        clip, result, rows, filming = without_lost_cameras(clip, result, rows, filming)
        require_usable(len(clip.timestamps), clip.reasons, video, len(clip.shots))
    except AvatarError as error:
        # What was finished is of no use for a clip that is refused; a full disk can be helped.
        if isinstance(error, InputError) or not stages.any_finished():
            stages.remove()
        withdraw_claim(out)
        raise
    write_stage(out, video, clip, crop, result, rows, filming, asset, stages, asdict(settings))
    stages.remove()
    return out


def _identity(video: Path, asset: HeadAsset, settings: CaptureSettings) -> dict[str, Any]:
    identity = {
        "video": sha256_of_file(video)[:16],
        "head_model": f"{asset.name} {asset.fingerprint[:12]}",
        "size": settings.size,
        "range": f"{settings.start or 0:g}-{'end' if settings.end is None else f'{settings.end:g}'}",
        "every": settings.every or 0,
        "max_frames": settings.max_frames or DEFAULT_FRAMES,
        "shot": settings.shot or 0,
        "camera": settings.camera,
        "photometric": settings.photometric,
        "stage_version": STAGE_VERSION,
    }
    # Folders from before there was a choice are continued.
    return identity | ({"rotate": settings.rotate} if settings.rotate != "auto" else {})


def _rotation(video: Path, selection: FrameSelection, settings: CaptureSettings, stages: Stages) -> int:
    """Degrees by which the frames are turned, the same after an interruption."""
    stored = stages.load("rotation")
    if stored is not None:
        return int(stored["rotate"])
    if stages.load("landmarks") is not None:  # of an older version, which never turned anything
        return 0
    rotate = chosen_rotation(video, selection, settings.rotate)
    stages.save("rotation", rotate=rotate)
    return rotate


def _bytes_needed(frames: int, size: int) -> int:
    """Crops and mattes raw, the same again as PNG, and room for videos."""
    return math.ceil(frames * size * size * 4 * 2.2) + 50 * 2**20
