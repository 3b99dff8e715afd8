"""Warnings about a finished capture, for the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from avatar.flame.landmark_sets import inter_ocular_distance, lid_distance, lip_distance
from capture_tools.camera.background import BackgroundMotion
from capture_tools.detect.checks import empty_masks, frames_by_reason, ranges
from capture_tools.detect.found_clip import FoundClip
from capture_tools.detect.hands import hides_mouth
from capture_tools.detect.picture_quality import picture_warnings
from capture_tools.detect.selection import Crop
from capture_tools.detect.turning import turned_note
from capture_tools.report.scores import yaw_degrees
from capture_tools.track.clip_tracking import TrackResult

MINIMAL_IN_CROP = 0.9
GOOD_ERROR = 0.035
GOOD_EYES = 40.0
"""Pixels between the outer eye corners in the crop below which the avatar's face will be soft."""
TURNED_FAR = 60
"""Degrees of yaw from which on half of the landmarks are hidden."""
TURNED_LITTLE = 12
"""Range of yaw, degrees, below which views from the side are extrapolated. Speech to the camera reaches 18."""
LIPS_APART = 0.08
"""Lip distance over the eye distance below which the mouth never opens; speech reaches 0.17 and more."""
LIDS_CLOSED = 0.5
"""Lid opening over the clip's median below which an eye is closed; blinks reach 0.2."""
BAD_LANDMARKS = 0.05
"""Landmark distance over the eye distance from which on a frame fits badly."""
BAD_DIFFERENCE, BAD_DIFFERENCE_TIMES = 15.0, 2.0
"""Mean difference of frame and rendered head, grey levels and over the clip's median, from which on a fit is bad."""
LIGHT_CHANGE = 0.3
"""Relative deviation of a face's brightness from the clip's median that counts as a change of light. A webcam's
automatic exposure reaches 0.24."""


def capture_warnings(
    clip: FoundClip,
    result: TrackResult,
    crop: Crop,
    motion: BackgroundMotion,
    scores: Sequence[dict[str, Any]],
    images: np.ndarray,
    masks: np.ndarray,
) -> list[str]:
    """Warnings about a capture, for the user; frame numbers count the frames selected.

    `result` holds the K frames used; `scores` are their `frame_scores`, `images` uint8 `[K, S, S, 3]` their crops
    and `masks` uint8 `[K, S, S]` the person in them.
    """
    used, pixels = clip.used, clip.pixels
    warnings = turned_note(clip.rotate if clip.unasked else 0)
    warnings += picture_warnings(images, crop.to_crop(pixels[used]), clip.details[used], np.ptp(pixels[used, :, 0], 1))
    if len(clip.shots) > 1:
        shot = clip.shots[clip.shot]
        begin, end = clip.timestamps[shot.first], clip.timestamps[shot.last]
        warnings.append(
            f"the video was cut: of its {len(clip.shots)} shots, shot {clip.shot + 1} is used "
            f"({begin:.2f} to {end:.2f} s); --shot N takes another, --start and --end more of its frames"
        )
    warnings += frames_by_reason(clip.reasons)
    if motion.moves:
        warnings.append(
            f"the background moves by up to {motion.pixels:.1f} pixels ({motion.share:.1%} of the picture): the camera "
            "is taken as still, so the background will be blurred; put the phone on a stand, or say --camera moving "
            "where it was carried around"
        )
    if result.landmark_error_iod > GOOD_ERROR:
        warnings.append(
            f"the head model fits the landmarks to {result.landmark_error_iod:.1%} of the eye distance only "
            f"(up to {GOOD_ERROR:.1%} is good): look at report/overlay.mp4"
        )
    warnings += _misfit_frames(scores)
    shot = clip.shots[clip.shot]
    second = [int(i) for i in np.nonzero(clip.others > 0)[0] if shot.first <= i <= shot.last]
    if second:
        warnings.append(
            f"another face was seen in frames {ranges(second)}: the one that is larger over the whole video was "
            "followed; film one person alone where you can"
        )
    hidden = [int(i) for i in used[hides_mouth(clip.occluded[used])]]
    if hidden:
        warnings.append(
            f"a hand covers the mouth in frames {ranges(hidden)}: cut them off (--start, --end), or film again without"
        )
    yaw = np.abs(yaw_degrees(result.params.rotation.numpy()))
    far = [int(i) for i in used[yaw > TURNED_FAR]]
    if far:
        warnings.append(f"the face turns past {TURNED_FAR} degrees in frames {ranges(far)}: landmarks are unsure there")
    warnings += _light_changes(scores) + _never_seen(clip, result)
    eyes = float(np.median(inter_ocular_distance(pixels[used]))) * crop.scale
    if eyes < GOOD_EYES:
        warnings.append(
            f"the face is small: {eyes:.0f} pixels between the eyes in the images; come closer, or use a larger --size"
        )
    if crop.side < crop.size:
        warnings.append(
            f"the images were enlarged from {crop.side} to {crop.size} pixels: a smaller --size loses nothing"
        )
    outside = crop.to_crop(pixels[used])
    blank = [int(i) for i in used[empty_masks(masks, outside)]]
    if blank:
        warnings.append(
            f"the person cannot be told from the background in frames {ranges(blank)}: the avatar learns there that "
            "nobody is seen; cut them off (--start, --end), or film again in even light, before a background that is "
            "darker or lighter than face and hair"
        )
    inside = ((outside >= 0) & (outside <= crop.size)).all(-1).mean(-1)
    cut = [int(i) for i in used[inside < MINIMAL_IN_CROP]]
    if cut:
        warnings.append(f"the face reaches out of the picture in frames {ranges(cut)}")
    return warnings


