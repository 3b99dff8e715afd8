"""What a user should be told about a finished capture, in plain words."""

from __future__ import annotations

import numpy as np

from avatar.data.landmark_sets import inter_ocular_distance
from capture_tools.background import BackgroundMotion
from capture_tools.finding import FoundClip
from capture_tools.hands import hides_mouth
from capture_tools.report import TURNED_FAR, ranges, yaw_degrees
from capture_tools.track import TrackResult
from capture_tools.video import Crop

MINIMAL_INSIDE = 0.9
GOOD_ERROR = 0.035
GOOD_EYES = 40.0
"""Pixels between the outer eye corners in the crop below which the avatar's face will be soft."""


def capture_warnings(clip: FoundClip, result: TrackResult, crop: Crop, motion: BackgroundMotion) -> list[str]:
    """What a user should know about a capture, in plain words; frame numbers are those of the frames looked at.

    `result` holds the frames used, in their order.
    """
    warnings = []
    used, pixels = clip.used, clip.pixels
    if len(clip.shots) > 1:
        shot = clip.shots[clip.shot]
        begin, end = clip.timestamps[shot.first], clip.timestamps[shot.last]
        warnings.append(
            f"the video was cut: of its {len(clip.shots)} shots, shot {clip.shot + 1} is used "
            f"({begin:.2f} to {end:.2f} s); --shot N takes another, --start and --end more of its frames"
        )
    kinds: dict[str, list[int]] = {}
    for index, reason in clip.reasons.items():
        kinds.setdefault(reason.split(" (")[0], []).append(index)
    warnings += [f"{len(held)} frames were left out, {kind}: {ranges(held)}" for kind, held in kinds.items()]
    if motion.moves:
        warnings.append(
            f"the background moves by up to {motion.pixels:.1f} pixels ({motion.share:.1%} of the picture): only fixed "
            "cameras are supported so far, so the background will be blurred; put the phone on a stand"
        )
    if result.landmark_error_iod > GOOD_ERROR:
        warnings.append(
            f"the head model fits the landmarks to {result.landmark_error_iod:.1%} of the eye distance only "
            f"(up to {GOOD_ERROR:.1%} is good): look at report/overlay.mp4"
        )
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
    inside = ((outside >= 0) & (outside <= crop.size)).all(-1).mean(-1)
    cut = [int(i) for i in used[inside < MINIMAL_INSIDE]]
    if cut:
        warnings.append(f"the face reaches out of the picture in frames {ranges(cut)}")
    return warnings
