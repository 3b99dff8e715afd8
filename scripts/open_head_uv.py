"""The open head's texture map: upright, symmetric, most of it for the face (a part of build_open_head.py).

The skin is opened by a seam from the crown down the back of the neck. Its left half is flattened with the front midline
on a straight line and mirrored, so that a texture is mirrored by flipping it. The inside of the mouth, tongue, teeth,
eye sockets and eyeballs are islands of their own in the corners.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from open_head_flatten import boundary_loops, flatten

ISLANDS = ("mouth_interior", "tongue", "upper_teeth", "lower_teeth", "eye_sockets", "left_eyeball", "right_eyeball")
"""Regions with charts of their own; the rest is skin."""
OTHER_SCALE, EAR_SCALE = 0.2, 0.4
"""Length in the map of scalp and neck, and of the ears, over that of an equal length of the face."""
SCALE_STEPS = 20
"""Steps of diffusion of that scale over the mesh."""
SEAM_BEHIND = 0.03
"""Metres behind the scalp's middle at which the seam starts."""
MARGIN = 0.004
"""Room left around an island, as a share of the map."""


@dataclass(frozen=True)
class Chart:
    """Some of the head's triangles in the plane."""

    faces: np.ndarray
    """`[T]` indices of the head's faces."""
    corners: np.ndarray
    """`[T, 3]` indices into uv."""
    uv: np.ndarray
    """`[U, 2]`."""

    def fitted(self, left: float, bottom: float, right: float, top: float) -> Chart:
        """Moved and scaled into a rectangle of the map."""
        low, high = self.uv.min(0), self.uv.max(0)
        scale = ((np.array([right - left, top - bottom]) - 2 * MARGIN) / (high - low)).min()
        centre = np.array([left + right, bottom + top]) / 2
        return Chart(self.faces, self.corners, (self.uv - (low + high) / 2) * scale + centre)

    def beside_midline(self) -> Chart:
        """Its line u = 0 on the map's midline, filling all that is right of it."""
        low, high = self.uv.min(0), self.uv.max(0)
        scale = np.array([0.5 - MARGIN, 1 - 2 * MARGIN]) / (high - [0, low[1]])
        return Chart(self.faces, self.corners, (self.uv - [0, (low[1] + high[1]) / 2]) * scale + 0.5)


class Head:
    """The open head's mesh with its mirror symmetry."""

    def __init__(
        self, vertices: np.ndarray, faces: np.ndarray, mirror: np.ndarray, regions: dict[str, np.ndarray]
    ) -> None:
        self.vertices, self.faces, self.mirror, self.regions = vertices, faces, mirror, regions
        self.middle = mirror == np.arange(len(mirror))
        self.left = vertices[faces].mean(1)[:, 0] > 0
        scale = np.where(regions["scalp"] | regions["neck"], OTHER_SCALE, np.where(regions["ears"], EAR_SCALE, 1.0))
        for _ in range(SCALE_STEPS):
            around = np.zeros((len(scale), 2))
            for k in range(3):
                np.add.at(around, faces[:, k], np.stack([scale[faces].mean(1), np.ones(len(faces))], 1))
            scale = around[:, 0] / around[:, 1]
        self.scale = scale

    def part(self, name: str) -> np.ndarray:
        """`[F]` bool: the faces of an island, or of the skin."""
        inside = {key: self.regions[key][self.faces].all(1) for key in ISLANDS}
        return inside[name] if name in inside else ~np.any(list(inside.values()), 0)

    def half(self, name: str, line: np.ndarray) -> Chart:
        """The left half of a part, flattened, those of its midline's vertices that are in `line` `[V]` on u = 0."""
        chosen = np.nonzero(self.part(name) & self.left)[0]
        used, local = np.unique(self.faces[chosen], return_inverse=True)
        local = local.reshape(-1, 3)
        points, scale, on_line = self.vertices[used], self.scale[used], (self.middle & line)[used]
        shape = local
        if name == "skin":
            shape, points, scale, on_line = _without_gap(local, points, scale, on_line)
        index = np.full(len(self.vertices), -1)
        index[used] = np.arange(len(used))
        mirrored = index[self.mirror[self.faces[~self.left]]][:, ::-1]
        known = {tuple(corners) for corners in np.sort(local, 1).tolist()}
        also = [c for c in mirrored.tolist() if min(c) >= 0 and tuple(sorted(c)) not in known]
        uv = flatten(points, shape, scale, on_line, np.array(also, int).reshape(-1, 3))
        return Chart(chosen, local, uv[: len(used)])

    def eyeball(self, ahead: bool) -> Chart:
        """The front or the back of the left eyeball, each vertex at its angle from the axis."""
        used = self.regions["left_eyeball"]
        direction = self.vertices - self.vertices[used].mean(0)
        direction = direction / (np.linalg.norm(direction, axis=1, keepdims=True) + 1e-12)
        towards = direction * ([1, 1, 1] if ahead else [-1, 1, -1])
        chosen = np.nonzero(self.part("left_eyeball") & (towards[self.faces].mean(1)[:, 2] > 0))[0]
        angle = np.arccos(np.clip(towards[:, 2:], -1, 1))
        across = towards[:, :2] / (np.linalg.norm(towards[:, :2], axis=1, keepdims=True) + 1e-12)
        corners, local = np.unique(self.faces[chosen], return_inverse=True)
        return Chart(chosen, local.reshape(-1, 3), (angle * across)[corners])


