"""Warp kernels of `mesh_query`. Imported by it on first use, so that Warp is loaded only where a mesh is asked."""

from avatar.kernels.warp_runtime import get_warp

wp = get_warp()


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
    # Rays are made here, not in torch: at 512 x 512 they alone would be 6 MB to write and read.
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
    run: int,
    points: wp.array(dtype=wp.vec3),
    face: wp.array(dtype=wp.int32),
    distance: wp.array(dtype=float),
    barycentrics: wp.array(dtype=wp.vec3),
):
    # One index answers a run of consecutive points. Neighbours in the list are mostly neighbours in space, and by the
    # triangle inequality the last distance plus the step bounds the next one, which prunes most of the tree.
    start = (first + wp.tid()) * run
    bound = max_distance  # so the run's first reach is max_distance, whatever the step
    previous = wp.vec3(0.0, 0.0, 0.0)
    for k in range(run):
        i = start + k
        if i < points.shape[0]:
            point = points[i]
            reach = wp.min(max_distance, (bound + wp.length(point - previous)) * 1.0001 + 1.0e-7)
            query = wp.mesh_query_point_no_sign(mesh, point, reach)
            previous = point
            if query.result:
                bound = wp.length(wp.mesh_eval_position(mesh, query.face, query.u, query.v) - point)
                face[i] = query.face
                distance[i] = bound
                barycentrics[i] = wp.vec3(query.u, query.v, 1.0 - query.u - query.v)
            else:
                bound = max_distance
                face[i] = -1
                distance[i] = wp.inf
                barycentrics[i] = wp.vec3(0.0, 0.0, 0.0)
