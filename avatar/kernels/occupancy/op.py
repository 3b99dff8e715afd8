"""Updates of an occupancy grid: the cells of points, and the decaying maximum of values in each cell.

The reference implementations are `reference.locate_cells` and `reference.remember_largest`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.kernels.runtime.checks import FLOAT32, check_range, check_tensor
from avatar.kernels.runtime.launch import get_warp, launch_chunks, view


@torch.no_grad()
def locate_cells(points: Tensor, low: Tensor, cell: Tensor, counts: tuple[int, int, int]) -> Tensor:
    """Flat indices `[P]` int32 of the cells that contain points `[P, 3]` float32, z fastest; -1 outside and for NaN.

    low, cell: `[3]`, corner of the grid and edge lengths of a cell, in the unit of the points. counts: cells along each
    axis. Raises InputError for points of another shape, type or device.
    """
    from avatar.kernels.occupancy.portable import locate_kernel

    check_tensor("points", points, ("P", 3), FLOAT32, low.device)
    warp, points = get_warp(), points.contiguous()
    cells = torch.empty(len(points), dtype=torch.int32, device=points.device)
    place = [warp.vec3(*low.tolist()), warp.vec3(*(1 / cell).tolist()), warp.vec3i(*counts)]
    launch_chunks(
        locate_kernel,
        len(points),
        [*place, view(points, warp.vec3), view(cells)],
        points.device,
        smallest=4096,
        even=True,
    )
    return cells


@torch.no_grad()
def remember_largest(memory: Tensor, cells: Tensor, values: Tensor, *, decay: float, unseen: float) -> None:
    """Update the decaying maximum of a grid's cells in place.

    memory: `[C]` float32, contiguous. cells: `[P]` int32, -1 for none. values: `[P]` float32, at least 0. A sampled
    cell gets the larger of `decay` times its memory and the largest of its values, or, where its memory is at least
    `unseen`, that value alone; other cells are unchanged. Raises InputError for other shapes, types or devices.
    """
    from avatar.kernels.occupancy.portable import largest_kernel, remember_kernel

    count, device = len(cells), memory.device
    check_tensor("memory", memory, ("C",), FLOAT32, device)
    check_tensor("cells", cells, (count,), (torch.int32,), device)
    check_tensor("values", values, (count,), FLOAT32, device)
    if device.type == "cpu":
        check_range("cells", cells + 1, len(memory) + 1)
    largest = torch.full_like(memory, -1.0)
    values = values.contiguous()
    # one chunk: on a CPU the kernels' operations are not atomic between threads
    arrays = [view(cells), view(values), view(largest)]
    launch_chunks(largest_kernel, count, arrays, device, smallest=max(count, 1))
    arrays = [view(cells), view(largest), decay, unseen, view(memory)]
    launch_chunks(remember_kernel, count, arrays, device, smallest=max(count, 1))
