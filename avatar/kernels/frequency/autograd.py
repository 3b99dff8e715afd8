"""The autograd function of the frequency encoding on its native kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.kernels.runtime.launch import launch_on_cpu, launch_shares, view, worker_count

SMALLEST_CHUNK = 2048
"""Fewest rows for which another CPU thread pays."""


class FrequencyEncode(torch.autograd.Function):
    """Forward and backward of `frequency_encode` on a CPU."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, bands: int, window: Tensor) -> Tensor:
        from avatar.kernels.frequency.cpu import make_cpu_kernels

        count, dimensions = values.shape
        values, window = values.detach().contiguous(), window.detach().float().contiguous()
        result = torch.empty(count, dimensions * (1 + 2 * bands))
        arrays = [view(values.view(-1)), dimensions, bands, view(window), view(result.view(-1))]
        _launch(make_cpu_kernels().encode, count, arrays)
        ctx.bands = bands
        ctx.save_for_backward(result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None]:
        from avatar.kernels.frequency.cpu import make_cpu_kernels

        (result,) = ctx.saved_tensors
        bands, incoming = ctx.bands, incoming.contiguous()
        gradient = torch.empty(len(result), result.shape[1] // (1 + 2 * bands))
        arrays = [view(result.view(-1)), view(incoming.view(-1)), gradient.shape[1], bands, view(gradient.view(-1))]
        _launch(make_cpu_kernels().gradient, len(result), arrays)
        return gradient, None, None


def _launch(kernel: Any, count: int, arrays: list[Any]) -> None:
    def launch(_: int, first: int, last: int) -> None:
        launch_on_cpu(kernel, 1, [*arrays, first, last])

    launch_shares(launch, count, worker_count(count, SMALLEST_CHUNK))
