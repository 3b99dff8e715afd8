"""Points of a scan for fitting and for measuring: spread evenly over the surface that can be seen from outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avatar.geometry.cameras import Camera, look_at
from capture_tools.scan.handedness import winding
from capture_tools.scan.rendering import ScanPainter, directions
from capture_tools.scan.scan import Scan, plane_normals

DIRECTIONS = 48
"""In which a point may see out of the scan."""
OPEN = 0.04
"""Share of directions that a point of the outer surface sees out in; points inside a hollow shell see less."""
THROUGH = 1.3
"""Times the share of open edges: more of the directions, since one sees through holes."""
LIFT = 0.0006
"""Metres above the surface from which a point looks out."""
SEEN_SIZE, SEEN_TIMES = 160, 2
"""Pixels across the pictures of a cloud, and from how many sides a point of it is seen."""


@dataclass(frozen=True)
class Samples:
    """Points on a scan, in the head model's frame."""

    points: np.ndarray
    """`[N, 3]` metres."""
    normals: np.ndarray
    """`[N, 3]` unit vectors, outwards where `oriented`."""
    oriented: bool
    """False where the sign of the normals is not known."""

    def chosen(self, index: np.ndarray) -> Samples:
        return Samples(self.points[index], self.normals[index], self.oriented)

    def __len__(self) -> int:
        return len(self.points)


def joined(first: Samples, second: Samples) -> Samples:
    """Both, in one."""
    return Samples(
        np.concatenate([first.points, second.points]),
        np.concatenate([first.normals, second.normals]),
        first.oriented and second.oriented,
    )


def sample_scan(scan: Scan, count: int, within: tuple[np.ndarray, float], seed: int = 0) -> tuple[Samples, list[str]]:
    """About `count` points of the scan's outer surface in a ball (centre `[3]`, radius in metres), and notes.

    The scan is in the head model's frame. Of a cloud the points themselves are taken.
    """
    centre, radius = within
    if scan.faces is None:
        return _of_cloud(scan, count, centre, radius, seed), []
    corners = scan.vertices[scan.faces]
    near = np.linalg.norm(corners.mean(1) - centre, axis=1) < radius
    corners = corners[near]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=1)
    smooth = _vertex_normals(scan)[scan.faces[near]]
    rng = np.random.default_rng(seed)
    triangle = rng.choice(len(area), count, p=area / area.sum())
    mix = rng.dirichlet((1, 1, 1), count)
    points = (corners[triangle] * mix[..., None]).sum(1)
    flat = normals[triangle] / area[triangle, None]
    blended = (smooth[triangle] * mix[..., None]).sum(1)
    length = np.linalg.norm(blended, axis=1, keepdims=True)
    blended = np.where((length > 0.5) & ((blended * flat).sum(1, keepdims=True) > 0.3), blended, flat)
    sampled = blended / np.linalg.norm(blended, axis=1, keepdims=True)
    sign, coherent, notes = winding(scan, centre)
    openness = see_out(scan, points, flat * sign)
    if not coherent:
        behind = see_out(scan, points, -flat)
        turned = behind > openness
        sampled[turned] *= -1
        openness = np.maximum(openness, behind)
        sign = 1
    outer = openness > OPEN + THROUGH * porosity(scan)
    return Samples(points[outer], sign * sampled[outer], True), notes


def _vertex_normals(scan: Scan) -> np.ndarray:
    """Unit normals `[P, 3]`, the mean over vertices at one place (seams of textures included)."""
    assert scan.faces is not None
    corners = scan.vertices[scan.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    _, place = np.unique(np.round(scan.vertices, 6), axis=0, return_inverse=True)
    at = place[scan.faces].ravel()
    total = np.stack([np.bincount(at, np.repeat(normals[:, i], 3), place.max() + 1) for i in range(3)], 1)
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)
    return total[place]


def porosity(scan: Scan) -> float:
    """The share of the triangles' edges that have no neighbour: how full of holes a scan is."""
    assert scan.faces is not None
    _, place = np.unique(np.round(scan.vertices, 6), axis=0, return_inverse=True)
    edges = np.sort(place[scan.faces[:, [0, 1, 1, 2, 2, 0]]].reshape(-1, 2), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    return float((count == 1).sum() / len(edges))


def see_out(scan: Scan, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The share `[N]` of directions above the surface in which a point sees out of the scan."""
    query = scan.query()
    # a Fibonacci sphere: evenly spread directions
    index = np.arange(DIRECTIONS) + 0.5
    z = 1 - 2 * index / DIRECTIONS
    angle = np.pi * (1 + 5**0.5) * index
    around = np.stack([np.sqrt(1 - z * z) * np.cos(angle), z, np.sqrt(1 - z * z) * np.sin(angle)], 1)
    origins = torch.as_tensor(points + LIFT * normals, dtype=torch.float32)
    out = np.zeros(len(points))
    tried = np.zeros(len(points))
    for direction in around:
        above = np.flatnonzero(normals @ direction > 0.1)
        ray = torch.as_tensor(direction, dtype=torch.float32).expand(len(above), 3)
        hits = query.cast_rays(origins[above], ray)
        out[above] += (hits.face < 0).numpy()
        tried[above] += 1
    return out / np.maximum(tried, 1)


def _of_cloud(scan: Scan, count: int, centre: np.ndarray, radius: float, seed: int) -> Samples:
    near = scan.vertices[np.linalg.norm(scan.vertices - centre, axis=1) < radius]
    points = near[seen_points(near, centre, radius)]
    if len(points) > count:
        points = points[np.random.default_rng(seed).choice(len(points), count, replace=False)]
    return Samples(points, plane_normals(points, near), False)


def seen_points(points: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Which points `[P, 3]` of a cloud in a ball are seen from outside: not behind discs at the others."""
    painter = ScanPainter(Scan("cloud", points))
    times = np.zeros(len(points), int)
    focal = 5 * SEEN_SIZE / 2.2
    for direction in directions():
        up = (0, 1, 0) if abs(direction[1]) < 0.9 else (0, 0, 1)
        pose = look_at(centre + 5 * radius * direction, centre, up)
        camera = Camera(SEEN_SIZE, SEEN_SIZE, focal, focal, SEEN_SIZE / 2, SEEN_SIZE / 2, pose)
        depth = painter.surface(camera)[0]
        seen = points @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
        column, row = np.floor(focal * seen[:, :2] / seen[:, 2:] + SEEN_SIZE / 2).astype(int).T
        times += seen[:, 2] < depth[row.clip(0, SEEN_SIZE - 1), column.clip(0, SEEN_SIZE - 1)] + painter.spacing
    return times >= SEEN_TIMES
