"""The surface of an avatar's field in its reference pose, with the colours that the captured camera sees there.

Canonical space (`avatar.field.scene`) is the world with the head in its reference pose and a neutral expression: the
density is asked for on a grid there, and what is connected to the head keeps its outer surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatar.base.errors import RunError
from avatar.base.progress import Progress
from avatar.export.isosurface import isosurface
from avatar.field.radiance import FieldInputs
from avatar.flame.mean_pose import mean_pose
from avatar.geometry.cameras import project
from avatar.geometry.meshes import vertex_normals
from avatar.rendering.occupancy import dilate

if TYPE_CHECKING:
    from avatar.avatar import Avatar
    from avatar.field.frame_states import FrameStates

CELL = 0.0025
"""Metres between the nodes of the grid."""
LEVEL = 1.4
"""Density per centimetre of the surface: half a centimetre of it lets half of the light through."""
CHUNK = 1 << 16
"""Points at a time through the field."""
DEPTHS = (-0.002, -0.0005, 0.001, 0.0025, 0.004, 0.0055)
"""Metres below the surface at which it is looked at for its colour."""


@dataclass(frozen=True)
class Surface:
    """A coloured triangle mesh in the reference pose, metres, y up."""

    vertices: np.ndarray
    """`[P, 3]` float32."""
    normals: np.ndarray
    """`[P, 3]` float32, unit, outwards."""
    colours: np.ndarray
    """`[P, 3]` uint8 sRGB."""
    faces: np.ndarray
    """`[F, 3]` int32."""


@torch.no_grad()
def field_surface(avatar: Avatar, cell: float = CELL) -> Surface:
    """The surface of the person in an avatar's field. Raises RunError where the field holds nothing dense."""
    field = Canonical(avatar)
    low = avatar.scene.low.double().cpu().numpy()
    density = smoothed(field.density_grid(cell))
    seeds = ((avatar.reference_vertices.double().cpu().numpy() - low) / cell).round().astype(np.int64)
    density = solid(density, seeds.clip(0, np.array(density.shape) - 1))
    # a border of nothing closes the surface where the box cuts the torso
    vertices, faces = isosurface(np.pad(density, 1), LEVEL, low - cell, cell)
    if len(faces) == 0:
        raise RunError("the avatar's field has no surface", expected="a trained avatar", fix="train it longer")
    vertices = vertices.clip(low, low + cell * (np.array(density.shape) - 1))
    points = torch.as_tensor(vertices, dtype=torch.float32)
    normals = vertex_normals(points, torch.as_tensor(faces))
    colours = field.colours(points, normals)
    return Surface(points.numpy(), normals.numpy(), colours, faces.astype(np.int32))


