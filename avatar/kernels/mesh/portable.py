"""Portable Warp kernels of the mesh queries; imported on first use. Rays take them everywhere; for closest points the
CPU has faster ones in `cpu.py`."""

# pyright: reportInvalidTypeForm=false

from avatar.kernels.mesh.types import FADE_START
from avatar.kernels.runtime.launch import get_warp

wp = get_warp()
FADE = wp.constant(FADE_START)


@wp.kernel(enable_backward=False)
def cast_rays_kernel(
    first: int,
    mesh: wp.uint64,
    max_depth: float,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    face: wp.array(dtype=wp.int32),
    depth: wp.array(dtype=float),
    barycentrics: wp.array(dtype=wp.vec3),
):
    i = first + wp.tid()
    query = wp.mesh_query_ray(mesh, origins[i], directions[i], max_depth)
    if query.result:
        face[i] = query.face
        depth[i] = query.t
        barycentrics[i] = wp.vec3(query.u, query.v, 1.0 - query.u - query.v)
    else:
        face[i] = -1
        depth[i] = wp.inf
        barycentrics[i] = wp.vec3(0.0, 0.0, 0.0)


@wp.kernel(enable_backward=False)
def cast_pixels_kernel(
    first: int,
    mesh: wp.uint64,
    max_depth: float,
    origin: wp.vec3,
    rotation: wp.mat33,
    focal: wp.vec2,
    centre: wp.vec2,
    corner: wp.vec2i,
    columns: int,
    step: int,
    face: wp.array2d(dtype=wp.int32),
    depth: wp.array2d(dtype=float),
    barycentrics: wp.array2d(dtype=wp.vec3),
):
    # rays are generated here: at 512 x 512 pixels a tensor of rays would be 6 MB to write and read
    i = first + wp.tid()
    row = corner[1] + i // columns
    column = corner[0] + i % columns
    x = (float(column * step) + 0.5 - centre[0]) / focal[0]
    y = (float(row * step) + 0.5 - centre[1]) / focal[1]
    query = wp.mesh_query_ray(mesh, origin, rotation * wp.vec3(x, y, 1.0), max_depth)
    if query.result:
        face[row, column] = query.face
        depth[row, column] = query.t
        barycentrics[row, column] = wp.vec3(query.u, query.v, 1.0 - query.u - query.v)


@wp.kernel(enable_backward=False)
def closest_points_kernel(
    first: int,
    mesh: wp.uint64,
    max_distance: float,
    points: wp.array(dtype=wp.vec3),
    face: wp.array(dtype=wp.int32),
    distance: wp.array(dtype=float),
    barycentrics: wp.array(dtype=wp.vec3),
):
    i = first + wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[i], max_distance)
    if query.result:
        face[i] = query.face
        distance[i] = wp.length(wp.mesh_eval_position(mesh, query.face, query.u, query.v) - points[i])
        barycentrics[i] = wp.vec3(query.u, query.v, 1.0 - query.u - query.v)
    else:
        face[i] = -1
        distance[i] = wp.inf
        barycentrics[i] = wp.vec3(0.0, 0.0, 0.0)


@wp.kernel(enable_backward=False)
def spread_kernel(
    first: int,
    mesh: wp.uint64,
    max_distance: float,
    points: wp.array(dtype=wp.vec3),
    values: wp.array(dtype=wp.vec3),
    fade: float,
    where: wp.array(dtype=wp.int32),
    output: wp.array(dtype=wp.float16),
):
    i = first + wp.tid()
    value = wp.vec3(0.0, 0.0, 0.0)
    query = wp.mesh_query_point_no_sign(mesh, points[i], max_distance)
    if query.result:
        away = wp.length(wp.mesh_eval_position(mesh, query.face, query.u, query.v) - points[i])
        t = wp.clamp((away / max_distance - FADE) / (1.0 - FADE), 0.0, 1.0)
        a = values[wp.mesh_get_index(mesh, query.face * 3)]
        b = values[wp.mesh_get_index(mesh, query.face * 3 + 1)]
        c = values[wp.mesh_get_index(mesh, query.face * 3 + 2)]
        value = query.u * a + query.v * b + (1.0 - query.u - query.v) * c
        value = wp.exp(-away / fade) * (1.0 - t * t * (3.0 - 2.0 * t)) * value
    row = 3 * where[i]
    for axis in range(3):
        output[row + axis] = wp.float16(value[axis])
