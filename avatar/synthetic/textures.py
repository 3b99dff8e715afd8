"""Procedural textures for synthetic clips: band-limited noise, a room behind the person, cloth."""

from __future__ import annotations

import cv2
import numpy as np

from avatar.media.images import to_linear
from avatar.synthetic.looks import Looks


def noise(rng: np.random.Generator, height: int, width: int, cells_high: float, cells_wide: float) -> np.ndarray:
    """Smooth noise `[height, width]` float32, zero mean, unit variance, of about the given number of cells."""
    small = rng.standard_normal((max(int(cells_high), 1) + 3, max(int(cells_wide), 1) + 3)).astype(np.float32)
    # Map with cubic interpolation rather than resize, so that fractional cell counts keep their size.
    y = np.linspace(1.0, 1.0 + cells_high, height, dtype=np.float32)
    x = np.linspace(1.0, 1.0 + cells_wide, width, dtype=np.float32)
    columns, rows = np.meshgrid(x, y)
    grid = cv2.remap(small, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return grid / max(float(grid.std()), 1e-6)


def octaves(
    rng: np.random.Generator, height: int, width: int, cells: float, count: int, fall: float = 0.5
) -> np.ndarray:
    """A sum of noises, each octave twice as fine and `fall` times as strong; unit variance."""
    ratio = width / height
    total = np.zeros((height, width), np.float32)
    for octave in range(count):
        fineness = cells * 2**octave
        total += fall**octave * noise(rng, height, width, fineness, fineness * ratio)
    return total / max(float(total.std()), 1e-6)


def room(rng: np.random.Generator, looks: Looks, size: int) -> np.ndarray:
    """A room a little out of focus, `[size, size, 3]` linear float32: a wall, pictures, a shelf, a lamp or a plant.

    Drawn at twice the size and averaged down; it keeps enough texture to tell a static camera from a moving one.
    """
    big = 2 * size
    y, x = np.mgrid[0:big, 0:big].astype(np.float32) / big
    canvas = np.empty((big, big, 3), np.float32)
    light = 0.92 + 0.16 * (0.5 - y) + 0.14 * looks.light_side * (x - 0.5)
    canvas[:] = looks.wall.astype(np.float32)
    canvas *= light[..., None]
    canvas *= (1 + 0.022 * octaves(rng, big, big, 10, 4))[..., None]

    side = 1 if rng.random() < 0.5 else -1
    _shelf(rng, canvas, big, side, looks)
    _pictures(rng, canvas, big, -side)
    if rng.random() < 0.6:
        _plant(rng, canvas, big, -side)
    canvas = cv2.GaussianBlur(np.clip(canvas, 0, 1), (0, 0), big * 0.0055)
    linear = to_linear(canvas)
    lamp = np.exp(-(((x - 0.5 - 0.42 * side) / 0.16) ** 2 + ((y - 0.06) / 0.13) ** 2))[..., None]
    linear = linear + 0.35 * lamp * np.array([1.0, 0.82, 0.55], np.float32)
    linear *= (1 - 0.30 * ((x - 0.5) ** 2 + (y - 0.5) ** 2))[..., None]
    return cv2.resize(np.clip(linear, 0, 1), (size, size), interpolation=cv2.INTER_AREA)


def _box(canvas: np.ndarray, x0: float, y0: float, x1: float, y1: float, colour: np.ndarray) -> None:
    height, width = canvas.shape[:2]
    rows = slice(max(int(y0 * height), 0), max(int(y1 * height), 0))
    columns = slice(max(int(x0 * width), 0), max(int(x1 * width), 0))
    canvas[rows, columns] = colour


def _vivid(rng: np.random.Generator, low: float = 0.15, high: float = 0.75) -> np.ndarray:
    return (rng.uniform(low, high) * (0.72 + 0.28 * rng.uniform(-1, 1, 3))).clip(0.03, 0.95)


def _shelf(rng: np.random.Generator, canvas: np.ndarray, big: int, side: int, looks: Looks) -> None:
    x0, x1 = (0.70, 1.02) if side > 0 else (-0.02, 0.30)
    wood = np.array([0.42, 0.29, 0.18]) * rng.uniform(0.7, 1.3)
    top = rng.uniform(0.16, 0.24)
    _box(canvas, x0, top - 0.02, x1, 1.0, looks.wall * 0.42)
    for row in range(4):
        y = top + 0.27 * row
        _box(canvas, x0, y - 0.022, x1, y, wood)
        x = x0 + 0.012
        while x < x1 - 0.02:
            width, tall = rng.uniform(0.016, 0.042), rng.uniform(0.12, 0.2)
            if rng.random() < 0.82:
                colour = _vivid(rng)
                _box(canvas, x, y + 0.248 - tall, x + width, y + 0.248, colour)
                _box(canvas, x, y + 0.248 - 0.8 * tall, x + width, y + 0.248 - 0.74 * tall, np.clip(colour * 1.7, 0, 1))
            x += width + 0.003
    edge = x0 + 0.0 if side > 0 else x1 - 0.014
    _box(canvas, edge, top - 0.022, edge + 0.014, 1.0, wood * 0.85)


def _pictures(rng: np.random.Generator, canvas: np.ndarray, big: int, side: int) -> None:
    for number in range(2):
        width, tall = rng.uniform(0.15, 0.2), rng.uniform(0.16, 0.24)
        x = 0.5 + side * rng.uniform(0.33, 0.38) - width / 2
        y = 0.1 + 0.36 * number + rng.uniform(-0.03, 0.03)
        _box(canvas, x + 0.008, y + 0.01, x + width + 0.008, y + tall + 0.012, canvas[5, 5] * 0.6)
        _box(canvas, x, y, x + width, y + tall, _vivid(rng, 0.1, 0.35))
        _box(canvas, x + 0.012, y + 0.012, x + width - 0.012, y + tall - 0.012, np.array([0.9, 0.88, 0.84]))
        inner = (x + 0.035, y + 0.035, x + width - 0.035, y + tall - 0.035)
        _box(canvas, *inner, _vivid(rng, 0.4, 0.8))
        for _ in range(6):
            centre = (int(rng.uniform(inner[0], inner[2]) * big), int(rng.uniform(inner[1], inner[3]) * big))
            axes = (int(rng.uniform(0.01, 0.04) * big), int(rng.uniform(0.01, 0.04) * big))
            patch = canvas.copy()
            cv2.ellipse(patch, centre, axes, rng.uniform(0, 180), 0, 360, _vivid(rng, 0.2, 0.9).tolist(), -1)
            _keep(canvas, patch, inner)


def _keep(canvas: np.ndarray, patch: np.ndarray, box: tuple[float, float, float, float]) -> None:
    height, width = canvas.shape[:2]
    rows = slice(max(int(box[1] * height), 0), int(box[3] * height))
    columns = slice(max(int(box[0] * width), 0), max(int(box[2] * width), 0))
    canvas[rows, columns] = patch[rows, columns]


def _plant(rng: np.random.Generator, canvas: np.ndarray, big: int, side: int) -> None:
    foot = np.array([0.5 + side * rng.uniform(0.38, 0.45), rng.uniform(0.9, 0.98)])
    for _ in range(26):
        angle, length = rng.uniform(-1.2, 1.2), rng.uniform(0.14, 0.3)
        tip = foot + length * np.array([np.sin(angle), -np.cos(angle)])
        middle = (foot + tip) / 2 + np.array([0.02 * np.sign(angle), -0.02])
        green = np.array([0.16, 0.34, 0.14]) * rng.uniform(0.6, 1.6)
        centre = tuple(int(v * big) for v in (middle + tip) / 2)
        tilt = np.degrees(np.arctan2(*(tip - middle)[::-1]))
        axes = (int(0.32 * length * big), int(0.075 * length * big))
        cv2.ellipse(canvas, centre, axes, tilt, 0, 360, green.tolist(), -1, cv2.LINE_AA)


def cloth(rng: np.random.Generator, looks: Looks, height: int, width: int) -> np.ndarray:
    """Cloth `[height, width, 3]`, linear: rows run down the body, columns around it; folds, weave and soft stripes."""
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    colour = np.broadcast_to(looks.cloth.astype(np.float32), (height, width, 3)).copy()
    if looks.knit > 0.55:
        bands = 0.5 + 0.5 * np.tanh(6 * np.sin(2 * np.pi * rows * 9))
        trim = looks.cloth_trim.astype(np.float32)
        colour = colour * (1 - 0.65 * bands[..., None]) + trim * 0.65 * bands[..., None]
    folds = 0.09 * octaves(rng, height, width, 2.2, 3) + 0.03 * octaves(rng, height, width, 40, 2)
    return to_linear(np.clip(colour * (1 + folds[..., None]), 0, 1))
