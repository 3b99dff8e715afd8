"""Occupancy grid: the cells of the box that may hold density, so that the renderer skips the others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatar.kernels.occupancy.op import locate_cells, remember_largest

DECAY = 0.9
"""Factor on a cell's stored density at every update that finds less (Mueller et al. 2022, appendix C)."""
UNSEEN = 1e4
"""Stored density of a cell that has not been sampled yet; it is kept until the first sample replaces it."""
VISIBILITY_DECAY = 0.9
"""Factor on a cell's stored visibility at every update that finds less."""
HIDDEN = 3e-3
"""A cell is hidden while the transmittance in front of it stays below this in every frame sampled."""


class Occupancy(nn.Module):
    """Occupancy grid over a box: a cell is occupied while its stored density reaches a threshold.

    The stored density is a decaying maximum: each update samples random points of cells in random frames, and lower
    densities let a higher one decay slowly. Cells outside the initial set are never occupied.

    `completed` are cells that no frame sees and that a prior of the training fills.

    The grid also stores each cell's visibility, the largest transmittance in front of it. Training skips cells that are
    always hidden (the inside of the head and its far side), which receive no gradient anyway; rendering from other
    viewpoints does not.
    """

    low: Tensor
    high: Tensor
    allowed: Tensor
    occupied: Tensor
    density: Tensor
    visibility: Tensor
    visible: Tensor
    completed: Tensor
    sizes: Tensor

    def __init__(self, low: Tensor, high: Tensor, counts: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("low", low.clone())
        self.register_buffer("high", high.clone())
        self.counts = counts
        self.register_buffer("allowed", torch.zeros(counts, dtype=torch.bool))
        self.register_buffer("occupied", torch.zeros(counts, dtype=torch.bool))
        self.register_buffer("density", torch.zeros(counts))
        self.register_buffer("visibility", torch.zeros(counts))
        self.register_buffer("visible", torch.zeros(counts, dtype=torch.bool))
        self.register_buffer("completed", torch.zeros(counts, dtype=torch.bool))
        self.register_buffer("sizes", torch.tensor(counts, dtype=torch.float32), persistent=False)

    @property
    def cell(self) -> Tensor:
        """Edge lengths of a cell `[3]`, metres."""
        return (self.high - self.low) / self.sizes

    def centres(self) -> Tensor:
        """Cell centres `[X, Y, Z, 3]`, metres."""
        axes = [torch.arange(n, device=self.low.device) + 0.5 for n in self.counts]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) * self.cell + self.low

    def start(self, allowed: Tensor) -> None:
        """Start from the cells `[X, Y, Z]` bool that may be occupied; all of them count as occupied until sampled."""
        self.allowed.copy_(allowed)
        self.occupied.copy_(allowed)
        self.density.copy_(allowed.float() * UNSEEN)
        self.visibility.copy_(allowed.float())
        self.visible.copy_(allowed)

    def index(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Flat cell indices `[P]` int64 of points `[P, 3]` (metres), 0 outside the box, and whether they lie in it."""
        flat = locate_cells(points, self.low, self.cell, self.counts).long()
        return flat.clamp_min(0), flat >= 0

    def query(self, points: Tensor, grid: Tensor | None = None) -> Tensor:
        """Whether points `[P, 3]` (metres) lie in occupied cells, or in true cells of `grid` `[X, Y, Z]` bool."""
        flat, inside = self.index(points)
        return (self.occupied if grid is None else grid).view(-1)[flat] & inside

    def candidates(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Random points `[count, 3]` (metres) for the next update, and their cells `[count]` int32.

        Half are drawn from occupied cells, to clear those that are empty, and half from all allowed cells, to find new
        density. Without allowed cells there are none.
        """
        device = self.low.device
        allowed, occupied = (mask.view(-1).nonzero().squeeze(1) for mask in (self.allowed, self.occupied))
        if len(allowed) == 0:
            return torch.empty(0, 3, device=device), allowed
        if len(occupied) == 0:
            occupied = allowed
        parts = [(occupied, count // 2), (allowed, count - count // 2)]
        picked = [
            cells[torch.randint(len(cells), (number,), generator=generator, device=device)] for cells, number in parts
        ]
        cells = torch.cat(picked)
        x = cells // (self.counts[1] * self.counts[2])
        y = cells // self.counts[2] % self.counts[1]
        corner = torch.stack([x, y, cells % self.counts[2]], -1).to(self.low.dtype)
        noise = torch.rand(len(cells), 3, generator=generator, device=device)
        return (corner + noise) * self.cell + self.low, cells.int()

    def update(self, cells: Tensor, density: Tensor, threshold: float, transmittance: Tensor | None = None) -> None:
        """Store densities `[P]` found in `cells` `[P]` int32 (-1 for none); cells of at least `threshold` are occupied.

        transmittance: `[P]` in front of the points, for points on rays; None leaves the visibility as it is.
        """
        remember_largest(self.density.view(-1), cells, density.detach().float(), decay=DECAY, unseen=UNSEEN)
        torch.logical_and(self.density >= threshold, self.allowed, out=self.occupied)
        if transmittance is not None:
            # transmittance is at most 1, so no stored visibility counts as unseen
            remember_largest(
                self.visibility.view(-1), cells, transmittance.detach().float(), decay=VISIBILITY_DECAY, unseen=UNSEEN
            )
        torch.logical_and(self.visibility >= HIDDEN, self.occupied, out=self.visible)

    def observe(self, points: Tensor, density: Tensor, threshold: float, transmittance: Tensor) -> None:
        """`update` for points `[P, 3]` in metres instead of cells."""
        self.update(locate_cells(points.detach(), self.low, self.cell, self.counts), density, threshold, transmittance)


def dilate(grid: Tensor, cells: int) -> Tensor:
    """A boolean grid `[X, Y, Z]` dilated by `cells` with a cubic structuring element, one axis after the other."""
    for _ in range(cells):
        for axis in range(3):
            grown, size = grid.clone(), grid.shape[axis] - 1
            grown.narrow(axis, 0, size).logical_or_(grid.narrow(axis, 1, size))
            grown.narrow(axis, 1, size).logical_or_(grid.narrow(axis, 0, size))
            grid = grown
    return grid
