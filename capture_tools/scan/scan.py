"""A scan: a mesh or a cloud of points, as it was recorded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.spatial import KDTree

from avatar.kernels.mesh.op import MeshQuery

NEIGHBOURS = 12
"""Points of a cloud that make a plane."""


@dataclass(frozen=True)
class Scan:
    """A recorded surface in a unit and an orientation of its own."""

    name: str
    vertices: np.ndarray
    """`[P, 3]` float64, finite."""
    faces: np.ndarray | None = None
    """`[T, 3]` int64; None for a cloud of points."""
    colours: np.ndarray | None = None
    """`[P, 3]` uint8 sRGB of the vertices."""
    uv: np.ndarray | None = None
    """`[P, 2]` float64 of the vertices, v upwards; with a texture only."""
    texture: np.ndarray | None = None
    """`[H, W, 3]` uint8 sRGB."""
    notes: tuple[str, ...] = field(default=())
    """What reading changed or guessed, for the user."""

    def moved(self, transform: np.ndarray) -> Scan:
        """The scan after an affine map `[4, 4]`."""
        return replace(self, vertices=apply(transform, self.vertices))

    def query(self) -> MeshQuery:
        """Rays and closest points on the scan's triangles; of a scan that has some."""
        assert self.faces is not None
        faces = torch.as_tensor(np.ascontiguousarray(self.faces))
        return MeshQuery(faces).update(torch.as_tensor(self.vertices, dtype=torch.float32))

    @property
    def has_colours(self) -> bool:
        return self.colours is not None or self.texture is not None


def apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points `[..., 3]` after an affine map `[4, 4]`."""
    return points @ transform[:3, :3].T + transform[:3, 3]


def scale_of(similarity: np.ndarray) -> float:
    """The scale factor of a similarity `[4, 4]`."""
    return float(np.cbrt(np.linalg.det(similarity[:3, :3])))


def fit_similarity(source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The similarity `[4, 4]` (proper rotation, one scale) that maps `source` `[K, 3]` closest to `target` `[K, 3]`.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 13(4), 1991.
    """
    share = np.full(len(source), 1 / len(source)) if weights is None else weights / weights.sum()
    mean_source, mean_target = share @ source, share @ target
    a, b = source - mean_source, target - mean_target
    u, singular, vt = np.linalg.svd((b * share[:, None]).T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float(singular @ sign) / max(float(share @ (a**2).sum(1)), 1e-30)
    similarity = np.eye(4)
    similarity[:3, :3] = scale * rotation
    similarity[:3, 3] = mean_target - scale * rotation @ mean_source
    return similarity


def robust_similarity(source: np.ndarray, target: np.ndarray, rounds: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A similarity `[4, 4]` that outliers hardly move, and the residuals `[K]` in the target's unit.

    Geman-McClure weights about twice the median residual.
    """
    weights = np.ones(len(source))
    similarity = fit_similarity(source, target)
    for _ in range(rounds):
        residual = np.linalg.norm(apply(similarity, source) - target, axis=1)
        size = 2 * np.median(residual) + 1e-12
        weights = 1 / (1 + (residual / size) ** 2) ** 2
        similarity = fit_similarity(source, target, weights)
    return similarity, np.linalg.norm(apply(similarity, source) - target, axis=1)


def plane_normals(points: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """Unit normals `[N, 3]`, of either sign, of the planes through the neighbours of `points` `[N, 3]` in a cloud."""
    neighbours = KDTree(cloud).query(points, k=min(NEIGHBOURS, len(cloud)))[1]
    around = cloud[neighbours]
    around = around - around.mean(1, keepdims=True)
    return np.linalg.eigh(np.einsum("nki,nkj->nij", around, around))[1][..., 0]
