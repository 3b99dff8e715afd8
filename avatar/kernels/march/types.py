"""The input and output of the ray march: space, motion and samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from avatar.base.errors import InputError
from avatar.kernels.runtime.launch import get_warp


@dataclass
class MarchSpace:
    """The grid of cells and the canonical space, the same for all rays."""

    low: Tensor
    """`[3]` corner of the box of cells, metres."""
    cell: Tensor
    """`[3]` edge lengths of a cell, metres."""
    counts: tuple[int, int, int]
    """Cells along each axis."""
    neck: tuple[float, float]
    """Skull heights (top, bottom) in metres: the head's motion applies in full above top and not below bottom."""
    skull_from_canonical: Tensor
    """`[4, 4]` rigid: canonical to skull coordinates, those of the displacement grids."""

    @cached_property
    def struct(self) -> Any:
        """The Warp struct for the kernel; built once, because reading values from a GPU synchronises with it."""
        from avatar.kernels.march.portable import Space

        warp, shared = get_warp(), Space()
        shared.low = warp.vec3(*self.low.tolist())
        shared.inverse_cell = warp.vec3(*(1 / self.cell).tolist())
        shared.counts = warp.vec3i(*self.counts)
        shared.top, shared.bottom = self.neck
        shared.skull_rotation = warp.mat33(*self.skull_from_canonical[:3, :3].flatten().tolist())
        shared.skull_translation = warp.vec3(*self.skull_from_canonical[:3, 3].tolist())
        return shared


@dataclass
class MarchMotion:
    """The motion of B frames; None stands for no head motion and no displacement."""

    canonical_from_world: Tensor | None
    """`[B, 3, 4]` rigid transforms of the head."""
    height: Tensor | None
    """`[B, 4]` rows that give the skull height of a world point (x, 1), metres."""
    grids: Tensor | None
    """`[B, nodes, 3]` float16 displacements at the grids' nodes, skull axes, metres."""
    grid_origin: Tensor | None = None
    """`[G, 3]` first node of each grid; the first grid is the coarse one that contains the others."""
    grid_cell: Tensor | None = None
    """`[G]` distance between nodes, metres."""
    grid_counts: Tensor | None = None
    """`[G, 3]` int64 nodes along each axis."""
    grid_offsets: Tensor | None = None
    """`[G]` int64 index of each grid's first node in the list of nodes; z fastest."""

    def layout(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Origins, cells, counts and offsets of the grids. Raises InputError where one of them is missing."""
        origin, cell, counts, offsets = self.grid_origin, self.grid_cell, self.grid_counts, self.grid_offsets
        if origin is None or cell is None or counts is None or offsets is None:
            raise InputError(
                "displacement grids need their layout", expected="grid_origin, grid_cell, grid_counts, grid_offsets"
            )
        return origin, cell, counts, offsets


@dataclass
class Marched:
    """The samples of R rays, packed ray after ray."""

    ray: Tensor
    """`[M]` int64, ascending."""
    depth: Tensor
    """`[M]` metres along the ray, ascending on each ray."""
    displacement: Tensor
    """`[M, 3]` displacement d at the sample, canonical axes, metres."""
    first: Tensor
    """`[R + 1]` int64: ray r owns the samples first[r] to first[r + 1]."""

    @property
    def count(self) -> Tensor:
        """`[R]` int64 number of samples of each ray."""
        return self.first.diff()
