"""Warp kernels of volume rendering, one thread per ray; imported on first use."""

# pyright: reportInvalidTypeForm=false
# ruff: noqa: UP018, SIM108
# Warp takes a bare literal for a constant, so variables start as `float(1.0)`.

from avatar.kernels.runtime.launch import get_warp

wp = get_warp()


@wp.kernel(enable_backward=False)
def weights_kernel(
    begin: int,
    first: wp.array(dtype=wp.int64),
    optical_depth: wp.array(dtype=float),
    weights: wp.array(dtype=float),
    transmittance: wp.array(dtype=float),
):
    ray = begin + wp.tid()
    left = float(1.0)
    for i in range(int(first[ray]), int(first[ray + 1])):
        passed = left * wp.exp(-optical_depth[i])
        transmittance[i] = left
        weights[i] = left - passed
        left = passed


@wp.kernel(enable_backward=False)
def weights_gradient_kernel(
    begin: int,
    first: wp.array(dtype=wp.int64),
    weights: wp.array(dtype=float),
    transmittance: wp.array(dtype=float),
    grad_weights: wp.array(dtype=float),
    grad_optical_depth: wp.array(dtype=float),
):
    # d w_i / d tau_i is the transmittance behind sample i; d w_k / d tau_i = -w_k for every later sample k
    ray = begin + wp.tid()
    start = int(first[ray])
    count = int(first[ray + 1]) - start
    behind = float(0.0)
    for k in range(count):
        i = start + count - 1 - k
        grad_optical_depth[i] = grad_weights[i] * (transmittance[i] - weights[i]) - behind
        behind = behind + grad_weights[i] * weights[i]


@wp.kernel(enable_backward=False)
def sum_kernel(
    begin: int,
    first: wp.array(dtype=wp.int64),
    weights: wp.array(dtype=float),
    values: wp.array2d(dtype=float),
    result: wp.array2d(dtype=float),
):
    ray = begin + wp.tid()
    for c in range(result.shape[1]):
        total = float(0.0)
        for i in range(int(first[ray]), int(first[ray + 1])):
            if values:
                total = total + weights[i] * values[i, c]
            else:
                total = total + weights[i]
        result[ray, c] = total


@wp.kernel(enable_backward=False)
def sum_gradient_kernel(
    begin: int,
    first: wp.array(dtype=wp.int64),
    weights: wp.array(dtype=float),
    values: wp.array2d(dtype=float),
    incoming: wp.array2d(dtype=float),
    grad_weights: wp.array(dtype=float),
    grad_values: wp.array2d(dtype=float),
):
    ray = begin + wp.tid()
    for i in range(int(first[ray]), int(first[ray + 1])):
        total = float(0.0)
        for c in range(incoming.shape[1]):
            pull = incoming[ray, c]
            if values:
                total = total + pull * values[i, c]
            else:
                total = total + pull
            if grad_values:
                grad_values[i, c] = weights[i] * pull
        if grad_weights:
            grad_weights[i] = total
