"""Sharpness of a face, in the direction of least detail: motion blur removes detail in one direction only."""

from __future__ import annotations

import numpy as np

FACE_SIZE = 64
"""Side, pixels, to which a face's box is resized, so that sharpness does not depend on its distance."""
RIM = 8
"""Pixels left out at each side: background and hair."""
FINE = 1.5
"""Standard deviation, pixels, of the blur that is subtracted: coarser structure is shape and light."""
BLURRED = 0.45
"""Share of the clip's median detail below which a face is blurred. The fastest frames of our recordings keep 0.59 and
more; blurred over 12 percent of the face's width, all keep 0.45 and less."""


def detail_tensor(rgb: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Structure tensors of the upper and the lower half of a face's box, over its contrast: float32 `[2, 2, 2]`.

    The mean of g gᵀ over high-pass gradients g; zero for an empty box.
    `rgb` uint8 `[H, W, 3]`, `face` `[478, 2+]` landmarks in its pixels.
    """
    import cv2

    low = np.maximum(np.floor(face[:, :2].min(0)), 0).astype(int)
    high = np.minimum(np.ceil(face[:, :2].max(0)), rgb.shape[1::-1]).astype(int)
    if (high - low).min() < 2:
        return np.zeros((2, 2, 2), np.float32)
    grey = cv2.cvtColor(rgb[low[1] : high[1], low[0] : high[0]], cv2.COLOR_RGB2GRAY)
    mode = cv2.INTER_AREA if min(grey.shape) > FACE_SIZE else cv2.INTER_LINEAR
    small = cv2.resize(grey, (FACE_SIZE, FACE_SIZE), interpolation=mode).astype(np.float32)[RIM:-RIM, RIM:-RIM]
    fine = small - cv2.GaussianBlur(small, (0, 0), FINE)
    # [half, x or y, pixels]
    gradients = np.stack([cv2.Sobel(fine, cv2.CV_32F, 1, 0), cv2.Sobel(fine, cv2.CV_32F, 0, 1)])
    halves = gradients.reshape(2, 2, -1).swapaxes(0, 1)
    return halves @ halves.swapaxes(1, 2) / (halves.shape[-1] * max(float(small.var()), 1.0))


def absolute_detail(tensors: np.ndarray) -> np.ndarray:
    """Detail of N faces `[N, 2, 2, 2]`, mean of both halves: `[N]`, comparable between clips."""
    return np.sqrt(np.trace(np.asarray(tensors, np.float64), axis1=-2, axis2=-1).clip(min=0)).mean(-1)


def sharpness(tensors: np.ndarray) -> np.ndarray:
    """Detail of N faces `[N, 2, 2, 2]` over their median, in the direction of least detail: `[N]`, about 1.

    The sharper half counts: a closed eye or mouth lowers the detail of one half only.
    """
    if len(tensors) == 0:
        return np.ones(0)
    return np.maximum(_kept_detail(tensors[:, 0]), _kept_detail(tensors[:, 1]))


def _kept_detail(tensors: np.ndarray) -> np.ndarray:
    """Smallest eigenvalue of M^-1/2 J M^-1/2 for each J of `[N, 2, 2]`, M their median: `[N]`; ones where M is zero."""
    values, vectors = np.linalg.eigh(np.median(np.asarray(tensors, np.float64), axis=0))
    if values[0] <= 1e-9:
        return np.ones(len(tensors))
    whiten = vectors @ np.diag(values**-0.5) @ vectors.T
    return np.linalg.eigvalsh(whiten @ tensors @ whiten)[:, 0]
