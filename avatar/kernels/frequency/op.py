"""Frequency encoding (NeRF, Mildenhall et al. 2020, equation 4) with the values themselves in front.

On a CPU in one native kernel (`frequency_cpu`); the twin, `reference.frequency_encode`, serves CUDA and other types.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.base.errors import InputError
from avatar.kernels.frequency import reference
from avatar.kernels.frequency.autograd import FrequencyEncode

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
    return FrequencyEncode.apply(values, bands, window) if native else reference.frequency_encode(values, bands, window)
