"""What stands still behind the person: the background plate, and whether it does stand still."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

PLATE_FRAMES = 120
"""The plate is the median over at most this many frames, spread over the clip."""
FREE_BELOW = 8
"""Matte values (of 255) counted as empty, after the matte was widened."""
MINIMAL_SEEN = 3
"""A background pixel counts as seen from this many frames on (fewer in clips of a few frames)."""
MINIMAL_FEATURES = 12
MINIMAL_CORNER = 1e-3
"""Smaller eigenvalue of the gradient from which a corner stands out of camera noise (OpenCV's scale for 8 bits)."""
MOVING_SHARE = 0.01
"""A background that moves by more than this share of the picture's side is called moving."""

TRAVEL_FRAMES = 48
"""Frames between which the camera's travel is followed."""


@dataclass(frozen=True)
class Plate:
    """The empty scene."""

    image: np.ndarray
    """uint8 `[H, W, 3]`."""
    seen: np.ndarray
    """bool `[H, W]`: pixels that were free in enough frames; the rest is filled smoothly from around."""


def background_plate(images: np.ndarray, mattes: np.ndarray) -> Plate:
    """The per-pixel median over the frames where the widened matte is empty, holes filled smoothly.

    `images` uint8 `[N, H, W, 3]`, `mattes` uint8 `[N, H, W]` (memory maps are read in bands). A pixel no frame ever
    shows lies behind the person: it is a smooth continuation of its surroundings.
    """
    import cv2

    count, height, width = mattes.shape
    chosen = np.unique(np.linspace(0, count - 1, min(count, PLATE_FRAMES)).round().astype(int))
    reach = max(3, round(height / 40)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    free = np.stack([cv2.dilate(mattes[i], kernel) < FREE_BELOW for i in chosen])
    needed = min(MINIMAL_SEEN, max(1, count // 4))
    seen = free.sum(axis=0) >= needed
    plate = np.zeros((height, width, 3), np.float32)
    band = max(1, int(2e7 // (len(chosen) * width * 3)))
    for top in range(0, height, band):
        rows = slice(top, min(top + band, height))
        values = np.stack([images[i, rows] for i in chosen]).astype(np.int16)
        plate[rows] = _masked_median(values, free[:, rows])
    filled = fill_smoothly(plate, seen)
    return Plate(np.rint(np.clip(filled, 0, 255)).astype(np.uint8), seen)


def free_of_person(matte: np.ndarray, reach: int | None = None) -> np.ndarray:
    """bool `[H, W]`: where a matte uint8 `[H, W]`, widened by `reach` pixels (height / 16), shows no person."""
    import cv2

    reach = max(5, round(matte.shape[0] / 16)) | 1 if reach is None else reach
    return cv2.dilate(matte, np.ones((reach, reach), np.uint8)) < FREE_BELOW


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
    """Continue `image` float32 `[H, W, 3]` into the pixels not `known` `[H, W]`: pull-push over a pyramid.

    Gortler et al., "The lumigraph", 1996, section 3.4. Known pixels keep their values; with none known the image comes
    back grey.
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
    """How far the background moved in a clip."""

    pixels: float | None
    """Largest displacement of the background from the middle frame; None where too few corners were found."""
    share: float | None
    """The same over the picture's side."""

    @property
    def moves(self) -> bool:
        return self.share is not None and self.share > MOVING_SHARE


def camera_travel(images: np.ndarray, mattes: np.ndarray) -> float | None:
    """How far the background wanders through the picture in the course of a clip, over the picture's longer side.

    `images` uint8 `[N, H, W, 3]`, `mattes` uint8 `[N, H, W]`, read at up to 48 frames. Free corners are followed from
    each of those to the next; the median of their steps is the scene's, whoever walks by and however deep it is (a
    model of the whole picture would fit neither). Steps add up to a way, whose extent is returned. None where less
    than half of the steps show enough corners: a plain wall, a picture full of person.
    """
    import cv2

    count = len(mattes)
    chosen = np.unique(np.linspace(0, count - 1, TRAVEL_FRAMES).round().astype(int))
    place, way, lost = np.zeros(2), [np.zeros(2)], 0
    for first, second in pairwise(chosen):
        grey, other = (cv2.cvtColor(images[i], cv2.COLOR_RGB2GRAY) for i in (first, second))
        corners = _free_corners(grey, free_of_person(mattes[first]))
        moved = None if corners is None else _followed(grey, other, corners, free_of_person(mattes[second]))
        if moved is None:
            lost += 1
            continue
        place = place + np.median(moved[1] - moved[0], axis=0)
        way.append(place)
    if lost > (len(chosen) - 1) / 2:
        return None
    return float(np.linalg.norm(np.ptp(np.stack(way), axis=0)) / max(mattes.shape[1:]))


def _free_corners(grey: np.ndarray, free: np.ndarray) -> np.ndarray | None:
    """`[K, 1, 2]` corners of a grey picture within `free`; None where there are too few."""
    import cv2

    side = min(grey.shape)
    allowed = free.astype(np.uint8)
    # Corners on the border, as those of black bars, do not move with the scene; weak ones are noise.
    rim = max(2, side // 64)
    allowed[:rim], allowed[-rim:], allowed[:, :rim], allowed[:, -rim:] = 0, 0, 0, 0
    allowed[cv2.cornerMinEigenVal(grey, 5) < MINIMAL_CORNER] = 0
    corners = cv2.goodFeaturesToTrack(grey, 200, 0.01, max(4, side // 64), mask=allowed)
    return None if corners is None or len(corners) < MINIMAL_FEATURES else corners


def _followed(
    grey: np.ndarray, other: np.ndarray, corners: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Corners `[K, 2]` and where another picture shows them, on its own `free` ground; None where too few are found."""
    import cv2

    options: Any = {"winSize": (21, 21), "maxLevel": 3}
    no_guess: Any = None
    moved, status, _ = cv2.calcOpticalFlowPyrLK(grey, other, corners, no_guess, **options)
    back, status_back, _ = cv2.calcOpticalFlowPyrLK(other, grey, moved, no_guess, **options)
    height, width = free.shape
    place = np.clip(moved[:, 0].round().astype(int), 0, (width - 1, height - 1))
    good = (status[:, 0] > 0) & (status_back[:, 0] > 0) & free[place[:, 1], place[:, 0]]
    good &= np.linalg.norm((back - corners)[:, 0], axis=-1) < 1.0
    return None if good.sum() < MINIMAL_FEATURES else (corners[good, 0], moved[good, 0])


def background_motion(images: np.ndarray, mattes: np.ndarray, samples: int = 12) -> BackgroundMotion:
    """Follow corners of the free background from the middle frame to frames across the clip (Lucas-Kanade).

    `images` uint8 `[N, H, W, 3]`, `mattes` uint8 `[N, H, W]`. A similarity transform is fitted to the tracks, so that
    their noise averages out and people passing by do not count; the motion is that of the picture's points under it.
    A plain wall gives no corners and no answer.
    """
    import cv2

    count, height, _ = mattes.shape
    middle = count // 2
    grey = cv2.cvtColor(images[middle], cv2.COLOR_RGB2GRAY)
    corners = _free_corners(grey, free_of_person(mattes[middle]))
    if corners is None:
        return BackgroundMotion(None, None)
    moves = []
    for i in np.unique(np.linspace(0, count - 1, samples).round().astype(int)):
        other = cv2.cvtColor(images[i], cv2.COLOR_RGB2GRAY)
        pair = _followed(grey, other, corners, free_of_person(mattes[i]))
        if pair is None:
            continue
        transform, inliers = cv2.estimateAffinePartial2D(*pair, ransacReprojThreshold=1.0)
        if transform is not None and inliers.sum() >= MINIMAL_FEATURES:
            fitted = cv2.transform(pair[0][:, None], transform)[:, 0]
            moves.append(float(np.median(np.linalg.norm(fitted - pair[0], axis=-1))))
    if not moves:
        return BackgroundMotion(None, None)
    return BackgroundMotion(max(moves), max(moves) / height)
