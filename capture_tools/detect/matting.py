"""A soft matte of the person in each frame: MediaPipe's selfie segmentation, cleaned and fitted to the picture's edges.

He et al., "Guided image filtering", TPAMI 2013, moves the 256-pixel mask's border onto the hair and shoulders.
"""

from __future__ import annotations

import numpy as np

from capture_tools.detect.tflite_models import Network, model_bytes, unit_values

MODEL_SIZE = 256
"""Pixels of the segmentation network's square input."""
LOW, HIGH = 0.25, 0.75
"""Confidences taken as surely background and surely person after the guided filter."""


class PersonSegmenter:
    """MediaPipe's general selfie segmentation, one image at a time. Can be used as a context manager."""

    def __init__(self) -> None:
        self._network = Network(model_bytes("selfie_segmentation.tflite"))

    def __enter__(self) -> PersonSegmenter:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to free."""

    def confidence(self, rgb: np.ndarray) -> np.ndarray:
        """Confidence that a pixel shows a person: uint8 `[H, W, 3]` -> float32 `[256, 256]` in [0, 1]."""
        import cv2

        mode = cv2.INTER_AREA if rgb.shape[0] > MODEL_SIZE else cv2.INTER_LINEAR
        small = cv2.resize(rgb, (MODEL_SIZE, MODEL_SIZE), interpolation=mode)
        return self._network(cv2.LUT(small, unit_values(0.0, 1.0)))[0][..., 0]


def steady(confidences: np.ndarray) -> np.ndarray:
    """Median of each frame's confidence map with its two neighbours: `[N, h, w]` -> the same shape.

    A hole or an island that lives for one frame disappears; motion slower than a frame stays where it is. The two ends
    are left as they are.
    """
    steadied = confidences.copy()
    if len(confidences) >= 3:
        first, middle, last = confidences[:-2], confidences[1:-1], confidences[2:]
        steadied[1:-1] = np.maximum(np.minimum(first, middle), np.minimum(np.maximum(first, middle), last))
    return steadied


def refine_matte(confidence: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Fit a confidence map to a picture's edges and keep the one person.

    `confidence` `[h, w]` in [0, 1] or uint8, `rgb` uint8 `[H, W, 3]`; returns the matte uint8 `[H, W]`, 255 = person:
    one connected person without holes, soft along hair and shoulders.
    """
    import cv2

    height, width = rgb.shape[:2]
    values = confidence.astype(np.float32) / (255.0 if confidence.dtype == np.uint8 else 1.0)
    large = np.clip(cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    radius = max(2, round(height / 40))
    guide = rgb.astype(np.float32) / 255.0
    fitted = cv2.ximgproc.guidedFilter(guide, large, radius, 6e-3)
    soft = np.clip((fitted - LOW) / (HIGH - LOW), 0, 1)
    soft = soft * soft * (3 - 2 * soft)
    return np.rint(255 * soft * _person(large, soft)).astype(np.uint8)


def _person(confidence: np.ndarray, soft: np.ndarray) -> np.ndarray:
    """Weight 1 on the largest connected region of the soft matte (with a soft rim), 0 on anything apart from it."""
    import cv2

    count, labels, _, _ = cv2.connectedComponentsWithStats((soft > 0.1).astype(np.uint8), connectivity=8)
    if count <= 1:
        return np.zeros_like(soft)
    # Area alone would favour a faint cloud over a person; the sum of the confidence does not.
    weight = np.bincount(labels.ravel(), weights=confidence.ravel(), minlength=count)
    weight[0] = -1
    return (labels == int(weight.argmax())).astype(np.float32)


def fill_holes(matte: np.ndarray) -> np.ndarray:
    """Close regions of uint8 `[H, W]` that are background but enclosed by the person and small (under 0.5 % of it)."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats((matte < 128).astype(np.uint8), connectivity=4)
    height, width = matte.shape
    filled = matte.copy()
    limit = 0.005 * float((matte >= 128).sum())
    for label in range(1, count):
        x, y, w, h, area = stats[label]
        touches = x == 0 or y == 0 or x + w == width or y + h == height
        if not touches and area < limit:
            filled[labels == label] = 255
    return filled
