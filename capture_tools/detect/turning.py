"""The orientation of a clip whose file does not state it, from its faces.

MediaPipe's landmarks do not tell: they follow a face on its side and fit an upright one to a face upside down. Its
detector does (Bazarevsky et al., "BlazeFace", 2019), because it was trained on upright faces. The median score of a
clip is 0.90 to 0.96 for upright faces, 0.76 to 0.89 rotated by 90 degrees and 0.61 to 0.82 upside down (sixteen
recordings, five synthetic clips). Of all of them in four orientations, also darkened, brightened, flattened and
blurred, none was rotated wrongly; one blurred clip and one with heads tilted by 40 degrees were left as they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from avatar.base.limits import require_rotate
from avatar.media.video import turned
from capture_tools.detect.box_detector import BoxDetector, face_detector
from capture_tools.detect.observing import averaged_down
from capture_tools.detect.selection import FrameSelection

QUARTERS = (0, 90, 180, 270)
SEARCHED = 640
"""Pixels of the longer side: the network sees 128."""
LOOKED_AT = 24
"""Frames examined, evenly spread."""
UPRIGHT_ENOUGH = 4
"""Upright faces at the beginning, without another orientation, after which the rest is skipped."""
SURE = 0.5
"""Score from which on a detection is a face."""
SURER = 0.03
"""Margin by which the median score of the rotated frames must exceed that of the frames as they are, unless the face
lies on its side in these."""
LYING = 60.0
"""Roll in degrees from which on a face lies on its side: then the detector's eyes lean by 33 to 97; heads, by 45."""
STEADY = 0.8
"""Share of the frames that must agree."""
TILTED = 30.0
"""Largest median roll, degrees, of the heads after rotation; frames between two orientations are left as they are."""


def turned_note(rotate: int, what: str = "video") -> list[str]:
    """The warning about frames rotated automatically: a list of at most one sentence."""
    if not rotate:
        return []
    lies = "stands on its head" if rotate == 180 else "lies on its side"
    return [
        f"the {what} {lies} and its file does not say so: turned by {rotate} degrees clockwise, since the face lay so; "
        "--rotate 0 leaves it as it is"
    ]


def chosen_rotation(video: Path, selection: FrameSelection, rotate: str | int = "auto") -> int:
    """Degrees clockwise by which the frames of a clip must be rotated; `rotate` is one of `conventions.Rotate`.

    Reads a few frames where it is "auto". Raises InputError for another value, or a bad file.
    """
    require_rotate(rotate)
    if rotate != "auto":
        return int(rotate)
    stride = max(1, selection.expected // LOOKED_AT)
    return upright_rotation(image for _, image in replace(selection, every=selection.every * stride).read(video))


def upright_rotation(images: Iterable[np.ndarray], enough: int = UPRIGHT_ENOUGH) -> int:
    """Degrees clockwise (0, 90, 180, 270) by which uint8 `[H, W, 3]` images must be rotated to set their faces upright.

    0 where there is no face, and where the faces do not agree. Stops after `enough` upright faces at the beginning.
    """
    scores, leans = [], []
    detector = face_detector()
    for image in images:
        small = averaged_down(image, max(1.0, max(image.shape[:2]) / SEARCHED))
        found = [_best_face(detector, turned(small, degrees)) for degrees in QUARTERS]
        if max(score for score, _ in found) < SURE:
            continue
        scores.append([score for score, _ in found])
        leans.append([lean for _, lean in found])
        if len(scores) == enough and not np.argmax(scores, axis=1).any():
            return 0
    if not scores:
        return 0
    table = np.array(scores)
    middle = np.median(table, axis=0)
    best = int(middle.argmax())
    agree = float((table.argmax(axis=1) == best).mean())
    if agree < STEADY:
        return 0
    as_it_is, upright = (_median_roll(np.array(leans)[:, k]) for k in (0, best))
    sure = middle[best] - middle[0] >= SURER or as_it_is >= LYING
    return QUARTERS[best] if sure and upright <= TILTED else 0


def _median_roll(rolls: np.ndarray) -> float:
    """Median of the absolute rolls `[N]` in degrees, NaN entries left out; 0 where there is none."""
    known = rolls[np.isfinite(rolls)]
    return float(np.median(np.abs(known))) if len(known) else 0.0


def _best_face(detector: BoxDetector, rgb: np.ndarray) -> tuple[float, float]:
    """Score and roll (degrees) of the best face in uint8 `[H, W, 3]`; (0, NaN) without one."""
    found = detector.detect(np.ascontiguousarray(rgb), SURE)
    if not found:
        return 0.0, np.nan
    right, left = found[0].points[:2] * rgb.shape[1::-1]
    return float(found[0].score), float(np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0])))
