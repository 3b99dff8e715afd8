"""A camera that stood still, was knocked, and stood still again: the frames before one and the same background."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np

from capture_tools.camera.background import background_corners, free_of_person, track_corners

PROBES = 48
"""Frames between which the background is compared first."""
STILL = 0.01
"""Displacement over the picture's longer side below which the background stands still from frame to frame."""
JUMPED = 0.02
"""Displacement between neighbouring frames from which on the camera jumped; a hand that carries it moves less."""


def longest_still_part(images: np.ndarray, masks: np.ndarray) -> np.ndarray | None:
    """The rows `[K]` bool before the background that is seen longest, where the camera jumps between still places.

    `images` uint8 `[K, S, S, 3]`, `masks` uint8 `[K, S, S]`. Parts whose backgrounds lie in the same place belong
    together: a camera that is knocked and comes back. None where the camera does not jump, or moves otherwise as well.
    """
    clip = _Clip(images, masks)
    probes = np.unique(np.linspace(0, len(masks) - 1, PROBES).round().astype(int)).tolist()
    moves = [clip.displacement(a, b) for a, b in pairwise(probes)]
    jumps = [k for k, move in enumerate(moves) if move is not None and move >= JUMPED]
    calm = [move for move in moves if move is not None and move < JUMPED]
    # A jump stands alone. Where one step in eight is as long, or the others are not still, the camera is carried.
    if not jumps or len(jumps) > len(probes) / 8 or len(calm) < len(moves) / 2 or np.quantile(calm, 0.9) > STILL:
        return None
    firsts = [0, *(clip.first_after_jump(probes[k], probes[k + 1]) for k in jumps)]
    parts = [range(a, b) for a, b in pairwise([*firsts, len(masks)])]
    groups: list[list[range]] = []
    for part in parts:
        for group in groups:
            move = clip.displacement(group[0][len(group[0]) // 2], part[len(part) // 2])
            if move is not None and move < STILL:
                group.append(part)
                break
        else:
            groups.append([part])
    if len(groups) == 1:
        return None
    longest = max(groups, key=lambda group: sum(len(part) for part in group))
    kept = np.zeros(len(masks), bool)
    for part in longest:
        kept[part.start : part.stop] = True
    return kept


class _Clip:
    """Pictures between which corners of the background are tracked."""

    def __init__(self, images: np.ndarray, masks: np.ndarray) -> None:
        self.images, self.masks = images, masks
        self.corners = lru_cache(maxsize=2)(self._corners)  # a frame is the end of one step and the start of the next

    def _corners(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The grey picture, what of it is free of the person, and corners there."""
        import cv2

        grey, free = cv2.cvtColor(self.images[row], cv2.COLOR_RGB2GRAY), free_of_person(self.masks[row])
        return grey, free, background_corners(grey, free)

    def displacement(self, first: int, second: int) -> float | None:
        """Median displacement of the background over the picture's longer side: infinite where both frames show
        corners of which none is found again, None where one shows too few."""
        grey, _, corners = self.corners(first)
        other, free, found = self.corners(second)
        if corners is None or found is None:
            return None
        pair = track_corners(grey, other, corners, free)
        if pair is None:
            return np.inf
        return float(np.linalg.norm(np.median(pair[1] - pair[0], axis=0)) / max(free.shape))

    def first_after_jump(self, first: int, second: int) -> int:
        """The first row after `first` from which the background is no longer where it was, at most `second`."""
        for row in range(first + 1, second):
            move = self.displacement(first, row)
            if move is not None and move >= JUMPED:
                return row
        return second
