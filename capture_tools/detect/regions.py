"""Where in a picture a network looks: turned squares, cut out of it and carried on from frame to frame.

The steps are MediaPipe's, in float32 and in its order, with the C library's functions. A tracker feeds what it finds
back into where it looks, and the cut rounds to a 32nd of a pixel, so a difference in the last digit grows: MediaPipe's
landmarks of a clip differ from its own by up to 1.2 px where nine pixels of the first frame are two grey levels off.
In the same order they come out the same.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from capture_tools.detect.tflite_models import unit_values

F = np.float32
SAME = 0.5
"""Two regions with a larger share of their union in common are the same face or hand."""


@cache
def _c_function(name: str, count: int) -> Callable[..., float]:
    function = getattr(ctypes.CDLL(None if os.name == "posix" else "ucrtbase"), name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float] * count
    return function


def cos32(angle: float | np.float32) -> np.float32:
    """Cosine, rounded as in C."""
    return F(_c_function("cosf", 1)(angle))


def sin32(angle: float | np.float32) -> np.float32:
    """Sine, rounded as in C."""
    return F(_c_function("sinf", 1)(angle))


def atan32(y: float, x: float) -> np.float32:
    """The angle of (x, y), rounded as in C."""
    return F(_c_function("atan2f", 2)(y, x))


def sigmoid32(logit: float) -> np.float32:
    """1 / (1 + exp(-logit)), rounded as in C."""
    return F(1) / (F(1) + F(_c_function("expf", 1)(-min(max(logit, -100.0), 100.0))))


def summed(values: np.ndarray) -> np.ndarray:
    """The sum over the first axis, one after the other: NumPy's own order differs."""
    return np.add.accumulate(values, axis=0, dtype=F)[-1]


@dataclass(frozen=True)
class Region:
    """A rectangle in a picture, in shares of the picture's width and height."""

    centre: np.ndarray
    """Float32 `[2]`."""
    size: np.ndarray
    """Float32 `[2]` width and height."""
    rotation: np.float32
    """Radians, clockwise in the picture."""


def picture_shape(rgb: np.ndarray) -> np.ndarray:
    """Width and height as float32 `[2]`."""
    return np.array(rgb.shape[1::-1], F)


def whole_picture() -> Region:
    """All of it, upright."""
    return Region(np.full(2, 0.5, F), np.ones(2, F), F(0))


def padding_around(size: np.ndarray) -> np.ndarray:
    """What the square around a rectangle `[2]` has left and above it, in shares of the square: float32 `[2]`."""
    ratio = size[1] / size[0]
    return np.array([0, (F(1) - ratio) / F(2)] if ratio < 1 else [(F(1) - F(1) / ratio) / F(2), 0], F)


def rotation_between(start: np.ndarray, end: np.ndarray, shape: np.ndarray, target: float) -> np.float32:
    """How far a picture must be turned, radians, so that the way from `start` to `end` points to the angle `target`."""
    (x0, y0), (x1, y1) = start[:2] * shape, end[:2] * shape
    return normalized(F(target) - atan32(-(y1 - y0), x1 - x0))


def normalized(angle: np.float32) -> np.float32:
    """The same angle in [-pi, pi)."""
    return F(float(angle) - 2 * np.pi * np.floor((float(angle) + np.pi) / (2 * np.pi)))


def square_around(region: Region, shape: np.ndarray, scale: float, rise: float = 0.0) -> Region:
    """The square with a region's longer side times `scale`, moved by `rise` times its height towards its top."""
    side = (region.size * shape).max()
    lift = shape[1] * region.size[1] * F(-rise)
    shift = np.array([-lift * sin32(region.rotation), lift * cos32(region.rotation)], F) / shape
    return Region(region.centre + shift, side / shape * F(scale), region.rotation)


def box_around(points: np.ndarray, rotation: np.float32) -> Region:
    """The upright box around points `[N, 2+]` in shares of the picture, with a rotation for what follows."""
    low = points[:, :2].min(0)
    size = np.maximum(points[:, :2].max(0), np.finfo(F).tiny) - low
    return Region(low + size / F(2), size, rotation)


def cut_out(
    rgb: np.ndarray,
    region: Region,
    side: int,
    values: tuple[float, float],
    *,
    around: bool = False,
    black: bool = False,
) -> np.ndarray:
    """What a region of uint8 `[H, W, 3]` shows, as float32 `[side, side, 3]` between the two `values`.

    A region that is no square is stretched to one, or the square `around` it is taken. Beyond the picture lies its last
    pixel, or nothing (`black`).
    """
    import cv2

    shape = picture_shape(rgb)
    centre, (width, height) = region.centre * shape, region.size * shape
    if around:
        width = height = max(width, height)
    angle = float(F(float(region.rotation * F(180)) / np.pi)) * np.pi / 180
    half_cos, half_sin = F(np.cos(angle)) * F(0.5), F(np.sin(angle)) * F(0.5)
    across = np.array([half_cos * width, half_sin * width], F)
    down = np.array([half_sin * height, half_cos * height], F)
    bottom_left = np.array([centre[0] - down[0] - across[0], centre[1] + down[1] - across[1]], F)
    top_left = np.array([centre[0] + down[0] - across[0], centre[1] - down[1] - across[1]], F)
    corners = np.stack([bottom_left, top_left, F(2) * centre - bottom_left, F(2) * centre - top_left])
    square = np.array([[0, side], [0, 0], [side, 0], [side, side]], F)
    seen = cv2.warpPerspective(
        rgb,
        cv2.getPerspectiveTransform(corners, square),
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT if black else cv2.BORDER_REPLICATE,
    )
    return cv2.LUT(seen, unit_values(*values))


def put_back(points: np.ndarray, region: Region) -> np.ndarray:
    """Points `[N, 2 or 3]` in shares of a cut-out region -> in shares of the picture; z is scaled as x is."""
    cos, sin = cos32(region.rotation), sin32(region.rotation)
    x, y = points[:, 0] - F(0.5), points[:, 1] - F(0.5)
    placed = [
        (cos * x - sin * y) * region.size[0] + region.centre[0],
        (sin * x + cos * y) * region.size[1] + region.centre[1],
        *(points[:, 2:].T * region.size[0]),
    ]
    return np.stack(placed, axis=1)


def shared(low: np.ndarray, size: np.ndarray, boxes_low: np.ndarray, boxes_size: np.ndarray) -> np.ndarray:
    """The share of their union that a box `[2]` has in common with each of the boxes `[N, 2]`."""
    overlap = np.minimum(low + size, boxes_low + boxes_size) - np.maximum(low, boxes_low)
    common = np.maximum(overlap, 0).prod(-1)
    union = size.prod(-1) + boxes_size.prod(-1) - common
    return np.where(union > 0, common / np.maximum(union, np.finfo(F).tiny), F(0))


def carried_on(found: Sequence[Region], previous: Sequence[Region]) -> list[Region]:
    """The regions to look at: those found, and those of the previous frame, which replace the ones they lie on."""
    kept: list[Region] = []
    for region in (*found, *previous):
        low = region.centre - region.size / F(2)
        kept = [
            other for other in kept if shared(low, region.size, other.centre - other.size / F(2), other.size) <= SAME
        ]
        kept.append(region)
    return kept
