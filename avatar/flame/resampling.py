"""Head parameters of frames at some times, at others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from avatar.flame.model import HeadParameters
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, slerp


def resample_parameters(params: HeadParameters, times: np.ndarray, wanted: np.ndarray) -> HeadParameters:
    """N frames at `times` `[N]` (seconds, increasing) to K frames at `wanted` `[K]`: rotations along the shortest arc,
    everything else linearly, the ends held."""
    before, share = bracket(times, wanted)
    after = np.minimum(before + 1, len(times) - 1)
    weight = torch.as_tensor(share, dtype=params.expr.dtype, device=params.expr.device)[:, None]
    mixed = {
        name: torch.lerp(getattr(params, name)[before], getattr(params, name)[after], weight)
        for name in ("expr", "translation")
    }
    for name in ("rotation", "neck", "jaw"):
        mixed[name] = _slerp(getattr(params, name)[before], getattr(params, name)[after], weight)
    eyes = [_slerp(params.eyes[before, k : k + 3], params.eyes[after, k : k + 3], weight) for k in (0, 3)]
    return replace(params, **mixed, eyes=torch.cat(eyes, -1))


def bracket(times: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index `[K]` of the frame at or before each wanted time, and the fraction towards the next, in [0, 1]."""
    place = np.interp(wanted, times, np.arange(len(times)))
    before = np.minimum(np.floor(place).astype(int), len(times) - 1)
    return before, place - before


def _slerp(first: torch.Tensor, second: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Interpolate axis-angles `[K, 3]` along the shortest arc; `share` `[K, 1]` in [0, 1]."""
    return matrix_to_axis_angle(slerp(axis_angle_to_matrix(first), axis_angle_to_matrix(second), share))