def _misfit_frames(scores: Sequence[dict[str, Any]]) -> list[str]:
    differences = np.array([_number(frame.get("photometric_error")) for frame in scores])
    usual = float(np.nanmedian(differences)) if np.isfinite(differences).any() else np.inf
    with np.errstate(invalid="ignore"):
        bad = (differences > BAD_DIFFERENCE) & (differences > BAD_DIFFERENCE_TIMES * usual)
    bad |= np.array([_number(frame.get("landmark_error_iod")) for frame in scores]) > BAD_LANDMARKS
    frames = [frame["frame"] for frame, is_bad in zip(scores, bad, strict=True) if is_bad]
    if not frames:
        return []
    return [f"the head fits the picture badly in frames {ranges(frames)}: look at them in report/overlay.mp4"]


def _light_changes(scores: Sequence[dict[str, Any]]) -> list[str]:
    exposures = np.array([_number(frame.get("exposure")) for frame in scores])
    if not np.isfinite(exposures).any():
        return []
    with np.errstate(invalid="ignore"):
        changed = np.abs(exposures / np.nanmedian(exposures) - 1) > LIGHT_CHANGE
    frames = [frame["frame"] for frame, is_changed in zip(scores, changed, strict=True) if is_changed]
    if not frames:
        return []
    return [f"the light on the face changes in frames {ranges(frames)}: film in even light, with the exposure locked"]


def _never_seen(clip: FoundClip, result: TrackResult) -> list[str]:
    """Warnings about views and expressions that the clip does not show."""
    warnings = []
    yaw = yaw_degrees(result.params.rotation.numpy())
    if np.ptp(yaw) < TURNED_LITTLE:
        warnings.append(
            f"the person hardly turns the head (yaw {yaw.min():.0f} to {yaw.max():.0f} degrees): views from the side "
            "will be guesses"
        )
    faces = clip.pixels[clip.used]
    if lip_distance(faces).max() < LIPS_APART:
        warnings.append("the mouth never opens in this clip: the avatar cannot know how it looks inside")
    opening = lid_distance(faces)
    if opening.min() > LIDS_CLOSED * np.median(opening):
        warnings.append("the eyes never close in this clip: the avatar cannot know how the closed lids look")
    return warnings


def _number(value: float | None) -> float:
    return np.nan if value is None else value
