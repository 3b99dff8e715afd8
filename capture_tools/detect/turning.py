"""Which way up a clip was filmed, where its file does not say: faces tell.

MediaPipe's landmarks follow a face to its side, and find an upright face in one that stands on its head, so the mesh
does not tell. Its detector does (Bazarevsky et al., "BlazeFace", 2019): it was trained on upright faces and is surer of
them. The median score of a clip is 0.90 to 0.96 where faces are upright, 0.76 to 0.89 turned by a quarter, and 0.61 to
0.82 upside down (sixteen recordings, five synthetic clips). Each of them in four turns, also darkened, brightened,
flattened and blurred: none was turned wrongly. One of the blurred ones was left as it lay, and so was the one in which
heads lean by 40 degrees.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from avatar.base.errors import InputError
from avatar.media.video import turned
from capture_tools.detect.box_detector import BoxDetector, face_detector
from capture_tools.detect.observing import averaged_down
from capture_tools.detect.selection import FrameSelection

ROTATE_CHOICES = ("auto", 0, 90, 180, 270)
QUARTERS = (0, 90, 180, 270)
SEARCHED = 640
"""Pixels of the longer side: the network sees 128."""
LOOKED_AT = 24
"""Frames of a clip that are looked at, evenly spread."""
UPRIGHT_ENOUGH = 4
"""So many upright faces at the beginning, and no other, are believed without a look at the rest."""
SURE = 0.5
"""Score from which on something is a face."""
SURER = 0.03
"""How much surer the detector must be of the turned frames, in the middle of all."""
STEADY = 0.8
"""Share of the frames that must agree."""
TILTED = 30.0
"""Degrees by which a head in the turned frames may lean at most: heads that lie in between are left as they are."""


def require_rotate(rotate: str | int) -> None:
    """Raise InputError unless `rotate` is one of ROTATE_CHOICES."""
    if rotate not in ROTATE_CHOICES:
        raise InputError("--rotate is unknown", expected="auto or 0, 90, 180, 270 degrees clockwise", found=rotate)


def turned_note(rotate: int, what: str = "video") -> list[str]:
    """What a user should know about frames that were turned without being told to: at most one sentence."""
    if not rotate:
        return []
    lies = "stands on its head" if rotate == 180 else "lies on its side"
    return [
        f"the {what} {lies} and its file does not say so: turned by {rotate} degrees clockwise, since the face lay so; "
        "--rotate 0 leaves it as it is"
    ]


def chosen_rotation(video: Path, selection: FrameSelection, rotate: str | int = "auto") -> int:
    """Degrees by which the frames of a clip must be turned clockwise; `rotate` is one of ROTATE_CHOICES.

    Reads a few frames where it is "auto". Raises InputError for another value, or a bad file.
    """
    require_rotate(rotate)
    if rotate != "auto":
        return int(rotate)
    stride = max(1, selection.expected // LOOKED_AT)
    return upright_rotation(image for _, image in replace(selection, every=selection.every * stride).read(video))


def upright_rotation(images: Iterable[np.ndarray], enough: int = UPRIGHT_ENOUGH) -> int:
    """Degrees (0, 90, 180, 270) by which uint8 `[H, W, 3]` images must be turned clockwise to set their faces upright.

    0 where there is no face, and where the faces do not agree. Stops after `enough` upright faces at the beginning.
    """
    scores, leans = [], []
    detector = face_detector()
    for image in images:
        small = averaged_down(image, max(1.0, max(image.shape[:2]) / SEARCHED))
        found = [_surest(detector, turned(small, degrees)) for degrees in QUARTERS]
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
    if middle[best] - middle[0] < SURER or agree < STEADY:
        return 0
    return QUARTERS[best] if np.nanmedian(np.abs(np.array(leans)[:, best])) <= TILTED else 0


def _surest(detector: BoxDetector, rgb: np.ndarray) -> tuple[float, float]:
    """Score of the surest face in uint8 `[H, W, 3]` and how far it leans, degrees; (0, NaN) without one."""
    found = detector.detect(np.ascontiguousarray(rgb), SURE)
    if not found:
        return 0.0, np.nan
    right, left = found[0].points[:2] * rgb.shape[1::-1]
    return float(found[0].score), float(np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0])))
