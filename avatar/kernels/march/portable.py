"""Warp kernels of the ray march; imported on first use."""

# pyright: reportInvalidTypeForm=false
# ruff: noqa: UP018, RUF046, SIM102
# Warp takes a bare literal for a constant, so variables start as `int(0)`; its `and` evaluates both sides.

from avatar.kernels.runtime.launch import get_warp

wp = get_warp()
MOST_STEPS = wp.constant(1 << 20)
"""As `op.MOST_STEPS`: an endless ray must not block the device."""
mat34 = wp.types.matrix(shape=(3, 4), dtype=float)


@wp.struct
class Space:
    """`types.MarchSpace` as the kernel takes it."""

    low: wp.vec3
    inverse_cell: wp.vec3
    counts: wp.vec3i
    top: float
    bottom: float
    skull_rotation: wp.mat33
    skull_translation: wp.vec3


@wp.func
def cell_of(space: Space, point: wp.vec3):
    """Flat index of the cell that holds a point, -1 outside the box."""
    place = wp.cw_mul(point - space.low, space.inverse_cell)
    # compared as floats, so that NaN and values beyond the integers are outside too
    inside = (
        place[0] >= 0.0
        and place[1] >= 0.0
        and place[2] >= 0.0
        and place[0] < float(space.counts[0])
        and place[1] < float(space.counts[1])
        and place[2] < float(space.counts[2])
    )
    if not inside:
        return -1
    return (int(place[0]) * space.counts[1] + int(place[1])) * space.counts[2] + int(place[2])


@wp.func
def head_share(space: Space, height: float):
    t = wp.clamp((height - space.bottom) / (space.top - space.bottom), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


@wp.func
def interpolate_displacement(
    origin: wp.array(dtype=wp.vec3),
    cell: wp.array(dtype=float),
    counts: wp.array2d(dtype=int),
    offsets: wp.array(dtype=int),
    grids: wp.array2d(dtype=wp.vec3h),
    frame: int,
    point: wp.vec3,
):
    """Trilinear displacement at a skull point: of the first fine grid around it, else the coarse grid, else zero."""
    result = wp.vec3(0.0, 0.0, 0.0)
    chosen = int(-1)
    place = wp.vec3(0.0, 0.0, 0.0)
    for index in range(origin.shape[0]):
        # grid 0 is the coarse one; outside it the displacement is zero
        if chosen < 1 and (index == 0 or chosen == 0):
            local = (point - origin[index]) / cell[index]
            inside = (
                local[0] >= 0.0
                and local[1] >= 0.0
                and local[2] >= 0.0
                and local[0] <= float(counts[index, 0] - 1)
                and local[1] <= float(counts[index, 1] - 1)
                and local[2] <= float(counts[index, 2] - 1)
            )
            if inside:
                chosen = index
                place = local
    if chosen >= 0:
        x = wp.min(int(place[0]), counts[chosen, 0] - 2)
        y = wp.min(int(place[1]), counts[chosen, 1] - 2)
        z = wp.min(int(place[2]), counts[chosen, 2] - 2)
        part = place - wp.vec3(float(x), float(y), float(z))
        for corner in range(8):
            i = (corner >> 2) & 1
            j = (corner >> 1) & 1
            k = corner & 1
            weight = float(1.0)
            weight = weight * (part[0] * float(i) + (1.0 - part[0]) * float(1 - i))
            weight = weight * (part[1] * float(j) + (1.0 - part[1]) * float(1 - j))
            weight = weight * (part[2] * float(k) + (1.0 - part[2]) * float(1 - k))
            node = offsets[chosen] + ((x + i) * counts[chosen, 1] + y + j) * counts[chosen, 2] + z + k
            value = grids[frame, node]
            result += weight * wp.vec3(float(value[0]), float(value[1]), float(value[2]))
    return result


@wp.kernel(enable_backward=False)
def march_kernel(
    first: int,
    space: Space,
    step: float,
    near: wp.array(dtype=float),
    far: wp.array(dtype=float),
    offset: wp.array(dtype=float),
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    frame: wp.array(dtype=int),
    canonical_from_world: wp.array(dtype=mat34),
    height: wp.array(dtype=wp.vec4),
    dilated: wp.array(dtype=wp.uint8),
    occupied: wp.array(dtype=wp.uint8),
    grid_origin: wp.array(dtype=wp.vec3),
    grid_cell: wp.array(dtype=float),
    grid_counts: wp.array2d(dtype=int),
    grid_offsets: wp.array(dtype=int),
    grids: wp.array2d(dtype=wp.vec3h),
    depth: wp.array2d(dtype=float),
    displacement: wp.array2d(dtype=wp.vec3),
    count: wp.array(dtype=int),
):
    ray = first + wp.tid()
    origin = origins[ray]
    direction = directions[ray]
    which = frame[ray]
    origin_move = wp.vec3(0.0, 0.0, 0.0)
    direction_move = wp.vec3(0.0, 0.0, 0.0)
    start = float(0.0)
    slope = float(0.0)
    if canonical_from_world:
        which = wp.clamp(which, 0, canonical_from_world.shape[0] - 1)
    elif grids:
        which = wp.clamp(which, 0, grids.shape[0] - 1)
    if canonical_from_world:
        m = canonical_from_world[which]
        rotation = wp.mat33(m[0, 0], m[0, 1], m[0, 2], m[1, 0], m[1, 1], m[1, 2], m[2, 0], m[2, 1], m[2, 2])
        origin_move = rotation * origin + wp.vec3(m[0, 3], m[1, 3], m[2, 3]) - origin
        direction_move = rotation * direction - direction
        row = height[which]
        up = wp.vec3(row[0], row[1], row[2])
        start = wp.dot(up, origin) + row[3]
        slope = wp.dot(up, direction)
    found = int(0)
    taken = int(0)
    last = far[ray]
    t = near[ray] + offset[ray] * step
    while t < last and found < depth.shape[1] and taken < MOST_STEPS:
        point = origin + t * direction
        if canonical_from_world:
            point = point + head_share(space, start + slope * t) * (origin_move + t * direction_move)
        cell = cell_of(space, point)
        alive = False
        if cell >= 0:
            alive = dilated[cell] != wp.uint8(0)
        if alive:
            move = wp.vec3(0.0, 0.0, 0.0)
            if grids:
                skull = space.skull_rotation * point + space.skull_translation
                local = interpolate_displacement(grid_origin, grid_cell, grid_counts, grid_offsets, grids, which, skull)
                move = wp.transpose(space.skull_rotation) * local
                cell = cell_of(space, point - move)
            if cell >= 0:
                if occupied[cell] != wp.uint8(0):
                    depth[ray, found] = t
                    displacement[ray, found] = move
                    found = found + 1
        taken = taken + 1
        t = near[ray] + (float(taken) + offset[ray]) * step
    count[ray] = found


@wp.kernel(enable_backward=False)
def pack_kernel(
    first: int,
    starts: wp.array(dtype=wp.int64),
    depth: wp.array2d(dtype=float),
    displacement: wp.array2d(dtype=wp.vec3),
    packed_ray: wp.array(dtype=wp.int64),
    packed_depth: wp.array(dtype=float),
    packed_displacement: wp.array(dtype=wp.vec3),
):
    ray = first + wp.tid()
    start = int(starts[ray])
    for k in range(int(starts[ray + 1]) - start):
        packed_ray[start + k] = wp.int64(ray)
        packed_depth[start + k] = depth[ray, k]
        packed_displacement[start + k] = displacement[ray, k]
