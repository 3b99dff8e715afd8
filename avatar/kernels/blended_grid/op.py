"""A bank of K small hash grids, mixed for every frame by K coefficients: sum_k c_k E_k(x).

On a CPU the mixture is taken where it is looked up (`mixed_grid_cpu`): the frames' tables, K times cheaper to describe
than to write, never exist. On CUDA one matrix product makes them, and the hash grid's kernels look them up.
The twin is `reference.blended_encode`.
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
    bank: Tensor,
    coefficients: Tensor,
    frame: Tensor,
    spec: HashGridSpec,
    *,
    backend: str = "auto",
) -> Tensor:
    """Encode points by their frames' mixtures: `[N, L * F]` float32; zero for points without a frame.

    positions: `[N, 3]` float32 in [0, 1] (clamped to it). bank: `[T, F, K]` float32, the tables' entries side by side.
    coefficients: `[B, K]` float32. frame: `[N]` int32 or int64, -1 for none. backend: "torch" for the twin.
    Differentiable once in positions, bank and coefficients. Raises InputError for shapes, types or devices that do not
    fit, and on a CPU for positions that are not finite and frames out of range (on CUDA those are clamped).
    """
    device, count = positions.device, len(positions)
    check_tensor("positions", positions, ("N", 3), FLOAT32, device)
    check_tensor("the bank", bank, (spec.table_size, spec.features, "K"), FLOAT32, device)
    check_tensor("coefficients", coefficients, ("B", bank.shape[2]), FLOAT32, device)
    check_tensor("frames of points", frame, (count,), INTEGERS, device)
    if device.type == "cpu" and count:
        check_finite(positions=positions)
        check_range("the frame of a point", frame + 1, len(coefficients) + 1)
    if backend == "torch":
        return reference.blended_encode(positions, bank, coefficients, frame, spec)
    if device.type == "cpu":
        return BlendedEncode.apply(positions, bank, coefficients, frame.to(torch.int32).contiguous(), spec)
    mixed = (bank.flatten(0, 1) @ coefficients.T).T.view(len(coefficients), *bank.shape[:2])
    features = hash_encode(positions, mixed.contiguous(), spec, table_index=frame.clamp_min(0), backend=backend)
    return features * (frame >= 0).unsqueeze(1)
