"""Cutting the head off the body along a clean line (a part of build_open_head.py)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def above_collar(vertices: np.ndarray) -> np.ndarray:
    """Height in metres `[V]` above the surface that cuts the base mesh: a collar, lower in front, and its two sides."""
    collar = vertices[:, 1] - 0.577 + 0.3 * (vertices[:, 2] - 0.02)
    return np.minimum(collar, 0.115 - np.abs(vertices[:, 0]))


@dataclass
class Cut:
    """Faces cut along a level line; vertices on it lie between two old ones each."""

    faces: np.ndarray
    between: np.ndarray  # [K, 2] old vertices
    share: np.ndarray  # [K] of the second

    def vertices(self, values: np.ndarray) -> np.ndarray:
        """Values `[V, ...]` of the old vertices, with those of the new ones."""
        share = self.share.reshape(-1, *[1] * (values.ndim - 1))
        return np.concatenate([values, (1 - share) * values[self.between[:, 0]] + share * values[self.between[:, 1]]])


def cut_faces(faces: np.ndarray, height: np.ndarray) -> Cut:
    """Keep what has a positive `height` `[V]` of each face, with new vertices where edges cross zero."""
    new: dict[tuple[int, int], int] = {}
    shares: list[float] = []
    out = []

    def crossing(a: int, b: int) -> int:
        a, b = min(a, b), max(a, b)
        if (a, b) not in new:
            new[a, b] = len(height) + len(new)
            shares.append(height[a] / (height[a] - height[b]))
        return new[a, b]

    for face in faces.tolist():
        polygon = []
        for k in range(3):
            a, b = face[k], face[k - 2]
            if height[a] > 0:
                polygon.append(a)
            if (height[a] > 0) != (height[b] > 0):
                polygon.append(crossing(a, b))
        out += [(polygon[0], polygon[k], polygon[k + 1]) for k in range(1, len(polygon) - 1)]
    return Cut(np.array(out), np.array(list(new), dtype=int).reshape(-1, 2), np.array(shares))
