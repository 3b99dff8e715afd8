"""Frequency encoding (NeRF, Mildenhall et al. 2020, equation 4), preceded by the values themselves.

On a CPU float32 values take one native kernel (`cpu.py`); CUDA and other types take `reference.frequency_encode`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.base.errors import InputError
from avatar.kernels.frequency import reference
from avatar.kernels.frequency.autograd import FrequencyEncode

MOST_ANGLES = 48
"""Most angles of one row that the native kernel has room for."""


def frequency_encode(values: Tensor, bands: int, window: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    """Encodings `[N, D + 2 D bands]`: the values, all sines, then all cosines, both band by band.

    values: `[N, D]`, about in [-1, 1]. bands: sines and cosines of 2^j pi values for j = 0 .. bands - 1. window:
    `[bands]` weights of the bands (see `avatar.field.encodings.band_window`), or None for ones. backend: "torch" for
    the reference. Differentiable once in the values. Raises InputError for other shapes.
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
    return FrequencyEncode.apply(values, bands, window) if native else reference.frequency_encode(values, bands, window)
