"""The torso's mesh fitted to the masks, and the space around it that has to be empty.

A camera that stands before a person leaves the depth of the shoulders open: everything behind their outline explains
the pictures. The mean adult's torso, scaled and placed so that its outline fits the masks below the neck, tells how
deep shoulders of that width are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avatar.field.bounds import FrameViews
from avatar.field.torso import TorsoMotion
from avatar.flame.rasterize import rasterize
from avatar.flame.torso import load_torso
from avatar.geometry.cameras import project
from avatar.geometry.meshes import face_normals, vertex_normals
from avatar.geometry.rotations import axis_angle_to_matrix
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate

FRAMES, SIZE = 4, 72
"""Frames spread over the clip whose masks are compared, and pixels of the longer side at which they are."""
NECK, CHEST = -0.08, 0.26
"""Metres below the base of the neck between which outlines are compared: shoulders rise above it, and may be all that
a picture shows."""
FIRST_STEPS = (0.12, 0.08, 0.03, 0.03, 0.15, 0.05)
"""First steps of the search: logarithms of width and height, metres aside and up, radians about the vertical and about
the axis ahead."""
LIMITS = (0.35, 0.2, 0.08, 0.08, 0.5, 0.2)
ROUNDS = 5
"""Rounds of the search; the steps are halved after each."""
LEAST_FIT = 0.8
"""Intersection over union below which the masks show something else than a torso with hanging arms."""
CLOTHES, OFF_TORSO, EDGE = 0.025, 0.10, 0.01
"""Metres off the mesh between which space has to be empty, and over which that sets in."""
NEAR_HEAD = 0.08
"""Metres from the head within which hair may lie on the shoulders."""
DRAWN = 50_000
"""Points drawn once around the torso."""
Mesh = tuple[Tensor, Tensor]
"""Vertices `[T, 3]` in metres and triangles `[F, 3]`."""


@torch.no_grad()
def fit_torso(torso: TorsoMotion, reference: Tensor, views: FrameViews) -> Mesh | None:
    """Canonical vertices `[T, 3]` (metres) and triangles `[F, 3]`; None where no torso fits the masks.

    A pattern search over width, height, place, yaw and roll for the greatest mean intersection over union with the
    masks.

    torso: the torso's motion. reference: `[4, 4]` `world_from_skull` of the reference pose. views: frames of the clip.
    """
    device = reference.device
    chosen = torch.linspace(0, len(views.cameras) - 1, FRAMES).round().long().tolist()
    moves = torso.world_from_torso(torso.torso_transforms(views.world_from_skull[chosen]))
    cameras = [views.cameras[i] for i in chosen]
    small = [camera.scaled(*_small(camera.width, camera.height)) for camera in cameras]
    wanted = []
    for i, camera in zip(chosen, small, strict=True):
        shape = (camera.height, camera.width)
        mask = torch.nn.functional.adaptive_avg_pool2d(views.masks[i].float()[None] / 255, shape)[0] > 0.5
        head = torch.nn.functional.adaptive_avg_pool2d(views.silhouettes[i].float()[None], shape)[0] > 0.5
        wanted.append((mask, head))
    vertices, faces = (torch.as_tensor(part, device=device) for part in load_torso())
    query = MeshQuery(faces, device)
    rest = vertices - vertices.new_tensor([0.0, torso.blend.bottom, 0.0])
    ahead = reference[:3, 2]
    yaw = math.atan2(float(ahead[0]), float(ahead[2]))

    def placed(values: list[float]) -> Tensor:
        width, height, aside, up, turned, leant = values
        scale = rest.new_tensor([math.exp(width), math.exp(height), math.exp(width)])
        turn = axis_angle_to_matrix(rest.new_tensor([[0.0, yaw + turned, 0.0], [0.0, 0.0, leant]]))
        turn = turn[0] @ turn[1]
        return (rest * scale) @ turn.T + torso.pivot + rest.new_tensor([aside, up, 0.0])

    def fit(values: list[float]) -> float:
        found, canonical = [], placed(values)
        for move, camera, (mask, head) in zip(moves, small, wanted, strict=True):
            world = canonical @ move[:3, :3].T + move[:3, 3]
            neck = torso.pivot @ move[:3, :3].T + move[:3, 3]
            ends = torch.stack([neck - neck.new_tensor([0.0, drop, 0.0]) for drop in (NECK, CHEST)])
            first, last = project(ends, camera)[0][:, 1].round().int().tolist()
            rows = slice(max(first, 0), max(last, 0))
            shown = (rasterize(query, world, camera).face >= 0) | head
            both, either = (shown & mask)[rows].sum(), (shown | mask)[rows].sum()
            if mask[rows].any():
                found.append(float(both / either))
        return sum(found) / len(found) if found else 0.0

    values, steps = [0.0] * len(LIMITS), list(FIRST_STEPS)
    best = fit(values)
    for _ in range(ROUNDS):
        for k, limit in enumerate(LIMITS):
            for step in (steps[k], -steps[k]):
                while abs(values[k] + step) <= limit:
                    tried = [*values[:k], values[k] + step, *values[k + 1 :]]
                    if (found := fit(tried)) <= best:
                        break
                    values, best = tried, found
        steps = [step / 2 for step in steps]
    return (placed(values), faces) if best >= LEAST_FIT else None


def _small(width: int, height: int) -> tuple[int, int]:
    share = SIZE / max(width, height)
    return max(1, round(width * share)), max(1, round(height * share))


@torch.no_grad()
def off_torso(vertices: Tensor, faces: Tensor, head: MeshQuery, seed: int) -> tuple[Tensor, Tensor]:
    """Points `[Q, 3]` drawn at random off the torso's mesh (metres, canonical), and the weights `[Q]` in [0, 1] with
    which they have to be empty; none near the head, where hair may lie on the shoulders.

    head: the neutral head in canonical space.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(vertices), (DRAWN,), generator=generator).to(vertices.device)
    height = CLOTHES + (OFF_TORSO - CLOTHES) * torch.rand(DRAWN, 1, generator=generator).to(vertices.device)
    points = vertices[drawn] + height * vertex_normals(vertices, faces)[drawn]
    nearest = MeshQuery(faces, vertices.device).update(vertices).closest_points(points, OFF_TORSO)
    face = nearest.face.long().clamp_min(0)
    away = points - interpolate(vertices, faces, face, nearest.barycentrics)
    outside = (face_normals(vertices, faces)[face] * away).sum(-1) > 0
    near_head = head.closest_points(points, NEAR_HEAD).face >= 0
    kept = (nearest.face >= 0) & outside & (nearest.distance > CLOTHES) & ~near_head
    return points[kept], ((nearest.distance[kept] - CLOTHES) / EDGE).clamp(0, 1)
