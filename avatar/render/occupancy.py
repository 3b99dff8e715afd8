"""Which parts of the box can hold anything: a grid that lets the renderer skip the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatar.kernels.occupancy.op import locate_cells, remember_largest

DECAY = 0.9
"""What a cell's remembered density shrinks by at every look that finds less (Mueller et al. 2022, appendix C)."""
UNSEEN = 1e4
"""Remembered density of a cell that has not been looked at: it stays until it has been."""
VISIBILITY_DECAY = 0.9
HIDDEN = 3e-3
"""A cell that less than this share of the light reaches, in every frame looked at, is hidden."""


class Occupancy(nn.Module):
    """A grid over a box. A cell is occupied while the density remembered for it is above a threshold.

    The memory is a maximum over time: each update looks at random points of cells at random frames, and a lower
    density only slowly forgets a higher one. Cells outside the initial set are never occupied.

    A second memory holds how much light reaches a cell. Training leaves out cells that are always hidden (the inside of
    the head and its far side), which get no gradient anyway; pictures from other viewpoints do not.
    """

    low: Tensor
    high: Tensor
    allowed: Tensor
    occupied: Tensor
    density: Tensor
    visibility: Tensor
    visible: Tensor
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
        """Begin with the cells `[X, Y, Z]` that may hold anything; all count as occupied until looked at."""
        self.allowed.copy_(allowed)
        self.occupied.copy_(allowed)
        self.density.copy_(allowed.float() * UNSEEN)
        self.visibility.copy_(allowed.float())
        self.visible.copy_(allowed)

    def index(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Flat cell indices `[P]` of points `[P, 3]`, and whether they lie in the box (indices are safe then)."""
        flat = locate_cells(points, self.low, self.cell, self.counts).long()
        return flat.clamp_min(0), flat >= 0

    def query(self, points: Tensor, grid: Tensor | None = None) -> Tensor:
        """Whether points `[P, 3]` lie in occupied cells (or cells of another boolean grid of the same shape)."""
        flat, inside = self.index(points)
        return (self.occupied if grid is None else grid).view(-1)[flat] & inside

    def candidates(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Random points `[count, 3]` to look at next, and their cells `[count]` int32.

        Half come from occupied cells (to empty those that are empty), half from all allowed ones (to find what grew).
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
        """Remember densities `[P]` seen in `cells` `[P]` int32 (-1 for none); one is occupied from `threshold` on.

        `transmittance` `[P]`: the share of light that reached the points, where they lay on rays.
        """
        remember_largest(self.density.view(-1), cells, density.detach().float(), decay=DECAY, unseen=UNSEEN)
        torch.logical_and(self.density >= threshold, self.allowed, out=self.occupied)
        if transmittance is not None:
            # light is at most 1: no cell's memory of it counts as unseen
            remember_largest(
                self.visibility.view(-1), cells, transmittance.detach().float(), decay=VISIBILITY_DECAY, unseen=UNSEEN
            )
        torch.logical_and(self.visibility >= HIDDEN, self.occupied, out=self.visible)

    def observe(self, points: Tensor, density: Tensor, threshold: float, transmittance: Tensor) -> None:
        """`update` with points `[P, 3]` in metres."""
        self.update(locate_cells(points.detach(), self.low, self.cell, self.counts), density, threshold, transmittance)


def dilate(grid: Tensor, cells: int) -> Tensor:
    """A boolean grid `[X, Y, Z]` grown by `cells` in all directions: along one axis after the other."""
    for _ in range(cells):
        for axis in range(3):
            grown, size = grid.clone(), grid.shape[axis] - 1
            grown.narrow(axis, 0, size).logical_or_(grid.narrow(axis, 1, size))
            grown.narrow(axis, 1, size).logical_or_(grid.narrow(axis, 0, size))
            grid = grown
    return grid
