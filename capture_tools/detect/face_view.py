"""The view of a face that the network sees: a picture cut out upright, and the landmarks in it.

One function for training and for use: both place the view by the detected landmarks alone.
"""

from __future__ import annotations

import numpy as np

SIDE = 96
"""Pixels of the picture that the network sees."""
WIDER = 1.5
"""Side of the view over the longer side of the landmarks' upright box."""
FOREHEAD, CHIN = 10, 152
"""Landmarks on the middle line, which tell up from down from every side."""


def view_of(landmarks: np.ndarray) -> np.ndarray:
    """The similarity `[..., 2, 3]` float64 from pictures of landmarks `[..., 478, 2]` (pixels) to their views, which
    span [-1, 1] each way.

    The line from chin to forehead points upwards in the view, and the landmarks' box lies in its middle.
    """
    points = np.asarray(landmarks, np.float64)
    up = points[..., FOREHEAD, :] - points[..., CHIN, :]
    up = up / np.maximum(np.linalg.norm(up, axis=-1, keepdims=True), 1e-9)
    right = np.stack([-up[..., 1], up[..., 0]], -1)
    upright = np.stack([right, -up], -2)
    turned = points @ upright.swapaxes(-1, -2)
    low, high = turned.min(-2), turned.max(-2)
    scale = 2 / np.maximum(WIDER * (high - low).max(-1), 1e-6)
    return scale[..., None, None] * np.concatenate([upright, -((low + high) / 2)[..., None]], -1)


def in_view(landmarks: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Landmarks `[..., 478, 2]` (pixels) as `view_of`'s similarities place them, float32."""
    points = np.asarray(landmarks, np.float64)
    return (points @ view[..., :2].swapaxes(-1, -2) + view[..., None, :, 2]).astype(np.float32)


def cut_view(image: np.ndarray, view: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The view of a picture uint8 `[H, W, 3]`: uint8 `[side, side, 3]`; beyond the picture lies its last pixel."""
    import cv2

    # averaged down first, so that a large face does not alias
    shrink = 2 / (side * float(np.linalg.norm(view[0, :2])))
    if shrink > 1.5:
        corners = np.array([[-1, -1, 1, 1], [-1, 1, -1, 1]], float) - view[:, 2:]
        corners = np.linalg.solve(view[:, :2], corners)
        low = np.maximum(np.floor(corners.min(1)) - 2, 0).astype(int)
        high = np.minimum(np.ceil(corners.max(1)) + 2, image.shape[1::-1]).astype(int)
        if (high - low >= 2).all():
            image = image[low[1] : high[1], low[0] : high[0]]
            small = np.maximum(np.rint((high - low) / shrink), 1).astype(int)
            ratio = (high - low) / small
            image = cv2.resize(image, (int(small[0]), int(small[1])), interpolation=cv2.INTER_AREA)
            view = np.concatenate([view[:, :2] * ratio, (view[:, 2] + view[:, :2] @ low)[:, None]], 1)
    # view coordinates to pixels; OpenCV puts the first pixel's centre at 0, this program at 0.5
    matrix = (view * side / 2).copy()
    matrix[:, 2] += side / 2 - 0.5 + matrix[:, :2].sum(1) * 0.5
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
