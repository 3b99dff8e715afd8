"""What rays march through, how it moves, and the samples they find."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from avatar.base.errors import InputError
from avatar.kernels.runtime.launch import get_warp


@dataclass
class MarchSpace:
    """What all rays share."""

    low: Tensor
    """`[3]` corner of the box of cells, metres."""
    cell: Tensor
    """`[3]` edge lengths of a cell."""
    counts: tuple[int, int, int]
    """Cells along each axis."""
    neck: tuple[float, float]
    """Heights above which the head's motion holds in full, and below which it has faded, metres."""
    skull_from_canonical: Tensor
    """`[4, 4]` rigid: where the displacement grids' coordinates are."""

    @cached_property
    def struct(self) -> Any:
        """All this as the kernel takes it; made once, because reading numbers off a GPU waits for it."""
        from avatar.kernels.march.portable import Space

        warp, shared = get_warp(), Space()
        shared.low = warp.vec3(*self.low.tolist())
        shared.inverse_cell = warp.vec3(*(1 / self.cell).tolist())
        shared.counts = warp.vec3i(*self.counts)
        shared.top, shared.bottom = self.neck
        shared.skull_rotation = warp.mat33(*self.skull_from_canonical[:3, :3].flatten().tolist())
        shared.skull_shift = warp.vec3(*self.skull_from_canonical[:3, 3].tolist())
        return shared


@dataclass
class MarchMotion:
    """The motion of B frames; the parts may be None: no head motion, no displacement."""

    canonical_from_world: Tensor | None
    """`[B, 3, 4]`."""
    height: Tensor | None
    """`[B, 4]`: the height above the neck of a world point (x, 1)."""
    grids: Tensor | None
    """`[B, nodes, 3]` float16 displacements at the grids' nodes, skull axes, metres."""
    grid_origin: Tensor | None = None
    """`[G, 3]` first node of each grid; the first grid is the coarse one that contains the others."""
    grid_cell: Tensor | None = None
    """`[G]`."""
    grid_counts: Tensor | None = None
    """`[G, 3]` int64."""
    grid_offsets: Tensor | None = None
    """`[G]` int64 first node of each grid in the list; z fastest."""

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
    """`[M, 3]` the displacement d at the sample, canonical axes, metres."""
    first: Tensor
    """`[R + 1]` int64: ray r owns the samples first[r] to first[r + 1]."""

    @property
    def count(self) -> Tensor:
        """`[R]` int64 samples of each ray."""
        return self.first.diff()
