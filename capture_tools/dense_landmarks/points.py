"""The surface points that dense landmarks stand for: the detector's 478, and some of ears, neck and scalp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar.base.conventions import LANDMARK_COUNT
from avatar.flame.assets import HeadAsset
from avatar.flame.landmarks import mediapipe_mirror, surface_points

EXTRA = {"ears": 40, "neck": 24, "scalp": 32}
"""Vertices of each region, without those on the middle line half of them on either side."""


@dataclass(frozen=True)
class DensePoints:
    """P points of a head's surface, the 478 landmarks first."""

    faces: np.ndarray
    """`[P]` triangles."""
    barycentrics: np.ndarray
    """`[P, 3]` within them."""
    mirror: np.ndarray
    """`[P]` the point on the other side."""

    def __len__(self) -> int:
        return len(self.faces)

    def at(self, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """The points `[..., P, 3]` of heads with vertices `[..., V, 3]`."""
        return surface_points(vertices, triangles, self.faces, self.barycentrics)


def dense_points(asset: HeadAsset) -> DensePoints:
    """The points of a head that knows its mirror image. Raises HeadModelError for a head without landmarks."""
    asset.require_landmarks()
    other = asset.extras["mirror"].astype(int)
    chosen: list[int] = []
    for name, count in EXTRA.items():
        chosen += spread_vertices(asset, np.flatnonzero(asset.region(name)), other, count)
    face = [int(np.flatnonzero((asset.faces == vertex).any(1))[0]) for vertex in chosen]
    corner = (asset.faces[face] == np.array(chosen)[:, None]).astype(np.float32)
    place = {vertex: LANDMARK_COUNT + row for row, vertex in enumerate(chosen)}
    return DensePoints(
        np.concatenate([asset.mediapipe_faces, face]),
        np.concatenate([asset.mediapipe_barycentrics.astype(np.float32), corner]),
        np.concatenate([mediapipe_mirror(), [place[int(other[vertex])] for vertex in chosen]]),
    )


def spread_vertices(asset: HeadAsset, rows: np.ndarray, other: np.ndarray, count: int) -> list[int]:
    """`count` vertices of `rows`, or one less, with their mirror images: each the farthest from those before."""
    places = asset.template
    right = rows[places[rows, 0] >= -1e-6]
    first = int(right[places[right, 2].argmax()])
    chosen: list[int] = []
    away = np.full(len(right), np.inf)
    while first not in chosen and len(chosen) + (2 if other[first] != first else 1) <= count:
        chosen += [first] if other[first] == first else [first, int(other[first])]
        away = np.minimum(away, np.linalg.norm(places[right] - places[first], axis=1))
        first = int(right[away.argmax()])
    return chosen
