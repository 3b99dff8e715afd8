"""The stage `export`: the background, pictures to check, the report, and the capture folder itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.errors import InputError
from avatar.base.progress import Progress
from avatar.data.capture import write_capture
from avatar.flame.assets import HeadAsset
from capture_tools.camera.background import BackgroundMotion, background_motion, median_background
from capture_tools.detect.found_clip import FoundClip
from capture_tools.detect.selection import Crop
from capture_tools.report.advice import capture_warnings
from capture_tools.report.contact_sheet import write_contact_sheet
from capture_tools.report.overlay import write_overlay
from capture_tools.report.painting import MeshPainter, crop_camera, read_skin
from capture_tools.report.scores import frame_scores, score_summary
from capture_tools.report.texture import FOLDER as APPEARANCE
from capture_tools.report.texture import Completion, write_appearance
from capture_tools.stages.camera import Filming, into_world
from capture_tools.stages.crops import steadied_pixels
from capture_tools.stages.landmarks import frames_looked_at
from capture_tools.stages.store import Stages
from capture_tools.track.clip_tracking import TrackResult


def write_stage(
    out: Path,
    video: Path,
    clip: FoundClip,
    crop: Crop,
    result: TrackResult,
    rows: np.ndarray,
    filming: Filming,
    asset: HeadAsset,
    stages: Stages,
    settings: Mapping[str, Any],
    completion: Completion | None = None,
) -> None:
    """Write the finished capture.

    `rows` `[K]`: the crops and masks that belong to the frames used. completion: completes the head's texture.
    """
    used, images, masks = clip.used, _kept(stages, "images", rows), _kept(stages, "masks", rows)
    camera = crop_camera(result.camera, crop)
    cameras, params = camera, result.params
    if filming.path is not None:
        try:
            cameras, params = into_world(filming.path.world_from_cam, camera, result.params, asset)
        except InputError as error:
            filming = Filming(None, f"the camera moves, but is taken as fixed: {error.what}")
    detected = crop.to_crop(clip.pixels[used])
    inside = ((detected >= 0) & (detected <= crop.size)).all(-1)
    with stages.timed("background"):
        if filming.path is None:
            background, motion = median_background(images, masks), background_motion(images, masks)
        else:  # a moving camera has no background picture
            background, motion = None, BackgroundMotion(None, None)
    with stages.timed("texture"):
        assert result.light is not None  # the tracking stage gives the pictures
        known = (out, asset, result.params, camera, images, masks, result.light)
        appearance = write_appearance(*known, completion=completion)
    # The fixed camera of the tracking shows the same heads as the moving ones.
    with stages.timed("pictures"):
        painter = MeshPainter(asset, read_skin(out / APPEARANCE))
        with Progress("overlay", len(used)) as bar:
            projected = crop.to_crop(result.projected)
            seen = write_overlay(
                *(out / "report" / "overlay.mp4", painter, images, masks, result.params, camera, detected, projected),
                numbers=used,
                fps=clip.fps,
                progress=bar.update,
            )
        times = clip.timestamps[used]
        frames = frame_scores(used, times, result, crop.scale, clip.pixels[used], images, detected, seen)
        sheet = out / "report" / "contact_sheet.png"
        shown = np.full_like(images[0], 127) if background is None else background.image
        write_contact_sheet(sheet, painter, images, masks, shown, result.params, camera, detected, frames)
    report: dict[str, Any] = {
        "frames_looked_at": frames_looked_at(stages),
        "frames_read": len(clip.timestamps),
        "frames_used": len(used),
        "frames_dropped": [{"frame": i, "reason": reason} for i, reason in sorted(clip.reasons.items())],
        "landmark_error_px": result.landmark_error_px * crop.scale,
        "landmark_error_iod": result.landmark_error_iod,
        "seconds_per_stage": stages.seconds(),
        "camera_mode": filming.mode,
        "focal_px": camera.fl_x,
        "warnings": ([filming.note] if filming.note else [])
        + capture_warnings(clip, result, crop, motion, frames, images, masks),
        "focal_source": _focal_source(clip, filming),
        "focal_35mm": clip.focal_35mm,
        "appearance": appearance,
        "shots": clip.shot_entries(),
        "shot": clip.shot + 1,
        "background_motion_px": motion.pixels,
        "steadied_px": steadied_pixels(stages) * crop.scale,
        "background_seen_share": None if background is None else float(background.seen.mean()),
        "structure_from_motion": filming.figures(),
        "video": {"name": video.name, "width": clip.width, "height": clip.height, "fps": clip.fps}
        | {"rotate": clip.rotate},
        "crop": {"x0": crop.x0, "y0": crop.y0, "side": crop.side},
        "settings": dict(settings),
        "scores": score_summary(frames),
        "frames": frames,
    }
    write_capture(
        out,
        images=iter(images),
        masks=iter(masks),
        cameras=cameras,
        params=params,
        asset=asset,
        fps=clip.fps,
        timestamps=[float(t) for t in times],
        landmarks=detected,
        visible=result.facing & inside & ~clip.occluded[used],
        background=None if background is None else background.image,
        report=report,
        camera_mode=filming.mode,
    )


def _focal_source(clip: FoundClip, filming: Filming) -> str:
    if filming.path is not None:
        return "structure from motion on the background"
    return "the clip's metadata" if clip.focal_35mm else "estimated from the landmarks, with a prior"


def _kept(stages: Stages, name: str, rows: np.ndarray) -> np.ndarray:
    """The chosen rows of an array on disk, as an array on disk."""
    array = stages.open_array(name)
    if len(rows) == len(array):
        return array
    kept = stages.open_array(f"{name}_kept", (len(rows), *array.shape[1:]))
    for index, row in enumerate(rows):
        kept[index] = array[row]
    return kept
