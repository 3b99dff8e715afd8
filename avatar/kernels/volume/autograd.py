"""The autograd functions of volume rendering on Warp's kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.kernels.runtime.launch import launch_chunks, view

SMALLEST_CHUNK = 256
"""Fewest rays for which another CPU thread pays."""


class Weights(torch.autograd.Function):
    """Forward and backward of `op.render_weights`."""

    @staticmethod
    def forward(ctx: Any, optical_depth: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        from avatar.kernels.volume.portable import weights_kernel

        optical_depth = optical_depth.detach().contiguous()
        weights, transmittance = torch.empty_like(optical_depth), torch.empty_like(optical_depth)
        arrays = [view(first), view(optical_depth), view(weights), view(transmittance)]
        launch_chunks(weights_kernel, len(first) - 1, arrays, first.device, smallest=SMALLEST_CHUNK, even=True)
        ctx.save_for_backward(first, weights, transmittance)
        ctx.mark_non_differentiable(transmittance)
        return weights, transmittance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_weights: Tensor, _: Tensor) -> tuple[Tensor, None]:
        from avatar.kernels.volume.portable import weights_gradient_kernel

        first, weights, transmittance = ctx.saved_tensors
        grad_weights, gradient = grad_weights.contiguous(), torch.empty_like(weights)
        arrays = [view(first), view(weights), view(transmittance), view(grad_weights), view(gradient)]
        launch_chunks(weights_gradient_kernel, len(first) - 1, arrays, first.device, smallest=SMALLEST_CHUNK, even=True)
        return gradient, None


class Sum(torch.autograd.Function):
    """Forward and backward of `op.sum_along_rays`."""

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
