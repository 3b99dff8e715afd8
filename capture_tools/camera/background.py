"""The static background behind the person: its picture, and whether it is static at all."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

BACKGROUND_FRAMES = 120
"""The background is the median of at most this many frames, spread over the clip."""
FREE_BELOW = 8
"""Values of the dilated mask (of 255) that count as background."""
MINIMAL_SEEN = 3
"""Frames that must show a background pixel for it to count as seen (fewer in clips of a few frames)."""
MINIMAL_FEATURES = 12
MINIMAL_CORNER = 1e-3
"""Smaller eigenvalue of the structure tensor from which on a corner stands out of camera noise (OpenCV's scale)."""
MOVING_SHARE = 0.01
"""Displacement over the picture's side from which on a background counts as moving."""

FLOW_LEVELS = 3
"""Levels of the pyramid above the picture itself, for optical flow."""
TRAVEL_FRAMES = 48
"""Frames at which the background's displacement is measured."""


@dataclass(frozen=True)
class Background:
    """A picture of the background without the person."""

    image: np.ndarray
    """uint8 `[H, W, 3]`."""
    seen: np.ndarray
    """bool `[H, W]`: pixels seen in enough frames; the others are filled smoothly from their surroundings."""


def median_background(images: np.ndarray, masks: np.ndarray) -> Background:
    """The per-pixel median over the frames whose dilated mask is empty there.

    `images` uint8 `[N, H, W, 3]`, `masks` uint8 `[N, H, W]` (memory maps are read in bands). A pixel that the person
    hides in every frame continues its surroundings smoothly.
    """
    import cv2

    count, height, width = masks.shape
    chosen = np.unique(np.linspace(0, count - 1, min(count, BACKGROUND_FRAMES)).round().astype(int))
    diameter = max(3, round(height / 40)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    free = np.stack([cv2.dilate(masks[i], kernel) < FREE_BELOW for i in chosen])
    needed = min(MINIMAL_SEEN, max(1, count // 4))
    seen = free.sum(axis=0) >= needed
    background = np.zeros((height, width, 3), np.float32)
    band = max(1, int(2e7 // (len(chosen) * width * 3)))
    for top in range(0, height, band):
        rows = slice(top, min(top + band, height))
        values = np.stack([images[i, rows] for i in chosen]).astype(np.int16)
        background[rows] = _masked_median(values, free[:, rows])
    filled = fill_smoothly(background, seen)
    return Background(np.rint(np.clip(filled, 0, 255)).astype(np.uint8), seen)


def free_of_person(mask: np.ndarray) -> np.ndarray:
    """bool `[H, W]`: pixels outside the mask uint8 `[H, W]` after it is dilated by a square of height / 16 pixels."""
    import cv2

    side = max(5, round(mask.shape[0] / 16)) | 1
    return cv2.dilate(mask, np.ones((side, side), np.uint8)) < FREE_BELOW


def _masked_median(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Median over axis 0 of `[N, h, w, 3]` where `valid` `[N, h, w]`; 0 where nothing is."""
    beyond = np.int16(1000)
    ordered = np.sort(np.where(valid[..., None], values, beyond), axis=0)
    n = valid.sum(axis=0)
    low, high = np.maximum((n - 1) // 2, 0), np.maximum(n // 2, 0)
    pick = [
        np.take_along_axis(ordered, np.broadcast_to(k[None, ..., None], (1, *n.shape, 3)), 0)[0] for k in (low, high)
    ]
    return np.where((n > 0)[..., None], (pick[0].astype(np.float32) + pick[1]) / 2, 0)


def fill_smoothly(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill the pixels of `image` float32 `[H, W, 3]` that are not `known` `[H, W]`: pull-push over a pyramid.

    Gortler et al., "The lumigraph", 1996, section 3.4. Known pixels keep their values; without any the image is grey.
    """
    import cv2

    if not known.any():
        return np.full_like(image, 127.5)
    levels: list[tuple[np.ndarray, np.ndarray]] = [(image * known[..., None], known.astype(np.float32))]
    while min(levels[-1][1].shape) > 1:
        colour, weight = levels[-1]
        size = (max(1, weight.shape[1] // 2), max(1, weight.shape[0] // 2))
        small_weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        small = cv2.resize(colour * weight[..., None], size, interpolation=cv2.INTER_AREA)
        mean = small / np.maximum(small_weight, 1e-6)[..., None]
        levels.append((mean, np.minimum(small_weight * 4, 1.0) * (small_weight > 0)))
    result = levels[-1][0]
    for colour, weight in reversed(levels[:-1]):
        up = cv2.resize(result, (weight.shape[1], weight.shape[0]), interpolation=cv2.INTER_LINEAR)
        up = up.reshape(colour.shape)
        result = np.where(weight[..., None] > 0, colour * weight[..., None] + up * (1 - weight[..., None]), up)
    soft = cv2.GaussianBlur(result, (0, 0), max(1.0, image.shape[0] / 128))
    inside = cv2.erode((~known).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    result = np.where(inside[..., None], soft, result)
    return np.where(known[..., None], image, result)


@dataclass(frozen=True)
class BackgroundMotion:
    """Motion of the background in a clip."""

    pixels: float | None
    """Largest displacement of the background from the middle frame; None where too few corners were found."""
    share: float | None
    """The same over the picture's height."""

    @property
    def moves(self) -> bool:
        return self.share is not None and self.share > MOVING_SHARE


def camera_travel(images: np.ndarray, masks: np.ndarray) -> float | None:
    """Extent of the background's displacement over a clip, as a share of the picture's longer side.

    `images` uint8 `[N, H, W, 3]`, `masks` uint8 `[N, H, W]`, read at up to 48 frames. Corners of the background are
    tracked from each of those to the next. The median of their steps is the scene's, also with people walking by and
    at any depth (a model of the whole picture would fit neither). The steps are summed, and the extent of the sums is
    returned. None where fewer than half of the steps have enough corners: a plain wall, a person who fills the picture.
    """
    import cv2

    count = len(masks)
    chosen = np.unique(np.linspace(0, count - 1, TRAVEL_FRAMES).round().astype(int))
    position, positions, lost = np.zeros(2), [np.zeros(2)], 0
    for first, second in pairwise(chosen):
        grey, other = (cv2.cvtColor(images[i], cv2.COLOR_RGB2GRAY) for i in (first, second))
        corners = background_corners(grey, free_of_person(masks[first]))
        moved = None if corners is None else track_corners(grey, other, corners, free_of_person(masks[second]))
        if moved is None:
            lost += 1
            continue
        position = position + np.median(moved[1] - moved[0], axis=0)
        positions.append(position)
    if lost > (len(chosen) - 1) / 2:
        return None
    return float(np.linalg.norm(np.ptp(np.stack(positions), axis=0)) / max(masks.shape[1:]))


def background_corners(grey: np.ndarray, free: np.ndarray) -> np.ndarray | None:
    """Corners `[K, 1, 2]` of a grey picture within `free`; None where there are too few."""
    import cv2

    side = min(grey.shape)
    allowed = free.astype(np.uint8)
    # Corners on the border, as those of black bars, do not move with the scene; weak ones are noise.
    rim = max(2, side // 64)
    allowed[:rim], allowed[-rim:], allowed[:, :rim], allowed[:, -rim:] = 0, 0, 0, 0
    allowed[cv2.cornerMinEigenVal(grey, 5) < MINIMAL_CORNER] = 0
    corners = cv2.goodFeaturesToTrack(grey, 200, 0.01, max(4, side // 64), mask=allowed)
    return None if corners is None or len(corners) < MINIMAL_FEATURES else corners


def track_corners(
    grey: np.ndarray, other: np.ndarray, corners: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Corners `[K, 2]` and their places in another picture, within its `free`; None where too few are tracked."""
    moved, good = flow_there_and_back(grey, other, corners, window=21, error=1.0)
    height, width = free.shape
    position = np.clip(moved[:, 0].round().astype(int), 0, (width - 1, height - 1))
    good &= free[position[:, 1], position[:, 0]]
    return None if good.sum() < MINIMAL_FEATURES else (corners[good, 0], moved[good, 0])


def flow_there_and_back(
    grey: np.ndarray, other: np.ndarray, points: np.ndarray, *, window: int, error: float
) -> tuple[np.ndarray, np.ndarray]:
    """Places `[K, 1, 2]` in `other` of `points` `[K, 1, 2]` in `grey`, pixel centres at whole numbers, by optical flow
    (Lucas and Kanade 1981, over a pyramid); and `[K]` bool, whether the way back ends within `error` pixels.

    window: side in pixels of the patch that is compared.
    """
    import cv2

    options: Any = {"winSize": (window, window), "maxLevel": FLOW_LEVELS}
    no_guess: Any = None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(grey, other, points, no_guess, **options)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(other, grey, moved, no_guess, **options)
    good = (found[:, 0] > 0) & (found_back[:, 0] > 0)
    return moved, good & (np.linalg.norm((back - points)[:, 0], axis=-1) < error)


def background_motion(images: np.ndarray, masks: np.ndarray, samples: int = 12) -> BackgroundMotion:
    """Track corners of the background from the middle frame to frames across the clip (Lucas-Kanade).

    `images` uint8 `[N, H, W, 3]`, `masks` uint8 `[N, H, W]`. A similarity transform is fitted to the tracks by
    RANSAC, so that noise averages out and people passing by do not count. The motion is the median displacement under
    it; a plain wall has no corners and gives None.
    """
    import cv2

    count, height, _ = masks.shape
    middle = count // 2
    grey = cv2.cvtColor(images[middle], cv2.COLOR_RGB2GRAY)
    corners = background_corners(grey, free_of_person(masks[middle]))
    if corners is None:
        return BackgroundMotion(None, None)
    moves = []
    for i in np.unique(np.linspace(0, count - 1, samples).round().astype(int)):
        other = cv2.cvtColor(images[i], cv2.COLOR_RGB2GRAY)
        pair = track_corners(grey, other, corners, free_of_person(masks[i]))
        if pair is None:
            continue
        transform, inliers = cv2.estimateAffinePartial2D(*pair, ransacReprojThreshold=1.0)
        if transform is not None and inliers.sum() >= MINIMAL_FEATURES:
            fitted = cv2.transform(pair[0][:, None], transform)[:, 0]
            moves.append(float(np.median(np.linalg.norm(fitted - pair[0], axis=-1))))
    if not moves:
        return BackgroundMotion(None, None)
    return BackgroundMotion(max(moves), max(moves) / height)
