"""K small hash grids, blended for every frame by K coefficients: sum_k c_k E_k(x).

On a CPU the native kernel (`cpu.py`) blends the entries at lookup, so that the frames' blended tables are never written
to memory. On CUDA one matrix product computes them, and the kernels of `hash_grid` look them up. The reference
implementation is `reference.blended_encode`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.kernels.blended_grid import reference
from avatar.kernels.blended_grid.autograd import BlendedEncode
from avatar.kernels.hash_grid.op import hash_encode
from avatar.kernels.hash_grid.types import HashGridSpec
from avatar.kernels.runtime.checks import FLOAT32, INTEGERS, check_finite, check_range, check_tensor


def blended_encode(
    positions: Tensor,
    tables: Tensor,
    coefficients: Tensor,
    frame: Tensor,
    spec: HashGridSpec,
    *,
    backend: str = "auto",
) -> Tensor:
    """Features `[N, L * F]` float32 of points in the blended grids of their frames; zero for points without a frame.

    positions: `[N, 3]` float32 in [0, 1] (clamped to it). tables: `[T, F, K]` float32, the K tables interleaved.
    coefficients: `[B, K]` float32. frame: `[N]` int32 or int64, -1 for none. backend: "torch" for the reference.
    Differentiable once in positions, tables and coefficients. Raises InputError for shapes, types or devices that do
    not fit, and on a CPU for positions that are not finite and frames out of range (on CUDA they are clamped).
    """
    device, count = positions.device, len(positions)
    check_tensor("positions", positions, ("N", 3), FLOAT32, device)
    check_tensor("the bank", tables, (spec.table_size, spec.features, "K"), FLOAT32, device)
    check_tensor("coefficients", coefficients, ("B", tables.shape[2]), FLOAT32, device)
    check_tensor("frames of points", frame, (count,), INTEGERS, device)
    if device.type == "cpu" and count:
        check_finite(positions=positions)
        check_range("the frame of a point", frame + 1, len(coefficients) + 1)
    if backend == "torch":
        return reference.blended_encode(positions, tables, coefficients, frame, spec)
    if device.type == "cpu":
        return BlendedEncode.apply(positions, tables, coefficients, frame.to(torch.int32).contiguous(), spec)
    blended = (tables.flatten(0, 1) @ coefficients.T).T.view(len(coefficients), *tables.shape[:2])
    features = hash_encode(positions, blended.contiguous(), spec, table_index=frame.clamp_min(0), backend=backend)
    return features * (frame >= 0).unsqueeze(1)
