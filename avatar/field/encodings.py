"""The frequency bands' coarse-to-fine window, and the encoding of view directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avatar.kernels.frequency.op import frequency_encode
from avatar.kernels.harmonics import op as harmonics


def band_window(bands: int, window: float, *, device: torch.device | None = None) -> Tensor:
    """Coarse-to-fine weights `[bands]` of frequency bands.

    Band j has the weight (1 - cos(pi clamp(window - j, 0, 1))) / 2 (Nerfies, Park et al. 2021, equation 8): 0 for
    window <= j and 1 for window >= j + 1. The paper calls `window` alpha.
    """
    opened = (min(max(window - band, 0.0), 1.0) for band in range(bands))
    return torch.tensor([(1 - math.cos(math.pi * share)) / 2 for share in opened], device=device)


def frequency_size(dimensions: int, bands: int) -> int:
    """Length of `frequency_encode`'s result."""
    return dimensions * (1 + 2 * bands)


def encode_direction(directions: Tensor, bands: int, *, backend: str = "auto") -> Tensor:
    """Spherical harmonics `[N, 9]` of unit directions `[N, 3]`, or frequency bands where `bands` is not 0."""
    if bands:
        return frequency_encode(directions, bands, backend=backend)
    return harmonics.spherical_harmonics(directions, backend=backend)


def direction_size(bands: int) -> int:
    """Length of `encode_direction`'s result."""
    return frequency_size(3, bands) if bands else harmonics.SIZE
