"""From a clip to a capture folder, stage by stage.

    landmarks   the face in every frame looked at, of which some are chosen
    crops       the fixed square around head and shoulders, held steady, and the person's mask in it
    camera      whether the camera moved, and its trajectory if it did
    tracking    the head model fitted to the whole clip: to landmarks, then to the pictures
    export      the background, the head's texture, pictures to check, the report, the capture folder

Each stage is a module of `capture_tools.stages` and writes its arrays under its own name in the folder `stages/`. A
rerun resumes after the last finished stage.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from avatar.base.errors import AvatarError, InputError
from avatar.base.files import require_free_space, sha256_of_file, withdraw_claim
from avatar.base.folder_lock import claimed_folder
from avatar.flame.assets import HeadAsset
from avatar.flame.library import open_head_model
from capture_tools.detect.checks import require_usable
from capture_tools.detect.choosing import LOOKED_AT, choose_frames, only_frames
from capture_tools.detect.found_clip import find_clip
from capture_tools.detect.selection import FrameSelection, choose_crop, select_frames
from capture_tools.detect.tflite_models import require_networks
from capture_tools.detect.turning import chosen_rotation
from capture_tools.embed.embedding import ready_head
from capture_tools.report.texture import Completion
from capture_tools.settings import CaptureSettings
from capture_tools.stages.camera import camera_stage, without_lost_cameras
from capture_tools.stages.crops import crop_stage
from capture_tools.stages.export import write_stage
from capture_tools.stages.landmarks import landmark_stage
from capture_tools.stages.store import Stages
from capture_tools.stages.tracking import lens_settings, tracking_stage, without_misfits
from capture_tools.texture_space.prior import completion_of
from capture_tools.texture_space.space import space_identity

STAGE_VERSION = 5
"""Incremented when a stage's arrays change meaning, so that older folders are not resumed."""


def capture(video: Path, out: Path, settings: CaptureSettings | None = None) -> Path:
    """Make a capture folder from a clip of one person; returns `out`.

    Goes on after the last finished stage where `out` holds an unfinished capture of the same clip and settings, and
    returns at once where it is finished.
    Raises InputError for a clip that cannot be used (unreadable, cut, no face, fewer than 20 usable
    frames, a still picture), HeadModelError for an unknown head model, OutputError where `out` holds something else, is
    being written by another command, or the disk is full, MissingDependencyError where a network is not
    installed. The `out` of a refused clip is removed again.
    """
    settings = (settings or CaptureSettings()).check()
    video, out = Path(video), Path(out)
    require_networks()
    asset = open_head_model(settings.head_model)
    settings = replace(settings, size=settings.pixels, head_model=asset.name)
    completion = completion_of(settings.texture_space, asset)
    looked_at = LOOKED_AT * settings.most_frames
    _, selection = select_frames(video, start=settings.start, end=settings.end, max_frames=looked_at)
    with claimed_folder(out, "capture", _identity(video, asset, settings)) as fresh:
        return _capture(video, out, settings, asset, selection, fresh, completion)


def _capture(
    video: Path,
    out: Path,
    settings: CaptureSettings,
    asset: HeadAsset,
    selection: FrameSelection,
    fresh: bool,
    completion: Completion | None,
) -> Path:
    """Run the stages in a claimed folder."""
    stages = Stages(out)
    if (out / "transforms.json").exists():  # written last: only the cleanup is left
        stages.remove()
        return out
    try:
        if fresh:
            require_free_space(out, _bytes_needed(min(selection.expected, settings.most_frames), settings.pixels))
        asset = ready_head(asset)
        selection = replace(selection, rotate=_rotation(video, selection, settings, stages))
        seen = landmark_stage(video, selection, stages)
        kept = choose_frames(seen, settings.most_frames)
        selection = replace(selection, only=tuple(kept.tolist()), expected=len(kept))
        clip = find_clip(only_frames(seen, kept), video, settings.shot, selection)
        clip = replace(clip, rotate=selection.rotate, unasked=settings.rotate == "auto")
        crop = choose_crop(clip.pixels[clip.used], clip.width, clip.height, settings.pixels)
        clip = crop_stage(video, selection, clip, crop, stages, settings.camera)
        filming = camera_stage(video, selection, clip, stages, settings.camera)
        lens = lens_settings(clip.focal_prior, filming.focal_prior(clip))
        tracker = lens if settings.photometric else replace(lens, photometric_steps=0)
        result = tracking_stage(clip, crop, asset, stages, tracker)
        clip, result, rows = without_misfits(clip, result)
        clip, result, rows, filming = without_lost_cameras(clip, result, rows, filming)
        require_usable(len(clip.timestamps), clip.reasons, video, len(clip.shots))
    except AvatarError as error:
        # A refused clip needs no finished stages; a full disk can be freed and the capture resumed.
        if isinstance(error, InputError) or not stages.any_finished():
            stages.remove()
        withdraw_claim(out)
        raise
    write_stage(out, video, clip, crop, result, rows, filming, asset, stages, settings.for_report(), completion)
    stages.remove()
    return out


def _identity(video: Path, asset: HeadAsset, settings: CaptureSettings) -> dict[str, Any]:
    always = {
        "video": sha256_of_file(video)[:16],
        "head_model": f"{asset.name} {asset.fingerprint[:12]}",
        "size": settings.pixels,
        "range": settings.range,
        "every": 0,  # an option of earlier versions, whose folders are resumed
        "max_frames": settings.most_frames,
        "shot": settings.shot or 0,
        "camera": settings.camera,
        "photometric": settings.photometric,
        "stage_version": STAGE_VERSION,
    }
    textures = {} if settings.texture_space is None else {"texture_space": space_identity(settings.texture_space)}
    return always | settings.changed(*always, "start", "end", "texture_space") | textures


def _rotation(video: Path, selection: FrameSelection, settings: CaptureSettings, stages: Stages) -> int:
    """Degrees clockwise by which the frames are rotated, the same after an interruption."""
    stored = stages.load("rotation")
    if stored is not None:
        return int(stored["rotate"])
    if stages.load("landmarks") is not None:  # of an older version, which never rotated frames
        return 0
    rotate = chosen_rotation(video, selection, settings.rotate)
    stages.save("rotation", rotate=rotate)
    return rotate


def _bytes_needed(frames: int, size: int) -> int:
    """Disk space: raw crops and masks, the same as PNG, and videos."""
    return math.ceil(frames * size * size * 4 * 2.2) + 50 * 2**20
