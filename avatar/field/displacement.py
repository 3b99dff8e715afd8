"""The surface's displacement on grids, for the inverse warp: an expression's motion of the points near the head.

For every frame the head is posed by expression, jaw and eyes alone (skull coordinates: the rest pose of the head). A
node takes the displacement of the closest point of that mesh, faded with distance. The nodes are those of one coarse
grid around all moving parts and of finer grids around mouth and eyes, where lips and lids meet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar.config import WarpConfig
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.kernels.mesh.op import MeshQuery

JAW_OPEN = 0.35
"""Jaw rotation in radians that the grids cover."""
MOVES = 5e-4
"""Metres; vertices that no expression moves further are static."""


@dataclass
class GridLayout:
    """The nodes of G grids in skull coordinates. All nodes form one list, grid after grid, z fastest."""

    origin: Tensor
    """`[G, 3]` position of each grid's first node, metres."""
    cell: Tensor
    """`[G]` distance between nodes, metres."""
    counts: Tensor
    """`[G, 3]` int64 nodes along each axis."""
    offsets: Tensor
    """`[G]` int64 index of each grid's first node in the list."""
    active: Tensor
    """`[A]` int64 nodes that can have a displacement, in Morton order (neighbours in the list are close in space); the
    others are zero."""

    @property
    def size(self) -> int:
        """Number of nodes of all grids."""
        return int(self.counts.prod(-1).sum())

    def to(self, device: torch.device) -> GridLayout:
        """The layout on another device."""
        return GridLayout(
            *(getattr(self, name).to(device) for name in ("origin", "cell", "counts", "offsets", "active"))
        )

    def nodes(self) -> Tensor:
        """Positions `[size, 3]` of all nodes, metres, skull coordinates."""
        parts = []
        for origin, cell, count in zip(self.origin, self.cell, self.counts, strict=True):
            axes = [torch.arange(int(n), device=origin.device) * cell + origin[i] for i, n in enumerate(count)]
            parts.append(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3))
        return torch.cat(parts)


def without_rigid(params: HeadParameters) -> HeadParameters:
    """The same expressions in skull coordinates: without rotation, translation and neck."""
    zero = torch.zeros_like(params.rotation)
    return replace(params, rotation=zero, translation=zero, neck=zero)


class DisplacementGrids:
    """Computes the displacement grids of one person's frames."""

    def __init__(self, head: HeadModel, asset: HeadAsset, shape: HeadParameters, config: WarpConfig) -> None:
        """`shape`: any frames of the person; only `shape` and `static_offset` are used."""
        self.head, self.config = head, config
        device = shape.expr.device
        self.faces = torch.as_tensor(asset.faces, dtype=torch.int64, device=device)
        still = HeadParameters.neutral(asset, 1, device=device)
        self.identity = replace(still, shape=shape.shape, static_offset=shape.static_offset)
        self.query = MeshQuery(self.faces, device)
        with torch.no_grad():
            self.neutral = head(self.identity).vertices[0]
            opened = head(replace(self.identity, jaw=torch.tensor([[JAW_OPEN, 0.0, 0.0]], device=device))).vertices[0]
        self.layout = make_layout(asset, self.neutral, opened, config)
        self.size = self.layout.size
        self.active_nodes = self.layout.nodes()[self.layout.active].contiguous()
        self.active_rows = self.layout.active.to(torch.int32)

    @torch.no_grad()
    def build(self, params: HeadParameters) -> Tensor:
        """Grids `[N, nodes, 3]` float16, metres; a posed point minus its value is the neutral point."""
        params = replace(without_rigid(params), shape=self.identity.shape, static_offset=self.identity.static_offset)
        grids = torch.zeros(len(params), self.size, 3, dtype=torch.float16, device=self.neutral.device)
        for i in range(len(params)):
            posed = self.head(params.frame(i)).vertices[0]
            self.query.update(posed).spread(
                self.active_nodes,
                posed - self.neutral,
                self.active_rows,
                grids[i],
                fade=self.config.fade,
                reach=self.config.reach,
            )
        return grids


