"""Multiresolution hash encoding (Mueller et al., Instant Neural Graphics Primitives, ACM TOG 41(4), 2022).

Level l has N_l cells along each axis (equations 2 and 3), features at its (N_l + 1)^3 corners and trilinear
interpolation between them. Levels whose corners fit their table are stored densely, x fastest; finer levels use the
spatial hash of equation 4. Coordinates are clamped to [0, 1]; the gradient along a clamped axis is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.base.errors import ConfigError, InputError
from avatar.kernels.hash_grid.types import HashGridSpec
from avatar.kernels.runtime.checks import FLOAT32, FLOATS, INTEGERS, LARGEST, check_finite, check_range

BACKENDS = ("auto", "warp", "torch")
TABLE_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def hash_encode(
    positions: Tensor,
    table: Tensor,
    spec: HashGridSpec,
    *,
    table_index: Tensor | None = None,
    level_weights: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Features `[N, L * F]` float32 of points, level by level.

    positions: `[N, 3]` float32 in [0, 1] (clamped to it). table: `[T, F]` or `[B, T, F]`, T = `spec.table_size`,
    float32, float16 or bfloat16 (float64 for both with the backend torch). table_index: `[N]` int32 or int64, which of
    the B tables a point uses; may be left out for one table. level_weights: `[L]`, multiplies each level's features (a
    coarse-to-fine window); a level of weight zero costs nothing. backend: "auto" (Warp), "warp" or "torch" (the
    reference).

    Differentiable once in positions and table (not in level_weights). The gradient is the same from run to run on a
    CPU for one number of threads. Raises InputError for shapes, types or devices that do not fit, and on a CPU for
    positions that are not finite or a table_index out of range. On CUDA, where a check would stall the device, a
    position that is not finite gives NaN features and an index out of range is clamped. Raises ConfigError for an
    unknown backend.
    """
    if backend not in BACKENDS:
        raise ConfigError("unknown backend of the hash grid", expected=", ".join(BACKENDS), found=backend)
    _check(positions, table, spec, table_index, level_weights, backend)
    if table.dim() == 2:
        table = table.unsqueeze(0)
    if backend == "torch":
        from avatar.kernels.hash_grid import reference

        return reference.hash_encode(positions, table, spec, table_index=table_index, level_weights=level_weights)
    from avatar.kernels.hash_grid.autograd import HashEncode

    weights = None if level_weights is None else level_weights.detach().tolist()
    index = None if table_index is None else table_index.to(torch.int32)
    return HashEncode.apply(positions, table, spec, index, weights)


def _check(
    positions: Tensor,
    table: Tensor,
    spec: HashGridSpec,
    table_index: Tensor | None,
    level_weights: Tensor | None,
    backend: str,
) -> None:
    if positions.dim() != 2 or positions.shape[1] != 3:
        raise InputError("positions have a wrong shape", expected="[N, 3]", found=tuple(positions.shape))
    is_reference = backend == "torch"
    kinds = {"positions": (positions, FLOATS if is_reference else FLOAT32), "table": (table, TABLE_DTYPES)}
    for name, (tensor, dtypes) in kinds.items():
        if tensor.dtype not in dtypes and not (is_reference and tensor.dtype == torch.float64):
            raise InputError(
                f"{name} must be of a floating point type that the kernels know",
                expected=" or ".join(map(str, dtypes)),
                found=tensor.dtype,
            )
    if table.dim() not in (2, 3) or table.shape[-2:] != (spec.table_size, spec.features):
        raise InputError(
            "the table does not fit its grid",
            expected=f"[{spec.table_size}, {spec.features}], or several of these: {spec.levels} levels of at most "
            f"2^{spec.log2_entries} entries",
            found=tuple(table.shape),
        )
    for name, tensor in {"table": table, "table_index": table_index}.items():
        if tensor is not None and tensor.device != positions.device:
            raise InputError(
                f"{name} and positions are on different devices", expected=positions.device, found=tensor.device
            )
    if max(table.numel(), len(positions) * spec.output_size) > LARGEST:
        raise InputError(
            "too much for one call",
            expected=f"at most {LARGEST} numbers in the table and in the output",
            found=f"{table.numel()} and {len(positions) * spec.output_size}",
            fix="encode the points in parts",
        )
    if level_weights is not None and (
        level_weights.shape != (spec.levels,) or not level_weights.dtype.is_floating_point
    ):
        raise InputError(
            "level_weights do not fit the grid",
            expected=f"floating point [{spec.levels}]",
            found=f"{level_weights.dtype} {tuple(level_weights.shape)}",
        )
    count = table.shape[0] if table.dim() == 3 else 1
    if table_index is None and count != 1:
        raise InputError("several tables need a table_index", expected=f"[{len(positions)}] integers", found=None)
    if table_index is not None and (
        table_index.shape != positions.shape[:1] or table_index.dtype not in INTEGERS or count == 0 < len(positions)
    ):
        raise InputError(
            "table_index does not fit the positions",
            expected=f"int32 or int64 [{len(positions)}], and a table to point to",
            found=f"{table_index.dtype} {tuple(table_index.shape)}, {count} tables",
        )
    if positions.device.type != "cpu" or len(positions) == 0:
        return
    check_finite(positions=positions)
    if level_weights is not None and level_weights.device.type == "cpu":
        check_finite(level_weights=level_weights)
    if table_index is not None:
        check_range("table_index", table_index, count)
