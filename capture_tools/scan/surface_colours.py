"""The registered texture: colours on a lattice in every triangle of the head, taken from a coloured scan.

Mesh colours (Yuksel, Keyser, House, ACM TOG 29(2), 2010): no texture map is needed, and there are no seams.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.spatial import KDTree

from avatar.geometry.meshes import vertex_normals
from avatar.kernels.mesh.types import interpolate
from capture_tools.scan.rendering import colours_at, point_spacing
from capture_tools.scan.scan import Scan

STEPS = 6
"""Of the lattice along an edge: a colour every 0.8 mm or so in a face."""
CLOSE = 0.0025
"""Metres from the head's surface within which a scan's colour belongs to it."""
SMALLEST_COSINE = 0.5
"""Between the normals of both."""


@dataclass(frozen=True)
class SurfaceColours:
    """Colours of a head's triangles."""

    values: np.ndarray
    """`[F, K, 3]` float32 in 0 to 1, sRGB, at the `K` points of `lattice(STEPS)`."""
    known: np.ndarray
    """`[F, K]` bool."""

    @cached_property
    def _number(self) -> np.ndarray:
        """Index `[STEPS + 1, STEPS + 1]` of the lattice's point (i, j, STEPS - i - j)."""
        number = np.zeros((STEPS + 1, STEPS + 1), np.int64)
        i, j = _steps()
        number[i, j] = np.arange(len(i))
        return number

    def at(self, face: np.ndarray, barycentrics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Colours `[N, 3]`, interpolated, and which are known `[N]`, at triangles `[N]` and barycentrics `[N, 3]`."""
        place = barycentrics[:, :2] * STEPS
        whole = np.clip(np.floor(place), 0, STEPS - 1).astype(np.int64)
        whole[:, 1] = np.minimum(whole[:, 1], STEPS - 1 - whole[:, 0])
        part = np.clip(place - whole, 0, 1)
        i, j = whole.T
        far = (part.sum(1) > 1) & (i + j < STEPS - 1)  # the half of the lattice's cell beyond its diagonal
        first = np.where(far, self._number[np.where(far, i + 1, i), np.where(far, j + 1, j)], self._number[i, j])
        corners = np.stack([first, self._number[i + 1, j], self._number[i, j + 1]], 1)
        near_weights = np.stack([1 - part.sum(1), part[:, 0], part[:, 1]], 1)
        far_weights = np.stack([part.sum(1) - 1, 1 - part[:, 1], 1 - part[:, 0]], 1)
        weights = np.clip(np.where(far[:, None], far_weights, near_weights), 0, 1)
        weights /= weights.sum(1, keepdims=True)
        colours = (self.values[face[:, None], corners] * weights[..., None]).sum(1)
        return colours, np.asarray(self.known[face[:, None], corners].all(1))


def _steps() -> tuple[np.ndarray, np.ndarray]:
    i, j = np.meshgrid(np.arange(STEPS + 1), np.arange(STEPS + 1), indexing="ij")
    inside = i + j <= STEPS
    return i[inside], j[inside]


def lattice() -> np.ndarray:
    """Barycentrics `[K, 3]` of the points of a triangle that have colours."""
    i, j = _steps()
    return np.stack([i, j, STEPS - i - j], 1) / STEPS


def colours_of_scan(scan: Scan, vertices: np.ndarray, faces: np.ndarray, wanted: np.ndarray) -> SurfaceColours:
    """The colours of a registered scan on the head.

    scan: with colours, in the frame of the head's vertices `[V, 3]`; faces `[F, 3]`; wanted: bool `[F]`, the triangles
    that get colours.
    """
    mix = lattice()
    corners = faces[wanted]
    points = np.einsum("kc,fcd->fkd", mix, vertices[corners]).reshape(-1, 3)
    if scan.faces is None:
        assert scan.colours is not None
        distance, nearest = KDTree(scan.vertices).query(points)
        found = distance < max(CLOSE, point_spacing(scan.vertices))
        colours = scan.colours[nearest].astype(np.float32) / 255
    else:
        closest = scan.query().closest_points(torch.as_tensor(points, dtype=torch.float32), CLOSE)
        found = (closest.face >= 0).numpy()
        colours = np.zeros((len(points), 3), np.float32)
        colours[found] = colours_at(scan, closest.face[found].long(), closest.barycentrics[found])
        normals = vertex_normals(torch.as_tensor(vertices, dtype=torch.float32), torch.as_tensor(faces)).numpy()
        mine = np.einsum("kc,fcd->fkd", mix, normals[corners]).reshape(-1, 3)
        hit = torch.as_tensor(scan.faces)
        scan_normals = vertex_normals(torch.as_tensor(scan.vertices, dtype=torch.float32), hit)
        theirs = interpolate(scan_normals, hit, closest.face[found].long(), closest.barycentrics[found]).numpy()
        cosine = (mine[found] * theirs).sum(1) / np.maximum(
            np.linalg.norm(mine[found], axis=1) * np.linalg.norm(theirs, axis=1), 1e-12
        )
        found[found] = np.abs(cosine) > SMALLEST_COSINE  # a scan's triangles may wind either way
    values = np.zeros((len(faces), len(mix), 3), np.float32)
    known = np.zeros((len(faces), len(mix)), bool)
    values[wanted], known[wanted] = colours.reshape(-1, len(mix), 3), found.reshape(-1, len(mix))
    return SurfaceColours(values, known)
