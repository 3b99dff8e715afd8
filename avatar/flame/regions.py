"""Vertex regions of a head that has landmarks but no masks of its own, such as an imported FLAME file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from avatar.flame.assets import HeadAsset
from avatar.flame.landmarks import FACE_OVAL, surface_points

OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
EYE_CONTOURS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
LIP_THICKNESS = 0.008
"""Metres: what lies deeper behind the lips' outline belongs to the inside of the mouth."""


def with_landmark_regions(asset: HeadAsset) -> HeadAsset:
    """A copy of `asset` with regions drawn from its landmarks where it has none of that name.

    Contours are taken as polygons in the template's front view: face, lips, eyes (the lids), mouth_interior,
    eyeballs (from the skinning weights), neck and scalp (with the ears). Regions that are there already are kept.
    """
    v = asset.template
    points = surface_points(v, asset.faces, asset.mediapipe_faces, asset.mediapipe_barycentrics)
    balls = {"left_eyeball": asset.weights[:, 3] > 0.9, "right_eyeball": asset.weights[:, 4] > 0.9}
    eyeballs = balls["left_eyeball"] | balls["right_eyeball"]

    lip_points = points[list(OUTER_LIPS)]
    inside_lips = inside_polygon(v[:, :2], lip_points[:, :2]) & ~eyeballs & (v[:, 2] > lip_points[:, 2].min() - 0.05)
    depth = _depth_behind(v, lip_points, inside_lips)
    lips = inside_lips & (depth < LIP_THICKNESS)
    mouth_interior = inside_lips & ~lips

    front = v[:, 2] > points[list(FACE_OVAL), 2].min() - 0.01
    face = inside_polygon(v[:, :2], points[list(FACE_OVAL), :2]) & front & ~eyeballs & ~mouth_interior
    eyes = np.zeros(len(v), bool)
    for contour in EYE_CONTOURS:
        ring = points[list(contour), :2]
        grown = ring.mean(0) + 1.3 * (ring - ring.mean(0))
        eyes |= inside_polygon(v[:, :2], grown) & face & (v[:, 2] > points[list(contour), 2].min() - 0.006)

    chin, nose = points[152, 1], points[4, 1]
    neck = ~face & ~eyeballs & ~mouth_interior & ((v[:, 1] < chin + 0.005) | (asset.weights[:, 0] > 0.5))
    scalp = ~face & ~neck & ~eyeballs & ~mouth_interior & (v[:, 1] > nose)
    drawn = {"face": face, "lips": lips, "eyes": eyes, "mouth_interior": mouth_interior, "neck": neck, "scalp": scalp}
    return replace(asset, regions=drawn | balls | {"eyeballs": eyeballs} | asset.regions)


def inside_polygon(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Which of `points` `[P, 2]` lie inside a closed `polygon` `[K, 2]` (even-odd rule)."""
    x, y = points[:, :1], points[:, 1:]
    x0, y0 = polygon[:, 0], polygon[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return (crosses & (x < at)).sum(1) % 2 == 1


def _depth_behind(vertices: np.ndarray, outline: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """How far (m) each chosen vertex lies behind the foremost chosen one within 3 mm of it in the front view."""
    depth = np.full(len(vertices), np.inf)
    index = np.flatnonzero(chosen)
    near = np.linalg.norm(vertices[index, None, :2] - vertices[None, index, :2], axis=-1) < 0.003
    foremost = np.where(near, vertices[None, index, 2], -np.inf).max(1)
    depth[index] = foremost - vertices[index, 2]
    # a cavity that opens straight to the front has no vertex before it; the outline's own depth bounds the lips
    nearest = np.linalg.norm(vertices[index, None, :2] - outline[None, :, :2], axis=-1).argmin(1)
    depth[index] = np.maximum(depth[index], outline[nearest, 2] - 0.004 - vertices[index, 2])
    return depth
