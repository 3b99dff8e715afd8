"""Where in a picture a body can be: a second opinion for the person's mask.

MediaPipe's pose network (BlazePose, Bazarevsky et al., 2020) finds whole bodies and segments them roughly. The
background deceives it elsewhere than the selfie segmentation.
"""

from __future__ import annotations

import numpy as np

from capture_tools.detect.tflite_models import Network, model_bytes, unit_values

MODEL_SIZE = 256
"""Pixels of both networks' square inputs, and of their answers."""
PICTURE_SHARE = 1 / 3
"""Side of the picture in the network's input. The network knows whole bodies: head and shoulders that fill the input
lose their lower corners, at this size they do not."""
TOP_SHARE = 1 / 48
"""Black above the picture in the network's input, where a body of that size would have its head."""
LEAST_CONFIDENCE = 0.1
"""A body may be where the network is at least so sure."""
DILATION = 5
"""Pixels of a picture of 256 over which that place is widened: the network's border is coarse."""
PRESENT = 0.5
"""Probability of a body below which the network has found none, and has no opinion."""


class BodyFinder:
    """MediaPipe's pose network, for its segmentation, one image at a time."""

    def __init__(self) -> None:
        self._network = Network(model_bytes("pose_landmark_full.tflite"))

    def reach(self, rgb: np.ndarray) -> np.ndarray:
        """1 where a body can be, 0 elsewhere: uint8 `[H, W, 3]` to float32 `[256, 256]` over the whole picture.

        1 everywhere where the network finds no body.
        """
        import cv2

        height, width = rgb.shape[:2]
        scale = MODEL_SIZE * PICTURE_SHARE / max(height, width)
        h, w = max(1, round(scale * height)), max(1, round(scale * width))
        top, left = round(MODEL_SIZE * TOP_SHARE), (MODEL_SIZE - w) // 2
        inside = slice(top, top + h), slice(left, left + w)
        whole = np.zeros((MODEL_SIZE, MODEL_SIZE, 3), np.uint8)
        whole[inside] = cv2.resize(rgb, (w, h), interpolation=cv2.INTER_AREA)
        outputs = self._network(cv2.LUT(whole, unit_values(0.0, 1.0)))
        presence = next(one for one in outputs if one.shape == (1,))
        if presence.item() < PRESENT:
            return np.ones((MODEL_SIZE, MODEL_SIZE), np.float32)
        logits = next(one for one in outputs if one.shape == (MODEL_SIZE, MODEL_SIZE, 1))[..., 0]
        likely = np.log(LEAST_CONFIDENCE / (1 - LEAST_CONFIDENCE))
        body = cv2.resize(logits[inside], (MODEL_SIZE, MODEL_SIZE), interpolation=cv2.INTER_LINEAR) > likely
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (DILATION, DILATION))
        return cv2.dilate(body.astype(np.float32), disc)
