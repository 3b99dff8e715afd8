"""Sets of MediaPipe's 478 landmarks by facial part, and the distances measured between them.

Left and right are the person's own. Indices from MediaPipe's `face_mesh_connections.py` (Apache-2.0), in contour
order. Everything works on numpy arrays of any leading shape.
"""

from __future__ import annotations

import numpy as np

OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
LIPS = OUTER_LIPS + INNER_LIPS
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_IRIS = (468, 469, 470, 471, 472)
LEFT_IRIS = (473, 474, 475, 476, 477)
EYE_OUTER_CORNERS = (33, 263)
"""Right and left outer eye corner: the two ends of the inter-ocular distance."""
EYE_CORNERS = ((33, 133), (263, 362))
"""Outer and inner corner of the right and of the left eye."""
INNER_LIP_MIDDLE = (13, 14)
"""Upper and lower inner lip, on the middle line."""
LID_MIDDLES = ((159, 145), (386, 374))
"""Upper and lower lid in the middle of the right and of the left eye."""


def inter_ocular_distance(landmarks: np.ndarray) -> np.ndarray:
    """Distance between the outer eye corners, the normaliser of the iBUG 300-W benchmark.

    `landmarks` `[..., 478, D]` in any unit; returns `[...]` in the same unit (NaN where a corner is missing). The one
    definition of "inter-ocular" in this program: `landmark_error_iod`, `expression_error` and `lip_distance` use it.
    """
    return distances(landmarks, (EYE_OUTER_CORNERS,))[0]


def lip_distance(landmarks: np.ndarray) -> np.ndarray:
    """Gap between the inner lips on the middle line over the inter-ocular distance; `[..., 478, D]` to `[...]`."""
    return distances(landmarks, (INNER_LIP_MIDDLE,))[0] / inter_ocular_distance(landmarks)


def lid_distance(landmarks: np.ndarray) -> np.ndarray:
    """Mean gap between the lids of both eyes over the inter-ocular distance; `[..., 478, D]` to `[...]`."""
    right, left = distances(landmarks, LID_MIDDLES)
    return (right + left) / 2 / inter_ocular_distance(landmarks)


def eye_aspect_ratio(landmarks: np.ndarray) -> np.ndarray:
    """Gap between the lids over the eye's width, mean of both eyes; `[..., 478, D]` to `[...]`.

    Cech and Soukupova 2016, with one pair of lid points for each eye: its own width is its measure.
    """
    (right, left), (right_width, left_width) = distances(landmarks, LID_MIDDLES), distances(landmarks, EYE_CORNERS)
    return (right / right_width + left / left_width) / 2


def distances(landmarks: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
    """Distance between the two landmarks of each pair; `[..., 478, D]` to `[...]` each."""
    return [np.linalg.norm(landmarks[..., a, :] - landmarks[..., b, :], axis=-1) for a, b in pairs]


def bounding_box(points: np.ndarray, width: int, height: int, grow: float = 0.25) -> tuple[int, int, int, int]:
    """Pixel box (x0, y0, x1, y1), upper ends excluded, around `points` `[K, 2]`, grown by `grow` of its own width.

    The growth is the same on all four sides; the box is clipped to the image. Points that are NaN are ignored; where
    none is left, or the box lies outside the image, the box is empty: (0, 0, 0, 0).
    """
    points = points[np.isfinite(points).all(axis=-1)]
    if len(points) == 0:
        return (0, 0, 0, 0)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = grow * (high[0] - low[0])
    x0, y0 = np.maximum(np.floor(low - margin), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high + margin), (width, height)).astype(int)
    return (int(x0), int(y0), int(x1), int(y1)) if x1 > x0 and y1 > y0 else (0, 0, 0, 0)
