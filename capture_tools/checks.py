"""What makes a clip usable, and what a user should be told about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avatar.data.landmark_sets import inter_ocular_distance
from avatar.errors import InputError
from capture_tools.background import BackgroundMotion
from capture_tools.report import TURNED_FAR, ranges, yaw_degrees
from capture_tools.track import TrackResult
from capture_tools.video import Crop

MINIMAL_FRAMES = 20
OTHER_FACE = 0.5
"""A second face of at least this share of the first one's size makes it unclear who is meant."""
OFTEN = 0.3
"""Share of the frames from which on a second face is no accident."""
MINIMAL_INSIDE = 0.9
MINIMAL_EYES = 12.0
"""Pixels between the outer eye corners below which landmarks mean little."""
GOOD_ERROR = 0.035
GOOD_EYES = 40.0
"""Pixels between the outer eye corners in the crop below which the avatar's face will be soft."""
ADVICE = "film one face, upright, well lit, at least a fifth of the picture high, for 10 to 60 seconds"


def refuse_two_people(pixels: np.ndarray, others: np.ndarray, video: Path) -> None:
    """Raise InputError where a second face of like size is seen in many frames.

    `pixels` `[N, 478, 2]` of the face followed, `others` `[N]` size of the largest other face over its own.
    """
    seen = np.isfinite(pixels).all(axis=(1, 2))
    if seen.any() and float((others[seen] >= OTHER_FACE).mean()) >= OFTEN:
        raise InputError(
            "the video shows two faces",
            where=video,
            expected="one person",
            found=f"a second face of like size in {int((others >= OTHER_FACE).sum())} of {len(others)} frames",
            fix="cut the video to a part, or crop it to a region, that shows one person only",
        )


def drop_reasons(pixels: np.ndarray) -> dict[int, str]:
    """Frames that cannot be used and why; `pixels` `[N, 478, 2]`, NaN where no face was found."""
    reasons: dict[int, str] = {}
    for index, frame in enumerate(pixels):
        if not np.isfinite(frame).all():
            reasons[index] = "no face was found"
        elif (eyes := float(inter_ocular_distance(frame))) < MINIMAL_EYES:
            reasons[index] = f"the face is too small ({eyes:.0f} pixels between the eyes)"
    return reasons


def require_usable(pixels: np.ndarray, reasons: dict[int, str], video: Path) -> None:
    """Raise InputError where no face, or fewer than 20 usable frames, were found."""
    usable = len(pixels) - len(reasons)
    if usable == 0:
        kinds = sorted(set(reasons.values()))
        raise InputError(
            "no face was found in the video",
            where=video,
            expected="one face",
            found=f"{len(pixels)} frames: {'; '.join(kinds[:3])}",
            fix=ADVICE,
        )
    if usable < MINIMAL_FRAMES:
        dropped = f", without those dropped: {ranges(list(reasons))}" if reasons else ""
        raise InputError(
            "the video has too few usable frames",
            where=video,
            expected=f"at least {MINIMAL_FRAMES} frames with a face",
            found=f"{usable}{dropped}",
            fix=f"give a longer clip, or use more of its frames (--every 1); {ADVICE}",
        )


def capture_warnings(
    pixels: np.ndarray,
    others: np.ndarray,
    reasons: dict[int, str],
    result: TrackResult,
    crop: Crop,
    motion: BackgroundMotion,
) -> list[str]:
    """What a user should know about a capture, in plain words; frame numbers are those of the frames looked at."""
    warnings = []
    used = np.array([i for i in range(len(pixels)) if i not in reasons])
    if reasons:
        kinds: dict[str, list[int]] = {}
        for index, reason in reasons.items():
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
    second = [int(i) for i in np.nonzero(others > 0)[0]]
    if second:
        warnings.append(f"a second face was seen and ignored in frames {ranges(second)}")
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
