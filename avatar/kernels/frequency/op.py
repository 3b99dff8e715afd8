"""Frequency encoding (NeRF, Mildenhall et al. 2020, equation 4) with the values themselves in front.

On a CPU in one native kernel (`frequency_cpu`); the twin, `reference.frequency_encode`, serves CUDA and other types.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.base.errors import InputError
from avatar.kernels import reference
from avatar.kernels.runtime.launch import launch_on_cpu, launch_shares, view, worker_count

SMALLEST_CHUNK = 2048
"""Values that are worth a thread of their own."""
MOST_ANGLES = 48
"""The native kernel keeps the angles of one value side by side."""


def frequency_encode(values: Tensor, bands: int, window: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    """Encode values: `[N, D + 2 D bands]`: the values, then all sines, then all cosines, bands major within both.

    values: `[N, D]`, about in [-1, 1]. bands: sines and cosines of 2^j pi values for j = 0 .. bands - 1. window:
    `[bands]` weight of each band (see `avatar.field.encodings.band_window`), or None for ones. backend:
    "torch" for the twin. Differentiable once in the values. Raises InputError for another shape.
    """
    if values.dim() != 2 or (window is not None and window.shape != (bands,)):
        shapes = f"{tuple(values.shape)} with a window of {None if window is None else tuple(window.shape)}"
        raise InputError("values and window do not fit the encoding", expected=f"[N, D] and [{bands}]", found=shapes)
    if bands == 0:
        return values
    if window is None:
        window = torch.ones(bands, device=values.device)
    native = (
        backend != "torch"
        and values.device.type == "cpu"
        and values.dtype == torch.float32
        and bands * values.shape[1] <= MOST_ANGLES
    )
    return _Encode.apply(values, bands, window) if native else reference.frequency_encode(values, bands, window)


class _Encode(torch.autograd.Function):
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
