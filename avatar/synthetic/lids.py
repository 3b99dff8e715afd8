"""Eyelids of a synthetic person: where their rims run on the head's mesh, and upper lashes that grow from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate

ANGLES = 120
STEPS = 70
LASH_COLUMNS, LASH_ROWS = 40, 4
LASH_LENGTH = 0.006
"""Metres; adults' upper lashes are 8 to 12 mm."""


@dataclass(frozen=True)
class Rim:
    """The upper rim of one eye's opening, from its inner to its outer corner, as points of the head's surface."""

    face: Tensor
    """`[LASH_COLUMNS]` int32."""
    barycentrics: Tensor
    """`[LASH_COLUMNS, 3]`."""
    eyeball: Tensor
    """Vertex indices of the eyeball."""
    outwards: float
    """+1 for the left eye, whose outer corner lies at larger x; -1 for the right."""


def find_rims(asset: HeadAsset) -> tuple[list[Rim], np.ndarray]:
    """Look at the template's eyes from the front: where skin begins around each eyeball is the rim of the lids.

    Returns the upper rims of the left and right eye, and for each vertex the distance in metres to the nearest upper
    and lower rim, `[V, 2]`.
    """
    template, faces = torch.from_numpy(asset.template), torch.from_numpy(asset.faces)
    query = MeshQuery(faces).update(template)
    rims, upper_points, lower_points = [], [], []
    for name, side in (("left_eyeball", 1.0), ("right_eyeball", -1.0)):
        ball = asset.region(name)
        is_ball = torch.from_numpy(ball[asset.faces].all(1))
        face, barycentrics, points = _outline(query, template, faces, is_ball, asset.template[ball])
        across = points[:, 0] * side
        inner, outer = int(across.argmin()), int(across.argmax())
        ring = np.roll(np.arange(len(points)), -inner)  # starts at the inner corner
        split = int(np.flatnonzero(ring == outer)[0])
        first, second = ring[: split + 1], np.concatenate([ring[split:], ring[:1]])
        upper, lower = (first, second) if points[first, 1].mean() > points[second, 1].mean() else (second[::-1], first)
        pick = upper[np.round(np.linspace(0.06, 1.0, LASH_COLUMNS) * (len(upper) - 1)).astype(int)]
        rims.append(Rim(face[pick], barycentrics[pick], torch.from_numpy(np.flatnonzero(ball)), side))
        upper_points.append(points[upper])
        lower_points.append(points[lower])
    distances = [_distance(asset.template, np.concatenate(points)) for points in (upper_points, lower_points)]
    return rims, np.stack(distances, 1).astype(np.float32)


def _outline(
    query: MeshQuery, template: Tensor, faces: Tensor, is_ball: Tensor, ball: np.ndarray
) -> tuple[Tensor, Tensor, np.ndarray]:
    """The first skin around the visible part of an eyeball, counter-clockwise: faces, barycentrics, points `[A, 3]`."""
    middle = ball.mean(0)
    reach = 1.7 * float(np.ptp(ball[:, 0])) / 2
    front = torch.tensor([0.0, 0.0, -1.0])

    def look(x: np.ndarray, y: np.ndarray):
        start = np.stack([x.ravel(), y.ravel(), np.full(x.size, middle[2] + 0.1)], 1)
        return query.cast_rays(torch.from_numpy(start).float(), front.expand(x.size, 3).contiguous())

    # The middle of what is seen of the ball lies inside the opening.
    span = np.linspace(-reach, reach, 60)
    x, y = np.meshgrid(middle[0] + span, middle[1] + span)
    hits = look(x, y)
    seen = ((hits.face >= 0) & is_ball[hits.face.long().clamp_min(0)]).numpy()
    centre = np.array([x.ravel()[seen].mean(), y.ravel()[seen].mean()])
    angle = np.linspace(-np.pi, np.pi, ANGLES, endpoint=False)
    radius = np.linspace(0.0005, reach, STEPS)
    x = centre[0] + radius[None, :] * np.cos(angle)[:, None]
    y = centre[1] + radius[None, :] * np.sin(angle)[:, None]
    hits = look(x, y)
    skin = ((hits.face >= 0) & ~is_ball[hits.face.long().clamp_min(0)]).numpy().reshape(ANGLES, STEPS)
    index = np.arange(ANGLES) * STEPS + skin.argmax(1)
    face, barycentrics = hits.face[index], hits.barycentrics[index]
    return face, barycentrics, interpolate(template, faces, face, barycentrics).numpy()


def _distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - line[None], axis=-1).min(1)


def lash_points(rim: Rim, vertices: Tensor, faces: Tensor, up: Tensor) -> Tensor:
    """Lashes of one posed eye: `[LASH_ROWS * LASH_COLUMNS, 3]`, from the rim outwards, curving up.

    vertices: `[V, 3]` of the posed head; up: `[3]` the skull's upward direction.
    """
    root = interpolate(vertices, faces, rim.face, rim.barycentrics)
    centre = vertices[rim.eyeball].mean(0)
    ahead = torch.nn.functional.normalize(root - centre, dim=-1)
    rise = torch.nn.functional.normalize(up - (ahead @ up)[:, None] * ahead, dim=-1)
    aside = torch.linalg.cross(rise, ahead) * rim.outwards
    share = torch.linspace(0, 1, LASH_COLUMNS)[:, None]
    fan = 0.55 * share - 0.15  # outer lashes point outwards
    length = LASH_LENGTH * (0.55 + 0.45 * torch.sin(torch.pi * (0.15 + 0.75 * share)))
    rows = []
    for row in range(LASH_ROWS):
        t = row / (LASH_ROWS - 1)
        rows.append(
            root + length * (0.85 * t * ahead + (0.15 * t + 0.40 * t * t) * rise + fan * t * aside) + 0.0002 * ahead
        )
    return torch.cat(rows)
