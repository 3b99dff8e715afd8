"""Checks of a clip: refusals, and reasons why frames are left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from avatar.base.errors import InputError
from avatar.base.limits import FEWEST_FRAMES
from avatar.flame.landmark_sets import inter_ocular_distance
from capture_tools.detect.landmark_detector import MINIMAL_INSIDE
from capture_tools.detect.picture_quality import inside_face
from capture_tools.detect.sharpness import BLURRED
from capture_tools.detect.shots import grey

MINIMAL_EYES = 12.0
"""Pixels between the outer eye corners below which landmarks are unreliable."""
BLACK_MEAN, BLACK_BRIGHTEST = 12.0, 40.0
"""Mean and maximal grey level of a thumbnail below which a frame is black."""
STILL = 4.0
"""Grey levels by which some pixel of the thumbnails must change: 50 and more in films of a face, less in an encoded
photo."""
OTHER_SHOT = "it belongs to another shot"
NO_FACE = "no face was found"
CUT = "the face is cut by the picture's edge"
STEP_BACK = (
    "film from farther away, or point the camera at the face, so that there is room on every side of the head; where "
    "the video was cropped, give the whole one"
)
EMPTY = 0.1
"""Share of a face that the person's mask covers below which it is empty there: 0.84 and more in every frame of sixteen
recordings, also dark, blown out, blurred or with an eighth of their contrast; 0 with a tenth of it."""
MOSTLY_EMPTY = 0.9
"""Share of the frames with such a mask from which on a clip is refused."""
ADVICE = "film one face, upright, well lit, at least a fifth of the picture high, for 10 to 60 seconds"


def is_black(thumbnails: np.ndarray) -> np.ndarray:
    """Which frames are black: thumbnails uint8 `[N, 64, 64, 3]` to bool `[N]`."""
    levels = grey(thumbnails)
    return (levels.mean(axis=(1, 2)) < BLACK_MEAN) & (levels.max(axis=(1, 2)) < BLACK_BRIGHTEST)


def refuse_still(thumbnails: np.ndarray, video: Path) -> None:
    """Raise InputError where all N thumbnails, uint8 `[N, 64, 64, 3]`, are one picture up to noise."""
    levels = grey(thumbnails)
    if float(np.abs(levels - np.median(levels, axis=0)).max()) < STILL:
        raise InputError(
            "the video is a still picture",
            where=video,
            expected="a person who moves",
            found=f"{len(levels)} frames that show the same",
            fix=f"{ADVICE}; for a photo there is: avatar capture --image PHOTO --out CAPTURE",
        )


def cut_reason(inside: float) -> str:
    """The reason for a face of whose landmarks only the share `inside` lies in the picture."""
    return f"{CUT} ({inside:.0%} inside)"


def drop_reasons(pixels: np.ndarray, *, sharp: np.ndarray, black: np.ndarray, inside: np.ndarray) -> dict[int, str]:
    """Frames that cannot be used, with the reason.

    `pixels` `[N, 478, 2]`, NaN where no face was found; `sharp` `[N]` detail over the clip's median; `black` bool
    `[N]`; `inside` `[N]` the share of the face's landmarks that lie in the picture, 0 where none was seen.
    """
    reasons: dict[int, str] = {}
    for index, frame in enumerate(pixels):
        if black[index]:
            reasons[index] = "the picture is black"
        elif not np.isfinite(frame).all():
            reasons[index] = cut_reason(inside[index]) if 0 < inside[index] < MINIMAL_INSIDE else NO_FACE
        elif inside[index] < MINIMAL_INSIDE:
            reasons[index] = cut_reason(inside[index])
        elif (eyes := float(inter_ocular_distance(frame))) < MINIMAL_EYES:
            reasons[index] = f"the face is too small ({eyes:.0f} pixels between the eyes)"
        elif sharp[index] < BLURRED:
            reasons[index] = f"the face is blurred ({max(sharp[index], 0):.0%} of the detail usual in this clip)"
    return reasons


def require_usable(count: int, reasons: dict[int, str], video: Path, shots: int = 1) -> None:
    """Raise InputError where no face, or fewer than 20 usable frames, were found among `count` frames."""
    own = {index: reason for index, reason in reasons.items() if reason != OTHER_SHOT}
    usable = count - len(reasons)
    if usable >= FEWEST_FRAMES:
        return
    kinds = _kinds(own)
    cut = bool(kinds) and kinds[0].startswith(CUT)
    place, advice = "video" if shots == 1 else "shot", STEP_BACK if cut else ADVICE
    whole = f", at least {MINIMAL_INSIDE:.0%} of it in the picture" if cut else ""
    if usable == 0:
        raise InputError(
            f"{CUT} in the whole {place}" if cut else f"no face was found in the {place}",
            where=video,
            expected=f"one face{whole}",
            found=f"{len(own)} frames: {'; '.join(kinds[:3])}",
            fix=advice if shots == 1 else f"choose another of its {shots} shots (--shot N), or {advice}",
        )
    dropped = f", without those dropped: {ranges(list(own))} ({'; '.join(kinds[:3])})" if own else ""
    within = f" in the shot used, one of {shots} that the video was cut from" if shots > 1 else ""
    longer = "give a longer clip, or use more of its frames (--max-frames, --start, --end)"
    raise InputError(
        f"{CUT} in too much of the {place}" if cut else "the video has too few usable frames",
        where=video,
        expected=f"at least {FEWEST_FRAMES} frames with a face{whole}",
        found=f"{usable}{within}{dropped}",
        fix=advice if cut else f"{longer}; {advice}",
    )


def empty_masks(masks: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """In which pictures the person's mask is empty on the face, bool `[N]`; those without a face in them count as not.

    masks: uint8 `[N, H, W]`, 255 = person. faces: `[N, 478, 2]` landmarks in their pixels.
    """
    covered = []
    for mask, face in zip(masks, faces, strict=True):
        outline = inside_face(mask.shape, face)
        covered.append(float((mask[outline] > 127).mean()) if outline.any() else 1.0)
    return np.array(covered) < EMPTY


def require_person(masks: np.ndarray, faces: np.ndarray, where: Path) -> None:
    """Raise InputError where the person's mask is empty on the face in nearly all pictures.

    masks, faces: as of `empty_masks`, which tells of the others.
    """
    empty = int(empty_masks(masks, faces).sum())
    if empty < MOSTLY_EMPTY * len(masks):
        return
    raise InputError(
        "the person cannot be told from the background",
        where=where,
        expected="a mask of the person that covers the face",
        found="an empty one" if len(masks) == 1 else f"an empty one in {empty} of {len(masks)} frames",
        fix="the picture has too little contrast: film without haze or filters, in even light from the front, before a "
        "background that is darker or lighter than the face and the hair; or raise the contrast in an editor",
    )


def _kinds(reasons: dict[int, str]) -> list[str]:
    """The distinct reasons, most frequent first, each as worded for a middle frame."""
    counts = Counter(reason.split(" (")[0] for reason in reasons.values())
    held = {kind: sorted(r for r in reasons.values() if r.split(" (")[0] == kind) for kind in counts}
    return [held[kind][len(held[kind]) // 2] for kind, _ in counts.most_common()]


def frames_by_reason(reasons: dict[int, str], fate: str = "left out") -> list[str]:
    """A warning for each kind of reason, with its frames; `fate`: what was done with them."""
    kinds: dict[str, list[int]] = {}
    for index, reason in reasons.items():
        kinds.setdefault(reason.split(" (")[0], []).append(index)
    return [f"{len(held)} frames were {fate}, {kind}: {ranges(held)}" for kind, held in kinds.items()]


def ranges(indices: list[int]) -> str:
    """Frame numbers in words: `3, 7-9, 12`."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and index == parts[-1][-1] + 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