def make_layout(asset: HeadAsset, neutral: Tensor, opened: Tensor, config: WarpConfig) -> GridLayout:
    """Grids for a person with `neutral` and open-mouthed (`opened`) vertices `[V, 3]` in skull coordinates, metres."""
    device = neutral.device
    reach = config.reach
    mobile = mobile_vertices(asset, neutral, opened)
    both = torch.cat([neutral[mobile], opened[mobile]])
    low, high = both.amin(0) - reach, both.amax(0) + reach
    boxes = [(low, high, float((high - low).max()) / (config.resolution - 1))]
    if config.fine_cell > 0:
        boxes += [(a, b, config.fine_cell) for a, b in fine_boxes(asset, neutral, opened)]
    origins, cells, counts = [], [], []
    for low, high, cell in boxes:
        origins.append(low)
        cells.append(cell)
        counts.append(((high - low) / cell).ceil().long() + 1)
    sizes = torch.stack(counts).prod(-1)
    layout = GridLayout(
        origin=torch.stack(origins),
        cell=torch.tensor(cells, dtype=neutral.dtype, device=device),
        counts=torch.stack(counts),
        offsets=torch.cumsum(sizes, 0) - sizes,
        active=torch.arange(int(sizes.sum()), device=device),
    )
    return replace(layout, active=_active_nodes(layout, both, reach))


def _active_nodes(layout: GridLayout, surface: Tensor, reach: float) -> Tensor:
    """Nodes within reach of the moving surface `[P, 3]`, except nodes of the coarse grid that finer grids cover."""
    nodes = layout.nodes()
    near = _within(nodes, surface[:: max(1, len(surface) // 3000)], reach + 0.01)
    coarse = int(layout.counts[0].prod())
    for index in range(1, len(layout.cell)):
        # a coarse node is never read if all its eight cells lie inside a finer grid
        inner_low = layout.origin[index] + layout.cell[0]
        inner_high = layout.origin[index] + (layout.counts[index] - 1) * layout.cell[index] - layout.cell[0]
        near[:coarse] &= ~((nodes[:coarse] > inner_low) & (nodes[:coarse] < inner_high)).all(-1)
    active = near.nonzero().squeeze(1)
    return active[morton_order(layout)[active].argsort()]


def _within(points: Tensor, sample: Tensor, distance: float) -> Tensor:
    """Mask `[N]` of the points `[N, 3]` that lie less than `distance` from one of the sample's `[M, 3]`."""
    # every tenth sample decides for most points; the others lie at most `cover` from one of these
    few = sample[::10]
    cover = float(_nearest(sample, few).max())
    roughly = _nearest(points, few)
    near = roughly < distance
    unsure = (~near & (roughly < distance + cover + 1e-4)).nonzero().squeeze(1)
    near[unsure] = _nearest(points[unsure], sample) < distance
    return near


def _nearest(points: Tensor, others: Tensor) -> Tensor:
    """Distance `[N]` of each point `[N, 3]` to the nearest of others `[M, 3]`."""
    return torch.cat([torch.cdist(part, others).amin(1) for part in points.split(4096)])


def morton_order(layout: GridLayout) -> Tensor:
    """`[size]` int64 Morton keys that order all nodes along a Z-order curve, grid after grid."""
    parts = []
    for index, counts in enumerate(layout.counts.tolist()):
        axes = [torch.arange(count, device=layout.counts.device) for count in counts]
        key = torch.full(counts, index << 40, device=layout.counts.device)
        for axis, place in enumerate(torch.meshgrid(*axes, indexing="ij")):
            for bit in range(max(counts).bit_length()):
                key |= (place >> bit & 1) << (3 * bit + 2 - axis)
        parts.append(key.reshape(-1))
    return torch.cat(parts)


def mobile_vertices(asset: HeadAsset, neutral: Tensor, opened: Tensor) -> Tensor:
    """Mask `[V]` of the vertices that an expression, the jaw or the eyes can move."""
    by_expression = torch.as_tensor(asset.exprdirs).norm(dim=1).amax(-1).to(neutral.device) > MOVES
    by_jaw = (opened - neutral).norm(dim=-1) > MOVES
    by_eyes = torch.as_tensor(asset.weights[:, 3:5]).amax(-1).to(neutral.device) > 0.01
    return by_expression | by_jaw | by_eyes


def fine_boxes(asset: HeadAsset, neutral: Tensor, opened: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Low and high corners `[3]` of the boxes around the mouth, closed to open, and around each eye, metres."""
    boxes = []
    lips = torch.as_tensor(asset.region("lips"), device=neutral.device)
    if lips.any():
        points = torch.cat([neutral[lips], opened[lips]])
        pad = torch.tensor([0.012, 0.010, 0.012], device=neutral.device)
        boxes.append((points.amin(0) - pad, points.amax(0) + pad))
    for joint in (3, 4):
        ball = torch.as_tensor(asset.weights[:, joint] > 0.5, device=neutral.device)
        if ball.any():
            points = neutral[ball]
            front = points[:, 2] > points[:, 2].mean()
            pad = torch.tensor([0.008, 0.008, 0.010], device=neutral.device)
            boxes.append((points[front].amin(0) - pad, points[front].amax(0) + pad))
    return boxes
