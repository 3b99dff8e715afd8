"""Volume rendering of packed samples (Max 1995; NeRF, Mildenhall et al. 2020, equation 3), one pass along each ray.

Rays own consecutive samples: those of ray r are first[r] to first[r + 1]. The reference implementations are
`reference.render_weights` and `reference.sum_along_rays`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.base.errors import InputError
from avatar.kernels.volume.autograd import Sum, Weights


def render_weights(optical_depth: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the samples in the colours of their rays, and transmittance in front of them: both `[M]`.

    w_i = T_i (1 - exp(-tau_i)) with T_i = exp(-sum_{j < i} tau_j) along each ray.

    optical_depth: `[M]` float32, tau >= 0. first: `[R + 1]` int64, from 0 to M. Weights are differentiable once in the
    optical depth; transmittance is not. Raises InputError for other shapes, types or devices.
    """
    _check(first, optical_depth=optical_depth)
    return Weights.apply(optical_depth, first)


def sum_along_rays(weights: Tensor, first: Tensor, values: Tensor | None = None) -> Tensor:
    """Sums of `weights` `[M]` (times `values` `[M, C]`) along each ray: `[R]` or `[R, C]`.

    Differentiable once in both. Raises InputError for other shapes, types or devices.
    """
    tensors = {"weights": weights} if values is None else {"weights": weights, "values": values}
    _check(first, **tensors)
    if values is None:
        return Sum.apply(weights, None, first).squeeze(1)
    if values.dim() != 2:
        raise InputError("values along rays have a wrong shape", expected="[M, C]", found=tuple(values.shape))
    return Sum.apply(weights, values, first)


def _check(first: Tensor, **tensors: Tensor) -> None:
    if first.dim() != 1 or len(first) == 0 or first.dtype != torch.int64:
        raise InputError(
            "rays do not say where their samples begin",
            expected="int64 [R + 1]",
            found=f"{first.dtype} {tuple(first.shape)}",
        )
    total = int(first[-1]) if first.device.type == "cpu" else None
    if total is not None and (int(first[0]) != 0 or bool((first[1:] < first[:-1]).any())):
        raise InputError("rays must own their samples one after another", expected="a rising list from 0")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise InputError(f"{name} along rays must be float32", found=tensor.dtype)
        if tensor.device != first.device:
            raise InputError(f"{name} and rays are on different devices", expected=first.device, found=tensor.device)
        if total is not None and len(tensor) != total:
            raise InputError(f"{name} do not fit the rays", expected=f"{total} samples", found=len(tensor))
