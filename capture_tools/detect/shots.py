"""Shot detection: the continuous parts of a clip, from thumbnails of its frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

THUMBNAIL = 64
"""Side of the thumbnails, pixels."""
HISTOGRAM_BINS = (12, 4, 8)
"""Bins of hue, saturation and value."""
STRUCTURE = 0.80
"""Normalised cross-correlation above which two frames belong to one shot. Measured: 0.85 and more between neighbours,
0.69 in the fastest head rotation at a sixth of the frames."""
COLOUR = 0.15
"""Share of the pixels that change colour across a cut. Fast heads stay below 0.1; automatic exposure changes more, but
keeps the structure."""
SUDDEN = 3.0
"""Change of structure at a cut over the median change of the frames around it; a moving camera stays below."""
BLOCKS = 8
CHANGED_BLOCK = 12.0
"""Mean difference in grey levels, without the mean brightness, from which on a block has changed."""
CHANGED = 0.75
"""Share of changed blocks at a cut with a face on one side only: a person who enters or leaves changes fewer."""
AROUND = 3
"""Frames compared on each side; a flash lasts two at most."""


class Shot(NamedTuple):
    """A continuous part of a clip: frames `first` to `last`, inclusive."""

    first: int
    last: int


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]` to uint8 `[64, 64, 3]`, averaged."""
    import cv2

    return cv2.resize(rgb, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)


def colour_histogram(rgb: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]` to float32 `[384]`, which sums to 1."""
    import cv2

    small = cv2.resize(rgb, (160, 120), interpolation=cv2.INTER_AREA)
    ends = [0, 180, 0, 256, 0, 256]
    counts = cv2.calcHist([cv2.cvtColor(small, cv2.COLOR_RGB2HSV)], [0, 1, 2], None, list(HISTOGRAM_BINS), ends)
    return (counts.ravel() / counts.sum()).astype(np.float32)


def grey(thumbnails: np.ndarray) -> np.ndarray:
    """uint8 `[..., 3]` to float32 `[...]` (BT.601 luma)."""
    return thumbnails.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def find_shots(thumbnails: np.ndarray, histograms: np.ndarray, has_face: np.ndarray, black: np.ndarray) -> list[Shot]:
    """Split N frames into shots; one Shot where nothing was cut.

    `thumbnails` uint8 `[N, 64, 64, 3]`, `histograms` `[N, B]`, `has_face` and `black` bool `[N]`. A cut changes both
    structure and colours, abruptly and for longer than a flash. Black frames are skipped.
    """
    kept = np.nonzero(~black)[0]
    if len(kept) < 2:
        return [Shot(0, len(thumbnails) - 1)]
    pictures = grey(thumbnails[kept])
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    flat = centred.reshape(len(kept), -1)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    steps = 1 - (flat[:-1] * flat[1:]).sum(1)
    cuts = []
    for i in range(1, len(kept)):
        if steps[i - 1] < 1 - STRUCTURE:
            continue
        around = np.delete(steps[max(0, i - 1 - AROUND) : i + AROUND], min(i - 1, AROUND))
        if len(around) and steps[i - 1] < SUDDEN * np.median(around):
            continue
        before, after = range(max(0, i - AROUND), i), range(i, min(len(kept), i + AROUND))
        pairs = [(a, b) for a in before for b in after]
        other_colours = [np.abs(histograms[kept[a]] - histograms[kept[b]]).sum() / 2 > COLOUR for a, b in pairs]
        other_structure = [float(flat[a] @ flat[b]) < STRUCTURE for a, b in pairs]
        if not (all(other_colours) and all(other_structure)):
            continue
        both = has_face[kept[list(before)]].any() and has_face[kept[list(after)]].any()
        if both or _changed_share(centred[i - 1], centred[i]) > CHANGED:
            cuts.append(int(kept[i]))
    firsts = [0, *cuts]
    lasts = [cut - 1 for cut in cuts] + [len(thumbnails) - 1]
    return [Shot(first, last) for first, last in zip(firsts, lasts, strict=True)]


def _changed_share(a: np.ndarray, b: np.ndarray) -> float:
    side = THUMBNAIL // BLOCKS
    difference = np.abs(a - b).reshape(BLOCKS, side, BLOCKS, side).mean(axis=(1, 3))
    return float((difference > CHANGED_BLOCK).mean())
