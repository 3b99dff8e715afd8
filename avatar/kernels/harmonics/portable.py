"""Warp kernel of the spherical harmonics; imported on first use."""

# pyright: reportInvalidTypeForm=false

from avatar.kernels.runtime.launch import get_warp

wp = get_warp()


@wp.kernel(enable_backward=False)
def harmonics_kernel(begin: int, directions: wp.array(dtype=wp.vec3), result: wp.array2d(dtype=float)):
    i = begin + wp.tid()
    d = directions[i]
    x = d[0]
    y = d[1]
    z = d[2]
    result[i, 0] = 0.28209479177387814
    result[i, 1] = -0.4886025119029199 * y
    result[i, 2] = 0.4886025119029199 * z
    result[i, 3] = -0.4886025119029199 * x
    result[i, 4] = 1.0925484305920792 * x * y
    result[i, 5] = -1.0925484305920792 * y * z
    result[i, 6] = 0.31539156525252005 * (3.0 * z * z - 1.0)
    result[i, 7] = -1.0925484305920792 * x * z
    result[i, 8] = 0.5462742152960396 * (x * x - y * y)
