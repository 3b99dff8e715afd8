"""Ratio images: what light from another side hardly changes in a picture.

A picture blurred a little over the same picture blurred more: shading, which varies slowly, is in both and cancels
(ratio of Gaussians, as in the third stage of Li et al., ACM TOG 36(6), 2017). The logarithm makes lighter and darker
alike.
"""

from __future__ import annotations

import cv2
import numpy as np

WIDER = 3.0
"""Deviation of the wide blur over that of the narrow one."""
DARK = 0.03
"""Added to luminances: the noise of black counts little."""
HELD = 0.3
"""Share of the narrow blur that must be known."""


def ratio_image(luminance: np.ndarray, known: np.ndarray, deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """The logarithm `[H, W]` float32 of the ratio of two blurs, and where it is known `[H, W]` (bool).

    luminance: `[H, W]` in 0 to 1. known: bool `[H, W]`; the blurs take nothing from elsewhere. deviation: pixels, of
    the narrow blur.
    """
    weight = known.astype(np.float32)
    values = np.where(known, luminance + DARK, 0).astype(np.float32)
    narrow, wide = ((_blurred(values, amount), _blurred(weight, amount)) for amount in (deviation, WIDER * deviation))
    good = known & (narrow[1] > HELD)
    ratio = np.ones_like(values)
    ratio[good] = (narrow[0][good] / narrow[1][good]) / (wide[0][good] / wide[1][good])
    return np.log(ratio), good


def _blurred(values: np.ndarray, deviation: float) -> np.ndarray:
    return cv2.GaussianBlur(values, (0, 0), deviation, borderType=cv2.BORDER_CONSTANT)


def slopes(ratio: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives `[H, W, 2]` per pixel to the right and down, and where they are known `[H, W]` (bool)."""
    right = cv2.Sobel(ratio, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(ratio, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    inside = cv2.erode(good.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=(0.0,)) > 0
    return np.stack([right, down], -1), np.asarray(inside)