def _without_gap(
    faces: np.ndarray, points: np.ndarray, scale: np.ndarray, on_line: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The mouth's gap in the midline closed with a fan about a new vertex on the line.

    It is the shortest stretch of the boundary off the line; each array is returned with what is new.
    """
    loop = next(loop for loop in boundary_loops(faces) if on_line[loop].any())
    loop = np.roll(loop, -int(np.nonzero(on_line[loop] & ~np.roll(on_line[loop], 1))[0][0]))
    off = np.nonzero(~on_line[loop])[0]
    gap = min(np.split(off, np.nonzero(np.diff(off) > 1)[0] + 1), key=len)
    chain = loop[np.append(np.insert(gap, 0, gap[0] - 1), (gap[-1] + 1) % len(loop))]
    fan = np.stack([chain[1:], chain[:-1], np.full(len(chain) - 1, len(points))], 1)
    return (
        np.concatenate([faces, fan]),
        np.concatenate([points, points[chain[[0, -1]]].mean(0, keepdims=True)]),
        np.append(scale, scale[chain].mean()),
        np.append(on_line, True),
    )


def unwrap(
    vertices: np.ndarray, faces: np.ndarray, mirror: np.ndarray, regions: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates `[U, 2]` in [0, 1] (v upwards) and their indices `[F, 3]`.

    vertices `[V, 3]`, faces `[F, 3]`, mirror `[V]` (each vertex's mirror image), regions: the head's vertex masks.
    """
    head = Head(vertices, faces, mirror, regions)
    everywhere = np.ones(len(vertices), bool)
    seam = vertices[:, 2] < vertices[regions["scalp"], 2].mean() - SEAM_BEHIND
    upper_side = vertices[:, 1] > vertices[regions["tongue"], 1].mean()
    charts = [
        head.half("skin", ~seam).beside_midline(),
        head.half("eye_sockets", ~everywhere).fitted(0.9, 0, 1, 0.1),
        head.half("mouth_interior", everywhere).fitted(0.83, 0, 0.9, 0.1),
        head.half("tongue", upper_side).fitted(0.78, 0, 0.83, 0.06),
        head.half("upper_teeth", everywhere).fitted(0.9, 0.1, 0.95, 0.15),
        head.half("lower_teeth", everywhere).fitted(0.95, 0.1, 1, 0.15),
        head.eyeball(ahead=True).fitted(0.92, 0.92, 1, 1),
        head.eyeball(ahead=False).fitted(0.95, 0.87, 1, 0.92),
    ]
    return _with_right_side(head, charts)


def _with_right_side(head: Head, charts: list[Chart]) -> tuple[np.ndarray, np.ndarray]:
    """All charts of the left side and their mirror images; what lies on the midline u = 1/2 is there once."""
    left = np.concatenate([chart.uv for chart in charts])
    both = np.concatenate([left, left * [-1, 1] + [1, 0]])
    corners, start = np.full(head.faces.shape, -1), 0
    opposite = np.full((len(charts), len(head.vertices)), -1)
    for row, chart in enumerate(charts):
        corners[chart.faces] = chart.corners + start
        opposite[row, head.faces[chart.faces]] = chart.corners + start + len(left)
        start += len(chart.uv)
    for row in range(len(charts)):  # quads cut along other diagonals than on the left go where all their corners are
        mirrored = opposite[row, head.mirror[head.faces]]
        fits = (corners[:, 0] < 0) & (mirrored >= 0).all(1) & ~head.left
        corners[fits] = mirrored[fits]
    if (corners < 0).any():
        raise ValueError(f"{(corners < 0).any(1).sum()} triangles are in no chart")
    uv, place = np.unique(both, axis=0, return_inverse=True)
    return uv, place.reshape(-1)[corners]
