"""Soft masks of the person: MediaPipe's selfie segmentation, refined along the picture's edges.

A dark cabinet beside a shoulder can pass for a part of the person. `capture_tools/detect/body.py` has a second opinion.
A guided filter (He et al., "Guided image filtering", TPAMI 2013) aligns the 256-pixel mask with hair and shoulders.
"""

from __future__ import annotations

import numpy as np

from capture_tools.detect.body import MODEL_SIZE, BodyFinder
from capture_tools.detect.tflite_models import Network, model_bytes, unit_values

LOW, HIGH = 0.25, 0.75
"""Confidences mapped to 0 and 1 after the guided filter."""
FILLED = 0.7
"""A person who fills more of the picture than this share leaves little to be mistaken for them, and too little of a
body to be found: the second opinion is not asked."""


class PersonSegmenter:
    """MediaPipe's general selfie segmentation, one image at a time. Can be used as a context manager.

    doubting: only where the second network finds a body too. It takes ten times as long, 30 ms.
    """

    def __init__(self, doubting: bool = True) -> None:
        self._network = Network(model_bytes("selfie_segmentation.tflite"))
        self._body = BodyFinder() if doubting else None

    def __enter__(self) -> PersonSegmenter:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to free."""

    def confidence(self, rgb: np.ndarray) -> np.ndarray:
        """Confidence that a pixel shows a person: uint8 `[H, W, 3]` to float32 `[256, 256]` in [0, 1]."""
        import cv2

        mode = cv2.INTER_AREA if rgb.shape[0] > MODEL_SIZE else cv2.INTER_LINEAR
        small = cv2.resize(rgb, (MODEL_SIZE, MODEL_SIZE), interpolation=mode)
        confidence = self._network(cv2.LUT(small, unit_values(0.0, 1.0)))[0][..., 0]
        if self._body is None or (confidence > 0.5).mean() > FILLED:
            return confidence
        return confidence * self._body.reach(rgb)


def steady(confidences: np.ndarray) -> np.ndarray:
    """Temporal median of confidence maps over three frames: `[N, h, w]` to the same shape.

    Holes and islands of a single frame disappear. The first and last frame stay as they are.
    """
    steadied = confidences.copy()
    if len(confidences) >= 3:
        first, middle, last = confidences[:-2], confidences[1:-1], confidences[2:]
        steadied[1:-1] = np.maximum(np.minimum(first, middle), np.minimum(np.maximum(first, middle), last))
    return steadied


def refine_mask(confidence: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Align a confidence map with a picture's edges and keep its largest region.

    `confidence` `[h, w]` in [0, 1] or uint8, `rgb` uint8 `[H, W, 3]`; returns the mask uint8 `[H, W]`, 255 = person:
    one connected region, soft along hair and shoulders.
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
    """1 on the connected region of the soft mask with the most confidence, 0 elsewhere: float32 `[H, W]`."""
    import cv2

    count, labels, _, _ = cv2.connectedComponentsWithStats((soft > 0.1).astype(np.uint8), connectivity=8)
    if count <= 1:
        return np.zeros_like(soft)
    # The sum of the confidence, not the area: a large faint region must not win.
    weight = np.bincount(labels.ravel(), weights=confidence.ravel(), minlength=count)
    weight[0] = -1
    return (labels == int(weight.argmax())).astype(np.float32)


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill background regions of uint8 `[H, W]` that the person encloses and that are under 0.5 % of its area."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats((mask < 128).astype(np.uint8), connectivity=4)
    height, width = mask.shape
    filled = mask.copy()
    limit = 0.005 * float((mask >= 128).sum())
    for label in range(1, count):
        x, y, w, h, area = stats[label]
        touches = x == 0 or y == 0 or x + w == width or y + h == height
        if not touches and area < limit:
            filled[labels == label] = 255
    return filled
