"""Volume rendering of packed samples (Max 1995; NeRF, Mildenhall et al. 2020, equation 3), one pass along each ray.

Rays own consecutive samples: those of ray r are first[r] to first[r + 1]. The twins are `reference.render_weights` and
`reference.sum_along_rays`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.base.errors import InputError
from avatar.kernels.runtime.launch import launch_chunks, view

SMALLEST_CHUNK = 256
"""Rays that are worth a thread of their own on a CPU."""


def starts(count: Tensor) -> Tensor:
    """`[R + 1]` int64: where each ray's samples begin in a packed list, and its length, from their numbers `[R]`."""
    return torch.cat([count.new_zeros(1, dtype=torch.int64), torch.cumsum(count, 0)])


def render_weights(thickness: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Each sample's share in its ray's colour, and the share of light that reaches it: both `[M]`.

    w_i = T_i (1 - exp(-tau_i)) with T_i = exp(-sum_{j < i} tau_j) along each ray.

    thickness: `[M]` float32, tau >= 0. first: `[R + 1]` int64, from 0 to M. Weights are differentiable once in the
    thickness; the light is not. Raises InputError for other shapes, types or devices.
    """
    _check(first, thickness=thickness)
    return _Weights.apply(thickness, first)


def sum_along_rays(weights: Tensor, first: Tensor, values: Tensor | None = None) -> Tensor:
    """Sums of `weights` `[M]` (times `values` `[M, C]`) along each ray: `[R]` or `[R, C]`.

    Differentiable once in both. Raises InputError for other shapes, types or devices.
    """
    tensors = {"weights": weights} if values is None else {"weights": weights, "values": values}
    _check(first, **tensors)
    if values is None:
        return _Sum.apply(weights, None, first).squeeze(1)
    if values.dim() != 2:
        raise InputError("values along rays have a wrong shape", expected="[M, C]", found=tuple(values.shape))
    return _Sum.apply(weights, values, first)


class _Weights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, thickness: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        from avatar.kernels.volume.portable import weights_kernel

        thickness = thickness.detach().contiguous()
        weights, light = torch.empty_like(thickness), torch.empty_like(thickness)
        arrays = [view(first), view(thickness), view(weights), view(light)]
        launch_chunks(weights_kernel, len(first) - 1, arrays, first.device, smallest=SMALLEST_CHUNK, even=True)
        ctx.save_for_backward(first, weights, light)
        ctx.mark_non_differentiable(light)
        return weights, light

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_weights: Tensor, _: Tensor) -> tuple[Tensor, None]:
        from avatar.kernels.volume.portable import weights_gradient_kernel

        first, weights, light = ctx.saved_tensors
        grad_weights, gradient = grad_weights.contiguous(), torch.empty_like(weights)
        arrays = [view(first), view(weights), view(light), view(grad_weights), view(gradient)]
        launch_chunks(weights_gradient_kernel, len(first) - 1, arrays, first.device, smallest=SMALLEST_CHUNK, even=True)
        return gradient, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, values: Tensor | None, first: Tensor) -> Tensor:
        from avatar.kernels.volume.portable import sum_kernel

        weights = weights.detach().contiguous()
        values = None if values is None else values.detach().contiguous()
        result = weights.new_empty(len(first) - 1, 1 if values is None else values.shape[1])
        arrays = [view(first), view(weights), None if values is None else view(values), view(result)]
        launch_chunks(sum_kernel, len(result), arrays, first.device, smallest=SMALLEST_CHUNK, even=True)
        ctx.save_for_backward(first, weights, values)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        from avatar.kernels.volume.portable import sum_gradient_kernel

        first, weights, values = ctx.saved_tensors
        incoming = incoming.contiguous()
        grad_weights = torch.empty_like(weights) if ctx.needs_input_grad[0] else None
        grad_values = torch.empty_like(values) if values is not None and ctx.needs_input_grad[1] else None
        optional = (values, grad_weights, grad_values)
        seen, weights_out, values_out = (None if part is None else view(part) for part in optional)
        arrays = [view(first), view(weights), seen, view(incoming), weights_out, values_out]
        launch_chunks(sum_gradient_kernel, len(incoming), arrays, first.device, smallest=SMALLEST_CHUNK, even=True)
        return grad_weights, grad_values, None


def _check(first: Tensor, **tensors: Tensor) -> None:
    if first.dim() != 1 or len(first) == 0 or first.dtype != torch.int64:
        raise InputError(
            "rays do not say where their samples begin",
            expected="int64 [R + 1]",
            found=f"{first.dtype} {tuple(first.shape)}",
        )
    total = int(first[-1]) if first.device.type == "cpu" else None
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise InputError(f"{name} along rays must be float32", found=tensor.dtype)
        if tensor.device != first.device:
            raise InputError(f"{name} and rays are on different devices", expected=first.device, found=tensor.device)
        if total is not None and len(tensor) != total:
            raise InputError(f"{name} do not fit the rays", expected=f"{total} samples", found=len(tensor))