class Canonical:
    """An avatar's field as a function of canonical points, for the clip's mean pose without expression."""

    def __init__(self, avatar: Avatar) -> None:
        self.avatar, self.scene, self.device = avatar, avatar.scene, avatar.device
        rest = mean_pose(avatar.parameters)
        self.states: FrameStates = self.scene.mean_states(avatar.identity.frame_data(rest))
        self.mask = avatar.identity.silhouette(rest, avatar.camera)
        self.window = self.scene.window(avatar.progress)

    def density_grid(self, cell: float) -> np.ndarray:
        """Densities `[X, Y, Z]` per centimetre at the nodes of a grid over the box; zero where nothing is known."""
        low, high = self.scene.low, self.scene.high
        counts = [int(n) for n in ((high - low) / cell).floor().int() + 1]
        axes = [torch.arange(n, device=self.device) * cell + start for n, start in zip(counts, low, strict=True)]
        nodes = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        wanted = torch.ones(len(nodes), dtype=torch.bool, device=self.device)
        if self.avatar.config.render.sampling == "occupancy":
            wanted = self.scene.occupancy.query(nodes, dilate(self.avatar.known_cells, 1))
        density = torch.zeros(len(nodes))
        with Progress("density", len(nodes), "point") as bar:
            for part in wanted.nonzero().squeeze(1).split(CHUNK):
                density[part.cpu()] = self.query(nodes[part])[0].float().cpu()
                bar.update(int(part[-1]) + 1)
        return density.view(counts).numpy()

    def query(self, points: Tensor) -> tuple[Tensor, Tensor, FieldInputs]:
        """Density `[M]` per centimetre, features and inputs of the field at canonical points `[M, 3]`, metres."""
        frame = torch.zeros(len(points), dtype=torch.int64, device=self.device)
        answer = self.scene.query(points, self.states, frame, self.covered(points), self.window)
        return answer.density, answer.features, answer.inputs

    def covered(self, points: Tensor) -> Tensor:
        """Whether the captured camera sees points `[M, 3]` in the head's silhouette: there the expression counts."""
        if not self.scene.field.gate:
            return torch.ones(len(points), dtype=torch.bool, device=self.device)
        pixels, depth = project(points, self.avatar.camera)
        column, row = (pixels[:, axis].floor().long() for axis in (0, 1))
        height, width = self.mask.shape
        shown = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return shown & self.mask[row.clamp(0, height - 1), column.clamp(0, width - 1)]

    def colours(self, points: Tensor, normals: Tensor) -> np.ndarray:
        """uint8 sRGB `[P, 3]` of surface points with unit normals `[P, 3]`: composited over a few millimetres below the
        surface, each point seen from the captured camera's direction."""
        eye = torch.tensor(self.avatar.camera.position, dtype=torch.float32, device=self.device)
        steps = torch.tensor(DEPTHS, device=self.device)
        spacing = 100 * (steps[1] - steps[0])  # centimetres, as the density
        found = []
        for place, normal in zip(points.split(CHUNK // len(steps)), normals.split(CHUNK // len(steps)), strict=True):
            at = (place[:, None] - steps[:, None] * normal[:, None]).reshape(-1, 3).to(self.device)
            density, features, inputs = self.query(at)
            directions = torch.nn.functional.normalize(at - eye, dim=1)
            colour = self.scene.radiance.colour(features, inputs, directions, self.states.appearance).float()
            depth = (density.float() * spacing).view(-1, len(steps))
            passed = torch.exp(-(depth.cumsum(1) - depth))
            weights = passed * (1 - torch.exp(-depth)) + 1e-6
            mixed = (weights[..., None] * colour.view(*depth.shape, 3)).sum(1) / weights.sum(1, keepdim=True)
            found.append(mixed.clamp(0, 1).cpu())
        return torch.round(255 * torch.cat(found)).to(torch.uint8).numpy()


def smoothed(density: np.ndarray) -> np.ndarray:
    """Densities `[X, Y, Z]`, up to twice the surface's, averaged over neighbouring nodes."""
    grid = torch.as_tensor(density).clamp(max=2 * LEVEL)[None, None]
    return torch.nn.functional.avg_pool3d(grid, 3, 1, 1)[0, 0].numpy()


def solid(density: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Densities `[X, Y, Z]` without what is not connected to the nodes `seeds` `[S, 3]`, and without hollows.

    A hollow is what cannot be reached from outside but through the bottom, where the torso is cut: the inside of a head
    is never seen, so the field is whatever it is there.
    """
    dense = density > LEVEL
    begin = np.zeros_like(dense)
    begin[tuple(seeds.T)] = True
    kept = flooded(begin & dense, dense)
    free = ~kept
    begin = free.copy()
    begin[1:-1, :-1, 1:-1] = False
    reached = flooded(begin, free)
    found = np.where(dense & ~kept, 0, density)
    return np.where(reached | kept, found, 2 * LEVEL)


def flooded(begin: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The nodes `[X, Y, Z]` bool that steps along the axes through `free` reach from `begin`."""
    reached, count = begin.copy(), -1
    while count != (count := int(reached.sum())):
        for axis in range(3):  # sweeps forth and back along each axis carry it far in one round
            here, way = np.moveaxis(reached, axis, 0), np.moveaxis(free, axis, 0)
            for index in range(1, len(here)):
                here[index] |= here[index - 1] & way[index]
            for index in range(len(here) - 2, -1, -1):
                here[index] |= here[index + 1] & way[index]
    return reached
