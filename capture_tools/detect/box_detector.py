"""MediaPipe's detectors of faces and palms: many boxes with scores on a grid, of which the best are averaged.

Bazarevsky et al., "BlazeFace: sub-millisecond neural face detection on mobile GPUs", 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capture_tools.detect.regions import (
    F,
    cut_out,
    padding_around,
    picture_shape,
    shared,
    sigmoid32,
    summed,
    whole_picture,
)
from capture_tools.detect.tflite_models import Network, model_bytes

CELLS = ((8, 2), (16, 6))
"""Pixels of a cell and boxes in it, for the fine and the coarse grid."""
SAME_BOX = 0.3
"""Boxes with a larger share of their union in common are averaged."""


@dataclass(frozen=True)
class Detection:
    """One face or palm, in shares of the picture."""

    score: np.float32
    """Of the surest box, in [0, 1]."""
    low: np.ndarray
    """Float32 `[2]`: the left and upper edge."""
    size: np.ndarray
    """Float32 `[2]`."""
    points: np.ndarray
    """Float32 `[K, 2]`: a face's right and left eye first; a palm's wrist first, its middle knuckle third."""


class BoxDetector:
    """Finds faces or palms in one picture at a time; see `face_detector` and `palm_detector`."""

    def __init__(self, model: str, side: int, values: tuple[float, float], palms: bool) -> None:
        """`side` pixels of the square the network sees, whose pixels it wants between the two `values`."""
        self.side, self.values, self.palms = side, values, palms
        self._network = Network(model_bytes(f"{model}.tflite"))
        self._centres = _centres(side)

    def detect(self, rgb: np.ndarray, sure: float = 0.5) -> list[Detection]:
        """Those in uint8 `[H, W, 3]` with a score of at least `sure`, the surest first."""
        shape = picture_shape(rgb)
        square = cut_out(rgb, whole_picture(), self.side, self.values, around=True, black=True)
        boxes, logits = self._network(square)
        likely = np.nonzero(logits[:, 0] >= np.log(sure / (1 - sure)) - 1e-3)[0]  # most are hopeless
        scores = np.array([sigmoid32(logit) for logit in logits[likely, 0]], F)
        likely, scores = likely[scores >= sure], scores[scores >= sure]
        order = np.argsort(-scores, kind="stable")
        likely, scores = likely[order], scores[order]
        values = boxes.reshape(len(boxes), -1, 2)[likely] / F(self.side)
        centres = self._centres[likely]
        middle, half = values[:, 0] + centres, values[:, 1] / F(2)
        low = middle - half
        size = (middle + half) - low
        points = values[:, 2:] + centres[:, None]
        place = _unpadded if self.palms else _projected
        found = []
        while len(scores):
            same = shared(low[0], size[0], low, size) > SAME_BOX
            if not same.any():  # a box without an area
                break
            weight, total = scores[same, None], summed(scores[same])
            mean_low = summed(low[same] * weight) / total
            mean_size = summed((low[same] + size[same]) * weight) / total - mean_low
            mean_points = summed(points[same] * weight[:, None]) / total
            found.append(Detection(scores[0], *place(mean_low, mean_size, mean_points, shape)))
            scores, low, size, points = scores[~same], low[~same], size[~same], points[~same]
        return found


def face_detector() -> BoxDetector:
    """For faces within two metres."""
    return BoxDetector("face_detection_short_range", 128, (-1.0, 1.0), palms=False)


def palm_detector() -> BoxDetector:
    """For the palms of hands."""
    return BoxDetector("palm_detection_lite", 192, (0.0, 1.0), palms=True)


def _centres(side: int) -> np.ndarray:
    """The centres of the cells in the network's order, once for each box: float32 `[boxes, 2]`."""
    grids = []
    for pixels, boxes in CELLS:
        count = side // pixels
        y, x = np.mgrid[:count, :count]
        grids.append(np.repeat(((np.stack([x, y], -1) + 0.5) / count).reshape(-1, 2), boxes, axis=0))
    return np.concatenate(grids).astype(F)


def _projected(
    low: np.ndarray, size: np.ndarray, points: np.ndarray, shape: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A box and its points, from shares of the square around a picture to shares of the picture, as for faces."""
    side, share = shape.max(), F(1) / shape
    scale, offset = side * share, (F(-0.5) * side + F(0.5) * shape) * share
    first, last = low * scale + offset, (low + size) * scale + offset
    return first, last - first, points * scale + offset


def _unpadded(
    low: np.ndarray, size: np.ndarray, points: np.ndarray, shape: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same in the steps that MediaPipe has for palms, which round otherwise."""
    padding = padding_around(shape)
    rest = F(1) - (padding + padding)
    return (low - padding) / rest, size / rest, (points - padding) / rest
