"""Closest points of a scan's samples on the head's outer surface, without those that say nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from avatar.flame.assets import HeadAsset
from avatar.geometry.meshes import boundary_edges, vertex_normals
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate
from capture_tools.scan.sampling import Samples

INSIDE = ("mouth_interior", "teeth", "tongue", "eye_sockets")
"""Regions that no scanner sees, or hardly."""
LARGEST_ANGLE = 60.0
"""Degrees between the normals of a sample and of its closest point."""
ON_BORDER = 0.995
"""Weight on border vertices from which a closest point lies on the border."""


@dataclass(frozen=True)
class Matches:
    """Samples with their closest points."""

    sample: np.ndarray
    """`[M]` index of the sample."""
    corners: np.ndarray
    """`[M, 3]` vertices of the head."""
    barycentrics: np.ndarray
    """`[M, 3]`."""
    normals: np.ndarray
    """`[M, 3]` the samples' normals, outwards."""
    distance: np.ndarray
    """`[M]` metres, unsigned."""

    def interpolation(self, vertex_count: int) -> sparse.csr_matrix:
        """`[M, V]`: the closest points as weighted sums of the head's vertices."""
        row = np.repeat(np.arange(len(self.corners)), 3)
        entries = (self.barycentrics.ravel(), (row, self.corners.ravel()))
        return sparse.csr_matrix(entries, shape=(len(self.corners), vertex_count))

    def along_normals(self, vertex_count: int) -> sparse.csr_matrix:
        """`[M, 3 V]`: the closest points' coordinates along the samples' normals, from all vertices' coordinates."""
        values = self.barycentrics[:, :, None] * self.normals[:, None]
        column = 3 * self.corners[:, :, None] + np.arange(3)
        row = np.repeat(np.arange(len(self.corners)), 9)
        return sparse.csr_matrix((values.ravel(), (row, column.ravel())), shape=(len(self.corners), 3 * vertex_count))


class HeadSurface:
    """The outer surface of a head, whose vertices may move between matches."""

    def __init__(self, asset: HeadAsset) -> None:
        faces = torch.as_tensor(asset.faces).long()
        inside = np.zeros(asset.vertex_count, bool)
        for name in INSIDE:
            inside |= asset.regions.get(name, np.zeros(asset.vertex_count, bool))
        outer = ~inside[asset.faces].all(1)
        self.faces = faces[torch.as_tensor(outer)]
        self.all_faces = faces
        self.query = MeshQuery(self.faces)
        self.border = np.zeros(asset.vertex_count, bool)
        self.border[boundary_edges(self.faces).numpy().ravel()] = True

    def match(self, vertices: np.ndarray, samples: Samples, farthest: float) -> Matches:
        """Closest points of the samples on vertices `[V, 3]`, nearer than `farthest` metres, whose normals agree.

        Those on a border of the surface are left out: the scan goes on there where the head ends.
        """
        moved = torch.as_tensor(vertices, dtype=torch.float32)
        closest = self.query.update(moved).closest_points(
            torch.as_tensor(samples.points, dtype=torch.float32), farthest
        )
        found = (closest.face >= 0).numpy()
        face = closest.face[found].long()
        barycentrics = closest.barycentrics[found]
        corners = self.faces[face]
        normals = interpolate(vertex_normals(moved, self.all_faces), self.faces, face, barycentrics)
        normals = torch.nn.functional.normalize(normals, dim=-1).numpy()
        mine = samples.normals[found]
        cosine = (normals * mine).sum(1)
        if not samples.oriented:
            mine = np.where(cosine[:, None] < 0, -mine, mine)
            cosine = np.abs(cosine)
        rim = (barycentrics.numpy() * self.border[corners.numpy()]).sum(1) > ON_BORDER
        kept = (cosine > np.cos(np.radians(LARGEST_ANGLE))) & ~rim
        return Matches(
            np.flatnonzero(found)[kept],
            corners.numpy()[kept],
            barycentrics.numpy()[kept].astype(np.float64),
            mine[kept],
            closest.distance[found].numpy()[kept].astype(np.float64),
        )


def geman_mcclure(distance: np.ndarray, scale: float) -> np.ndarray:
    """Weights of reweighted least squares for the loss d^2 / (d^2 + s^2), 1 at zero."""
    return 1 / (1 + (distance / scale) ** 2) ** 2
