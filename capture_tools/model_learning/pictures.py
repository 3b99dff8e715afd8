"""Curves as a picture: explained variance, generalisation and specificity of shape and expression space."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from capture_tools.model_learning.measures import Curves

WIDTH, HEIGHT = 520, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 48, 52
PAPER, INK, GRID = (255, 255, 255), (40, 40, 40), (222, 222, 222)
COLOURS = {"shape": (31, 98, 180), "expression": (214, 94, 20)}
TICKS = 5


def draw_curves(spaces: Mapping[str, Curves]) -> np.ndarray:
    """uint8 `[H, W, 3]`: a panel for each measure, a line for each space (`shape`, `expression`)."""
    explained = {name: (c.counts, [100 * value for value in c.explained]) for name, c in spaces.items()}
    general = {name: (c.counts, c.generalisation) for name, c in spaces.items() if c.generalisation is not None}
    specific = {name: (c.counts, c.specificity) for name, c in spaces.items()}
    panels = [
        _panel("explained variance, %", explained, top=100.0),
        _panel("generalisation: people left out, mm", general),
        _panel("specificity: random members, mm", specific),
    ]
    return np.concatenate(panels, 1)


def _panel(title: str, lines: Mapping[str, tuple[list[int], list[float]]], top: float | None = None) -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
    _write(picture, title, (LEFT, 28), 0.5)
    most = max((max(counts) for counts, _ in lines.values()), default=1)
    highest = top or nice_limit(max((max(values) for _, values in lines.values()), default=1.0))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(count: float, value: float) -> tuple[int, int]:
        along = (count - 1) / max(most - 1, 1)
        return round(LEFT + wide * along), round(TOP + high * (1 - value / highest))

    for tick in np.linspace(0, highest, TICKS + 1):
        y = place(1, tick)[1]
        cv2.line(picture, (LEFT, y), (LEFT + wide, y), GRID, 1)
        _write(picture, f"{tick:g}"[:6], (14, y + 4), 0.4)
    for count in sorted({1, *np.unique(np.linspace(1, most, min(most, 6)).round().astype(int)).tolist()}):
        x = place(count, 0)[0]
        cv2.line(picture, (x, TOP + high), (x, TOP + high + 4), INK, 1)
        _write(picture, str(count), (x - 4 * len(str(count)), TOP + high + 20), 0.4)
    _write(picture, "directions", (LEFT + wide // 2 - 36, HEIGHT - 12), 0.42)
    cv2.rectangle(picture, (LEFT, TOP), (LEFT + wide, TOP + high), INK, 1)
    for row, (name, (counts, values)) in enumerate(lines.items()):
        points = np.array([place(c, v) for c, v in zip(counts, values, strict=True)], np.int32)
        cv2.polylines(picture, [points], False, COLOURS[name], 2, cv2.LINE_AA)
        for point in points:
            cv2.circle(picture, (int(point[0]), int(point[1])), 3, COLOURS[name], -1, cv2.LINE_AA)
        at = (LEFT + wide - 130, TOP + high - 40 + 20 * row) if top else (LEFT + wide - 130, TOP + 20 + 20 * row)
        cv2.line(picture, at, (at[0] + 22, at[1]), COLOURS[name], 2, cv2.LINE_AA)
        _write(picture, name, (at[0] + 30, at[1] + 4), 0.42)
    if not lines:
        _write(picture, "too few people to leave some out", (LEFT + 40, TOP + high // 2), 0.45)
    return picture


def nice_limit(value: float) -> float:
    """The next of 1, 2, 2.5, 5 and 10 times a power of ten that is no less than `value`."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** np.floor(np.log10(value))
    return float(next(step * unit for step in (1, 2, 2.5, 5, 10) if step * unit >= value * (1 - 1e-9)))


def _write(picture: np.ndarray, text: str, place: tuple[int, int], size: float) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
