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
    uv_faces: np.ndarray
    between: np.ndarray  # [K, 2] old vertices
    uv_between: np.ndarray  # [K, 2] old texture coordinates
    share: np.ndarray  # [K] of the second
    uv_share: np.ndarray

    def vertices(self, values: np.ndarray) -> np.ndarray:
        return _extended(values, self.between, self.share)

    def corners(self, values: np.ndarray) -> np.ndarray:
        return _extended(values, self.uv_between, self.uv_share)


def _extended(values: np.ndarray, between: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return np.concatenate([values, (1 - share) * values[between[:, 0]] + share * values[between[:, 1]]])


def cut_faces(faces: np.ndarray, uv_faces: np.ndarray, height: np.ndarray, uv_count: int) -> Cut:
    """Keep what has a positive `height` `[V]` of each face, with new vertices where edges cross zero."""
    new: dict[tuple[int, int], int] = {}
    uv_new: dict[tuple[int, int], int] = {}
    shares: dict[str, list[float]] = {"vertex": [], "uv": []}
    out, uv_out = [], []

    def crossing(a: int, b: int, uv_a: int, uv_b: int) -> tuple[int, int]:
        if a > b:
            a, b, uv_a, uv_b = b, a, uv_b, uv_a
        share = height[a] / (height[a] - height[b])
        if (a, b) not in new:
            new[a, b] = len(height) + len(new)
            shares["vertex"].append(share)
        if (uv_a, uv_b) not in uv_new:
            uv_new[uv_a, uv_b] = uv_count + len(uv_new)
            shares["uv"].append(share)
        return new[a, b], uv_new[uv_a, uv_b]

    for face, uv_face in zip(faces.tolist(), uv_faces.tolist(), strict=True):
        polygon = []
        for k in range(3):
            a, b, uv_a, uv_b = face[k], face[k - 2], uv_face[k], uv_face[k - 2]
            if height[a] > 0:
                polygon.append((a, uv_a))
            if (height[a] > 0) != (height[b] > 0):
                polygon.append(crossing(a, b, uv_a, uv_b))
        for k in range(1, len(polygon) - 1):
            corners = (polygon[0], polygon[k], polygon[k + 1])
            out.append([v for v, _ in corners])
            uv_out.append([t for _, t in corners])
    between, uv_between = (np.array(list(table), dtype=int).reshape(-1, 2) for table in (new, uv_new))
    return Cut(np.array(out), np.array(uv_out), between, uv_between, np.array(shares["vertex"]), np.array(shares["uv"]))
