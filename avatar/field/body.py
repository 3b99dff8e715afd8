"""The body that a person is expected to have in canonical space: the head with its hair, and the torso below.

A single camera leaves depth open beside the head's mesh: all that projects into the mask explains the pictures. Where
the pixel shows this body, the person is expected at its depth and nowhere else along the ray.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.geometry.meshes import vertex_normals
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate

FURTHEST = 0.11
"""Metres; greatest margin that counts."""


@dataclass
class Body:
    """A mesh in canonical space and how far from it the person may be."""

    vertices: Tensor
    """`[B, 3]` metres."""
    faces: Tensor
    """`[G, 3]` int32."""
    margin: Tensor
    """`[B]` metres outside the mesh within which the person is expected."""

    def joined(self, other: Body) -> Body:
        """Both meshes as one."""
        return Body(
            torch.cat([self.vertices, other.vertices]),
            torch.cat([self.faces, other.faces + len(self.vertices)]),
            torch.cat([self.margin, other.margin]),
        )

    def expects(self, points: Tensor) -> Tensor:
        """`[P]` bool: points `[P, 3]` (metres, canonical) inside the mesh or within its margin."""
        nearest = MeshQuery(self.faces, points.device).update(self.vertices).closest_points(points, FURTHEST)
        normals = vertex_normals(self.vertices, self.faces)
        values = torch.cat([self.vertices, normals, self.margin[:, None]], 1)
        at, normal, margin = interpolate(values, self.faces, nearest.face, nearest.barycentrics).split([3, 3, 1], 1)
        inside = ((points - at) * normal).sum(-1) < 0
        return (nearest.face >= 0) & (inside | (nearest.distance <= margin[:, 0]))
