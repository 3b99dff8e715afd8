"""Warp kernels of the occupancy grid; imported on first use."""

# pyright: reportInvalidTypeForm=false

from avatar.kernels.runtime.launch import get_warp

wp = get_warp()


@wp.kernel(enable_backward=False)
def locate_kernel(
    begin: int,
    low: wp.vec3,
    inverse_cell: wp.vec3,
    counts: wp.vec3i,
    points: wp.array(dtype=wp.vec3),
    cells: wp.array(dtype=wp.int32),
):
    i = begin + wp.tid()
    place = wp.cw_mul(points[i] - low, inverse_cell)
    found = int(-1)  # noqa: UP018, RUF046
    # written so that NaN is outside
    if place[0] >= 0.0 and place[1] >= 0.0 and place[2] >= 0.0:
        x = int(wp.min(place[0], 2.0e9))
        y = int(wp.min(place[1], 2.0e9))
        z = int(wp.min(place[2], 2.0e9))
        if x < counts[0] and y < counts[1] and z < counts[2]:
            found = (x * counts[1] + y) * counts[2] + z
    cells[i] = found


@wp.kernel(enable_backward=False)
def largest_kernel(
    begin: int, cells: wp.array(dtype=wp.int32), values: wp.array(dtype=float), largest: wp.array(dtype=float)
):
    i = begin + wp.tid()
    if cells[i] >= 0:
        wp.atomic_max(largest, cells[i], values[i])


@wp.kernel(enable_backward=False)
def remember_kernel(
    begin: int,
    cells: wp.array(dtype=wp.int32),
    largest: wp.array(dtype=float),
    decay: float,
    unseen: float,
    memory: wp.array(dtype=float),
):
    i = begin + wp.tid()
    cell = cells[i]
    if cell >= 0:
        # the first point of the cell takes the value and leaves -1, the mark of a cell without samples
        seen = wp.atomic_exch(largest, cell, -1.0)
        if seen >= 0.0:
            before = memory[cell]
            if before < unseen:
                seen = wp.max(seen, decay * before)
            memory[cell] = seen
