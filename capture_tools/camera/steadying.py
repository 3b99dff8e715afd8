"""Small motions of a hand-held phone, undone: each picture is moved so that what stands behind the person stays put.

A rotating camera moves the whole picture alike, whatever the depth, so that moving it back is exact; of a hand that
also shifts the camera, the background's part is undone and the rest is left as a motion of the person. Corners of the
background are tracked from one frame of the clip to every other (Lucas and Kanade 1981).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from capture_tools.camera.background import MINIMAL_FEATURES, background_corners, free_of_person, track_corners

LEAST = 0.2
"""Pixels of the crop below which a background counts as standing still."""
MOST = 0.03
"""Largest displacement that is undone, in sides of the crop; beyond it the camera was carried."""
FOUND = 0.9
"""Share of the frames in which the background must be found; in the others its motion is interpolated."""


@dataclass(frozen=True)
class Sway:
    """How the picture sways over K frames, as rotations and shifts that bring it back."""

    angle: np.ndarray
    """`[K]` radians, clockwise on the screen."""
    shift: np.ndarray
    """`[K, 2]` x and y in source pixels, after the rotation about `centre`."""
    centre: tuple[float, float]
    """Source pixels."""

    def transform(self, row: int) -> np.ndarray:
        """`[2, 3]`: source pixels of frame `row` to steady ones, pixel centres at 0.5."""
        cosine, sine = math.cos(self.angle[row]), math.sin(self.angle[row])
        rotation = np.array([[cosine, -sine], [sine, cosine]])
        centre = np.array(self.centre)
        return np.concatenate([rotation, (centre - rotation @ centre + self.shift[row])[:, None]], axis=1)

    def steady_points(self, pixels: np.ndarray) -> np.ndarray:
        """Points `[K, P, 2]` in source pixels as the steady pictures have them."""
        transforms = np.stack([self.transform(row) for row in range(len(self.angle))])
        moved = np.einsum("kij,kpj->kpi", transforms[:, :, :2], pixels) + transforms[:, None, :, 2]
        return moved.astype(pixels.dtype)

    def steady_picture(self, image: np.ndarray, row: int) -> np.ndarray:
        """Frame `row`, uint8 `[H, W, 3]`, moved back; its edges are repeated where the picture ends."""
        import cv2

        half = np.array([0.5, 0.5])  # OpenCV has pixel centres at whole numbers
        transform = self.transform(row)
        transform[:, 2] += transform[:, :2] @ half - half
        size = (image.shape[1], image.shape[0])
        return cv2.warpAffine(image, transform, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def find_sway(images: np.ndarray, masks: np.ndarray, x0: int, y0: int, scale: float) -> Sway | None:
    """The sway of crops uint8 `[K, S, S, 3]` with masks uint8 `[K, S, S]`, cut at source pixel (x0, y0), at `scale`
    crop pixels per source pixel.

    None where the background stands still, shows too little, or moves further than a hand that means to be still.
    """
    import cv2

    count, side = len(masks), masks.shape[1]
    middle = count // 2
    grey = cv2.cvtColor(images[middle], cv2.COLOR_RGB2GRAY)
    corners = background_corners(grey, free_of_person(masks[middle]))
    if corners is None:
        return None
    centre = np.array([side / 2, side / 2])
    found = np.full((count, 3), np.nan)
    for row in range(count):
        other = cv2.cvtColor(images[row], cv2.COLOR_RGB2GRAY)
        pair = track_corners(grey, other, corners, free_of_person(masks[row]))
        if pair is None:
            continue
        there, here = (points + 0.5 for points in pair)
        transform, inliers = cv2.estimateAffinePartial2D(here, there, ransacReprojThreshold=1.0)
        if transform is None or inliers.sum() < MINIMAL_FEATURES:
            continue
        angle = math.atan2(transform[1, 0], transform[0, 0])
        found[row] = angle, *(transform[:, :2] @ centre + transform[:, 2] - centre)
    known = np.isfinite(found[:, 0])
    if known.mean() < FOUND:
        return None
    extent = np.abs(found[known, 0]) * side / 2 + np.linalg.norm(found[known, 1:], axis=1)
    if np.percentile(extent, 90) < LEAST or extent.max() > MOST * side:
        return None
    rows = np.arange(count)
    angle, *shift = (np.interp(rows, rows[known], found[known, column]) for column in range(3))
    return Sway(angle, np.stack(shift, 1) / scale, (x0 + side / 2 / scale, y0 + side / 2 / scale))
