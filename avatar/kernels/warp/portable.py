"""Warp kernels of the inverse warp, one thread per sample; imported on first use."""

# pyright: reportInvalidTypeForm=false

from avatar.kernels.runtime.launch import get_warp

wp = get_warp()
mat34 = wp.types.matrix(shape=(3, 4), dtype=float)


@wp.kernel(enable_backward=False)
def inverse_warp_kernel(
    begin: int,
    top: float,
    bottom: float,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    frame: wp.array(dtype=wp.int64),
    ray: wp.array(dtype=wp.int64),
    depth: wp.array(dtype=float),
    displacement: wp.array(dtype=wp.vec3),
    canonical_from_world: wp.array(dtype=mat34),
    height: wp.array(dtype=wp.vec4),
    points: wp.array(dtype=wp.vec3),
    views: wp.array(dtype=wp.vec3),
):
    i = begin + wp.tid()
    r = int(ray[i])
    view = directions[r]
    point = origins[r] + depth[i] * view
    if canonical_from_world:
        which = int(frame[r])
        m = canonical_from_world[which]
        row = height[which]
        rotation = wp.mat33(m[0, 0], m[0, 1], m[0, 2], m[1, 0], m[1, 1], m[1, 2], m[2, 0], m[2, 1], m[2, 2])
        rise = row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]
        t = wp.clamp((rise - bottom) / (top - bottom), 0.0, 1.0)
        share = t * t * (3.0 - 2.0 * t)
        moved = rotation * point + wp.vec3(m[0, 3], m[1, 3], m[2, 3])
        point = point + share * (moved - point)
        view = wp.normalize(view + share * (rotation * view - view))
    if displacement:
        point = point - displacement[i]
    points[i] = point
    views[i] = view


@wp.kernel(enable_backward=False)
def inverse_warp_gradient_kernel(
    begin: int,
    slot: int,
    top: float,
    bottom: float,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    frame: wp.array(dtype=wp.int64),
    ray: wp.array(dtype=wp.int64),
    depth: wp.array(dtype=float),
    canonical_from_world: wp.array(dtype=mat34),
    height: wp.array(dtype=wp.vec4),
    incoming: wp.array(dtype=wp.vec3),
    grad_matrix: wp.array3d(dtype=wp.vec4),
    grad_height: wp.array2d(dtype=wp.vec4),
):
    i = begin + wp.tid()
    r = int(ray[i])
    which = int(frame[r])
    point = origins[r] + depth[i] * directions[r]
    m = canonical_from_world[which]
    row = height[which]
    g = incoming[i]
    rise = row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]
    t = (rise - bottom) / (top - bottom)
    if t > 0.0:
        place = wp.vec4(point[0], point[1], point[2], 1.0)
        share = float(1.0)  # noqa: UP018
        if t < 1.0:
            share = t * t * (3.0 - 2.0 * t)
            rotation = wp.mat33(m[0, 0], m[0, 1], m[0, 2], m[1, 0], m[1, 1], m[1, 2], m[2, 0], m[2, 1], m[2, 2])
            moved = rotation * point + wp.vec3(m[0, 3], m[1, 3], m[2, 3])
            slope = 6.0 * t * (1.0 - t) / (top - bottom) * wp.dot(g, moved - point)
            wp.atomic_add(grad_height, slot, which, slope * place)
        for axis in range(3):
            wp.atomic_add(grad_matrix, slot, which, axis, share * g[axis] * place)
