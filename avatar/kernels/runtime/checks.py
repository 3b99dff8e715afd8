"""Checks of the arguments of the kernels' public functions, before a kernel is launched.

Shape, type and device are always checked. Values are checked on a CPU only: on CUDA a check would synchronise the host
with the device, so each function documents what invalid values do there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avatar.base.errors import InputError

FLOAT32 = (torch.float32,)
FLOATS = (torch.float32, torch.float64)
INTEGERS = (torch.int32, torch.int64)
LARGEST = 2**31 - 1
"""Most elements of an array: kernels index with 32 bits."""


def check_tensor(
    name: str,
    tensor: Tensor,
    shape: tuple[int | str, ...],
    dtypes: tuple[torch.dtype, ...],
    device: torch.device,
) -> None:
    """Raise InputError for a tensor of another shape, type or device; a string in `shape` stands for any size."""
    fits = tensor.dim() == len(shape) and all(
        isinstance(size, str) or size == found for size, found in zip(shape, tensor.shape, strict=True)
    )
    if not fits or tensor.dtype not in dtypes:
        kinds = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise InputError(
            f"{name} cannot be used",
            expected=f"{kinds} [{', '.join(map(str, shape))}]",
            found=f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}",
        )
    if tensor.device != device:
        raise InputError(f"{name} are on another device than the rest", expected=device, found=tensor.device)


def check_finite(**tensors: Tensor) -> None:
    """Raise InputError for tensors on a CPU that contain NaN or infinity, naming the first such row."""
    for name, tensor in tensors.items():
        # NaN and infinity propagate through a sum; a sum that is not finite may only have overflowed
        if math.isfinite(float(tensor.detach().sum())):
            continue
        bad = ~torch.isfinite(tensor.detach())
        if bool(bad.any()):
            rows = bad.reshape(len(bad), -1).any(-1).nonzero()
            raise InputError(
                f"{len(rows)} of {len(tensor)} {name.replace('_', ' ')} are not finite", found=f"first {int(rows[0])}"
            )


def check_range(name: str, values: Tensor, count: int) -> None:
    """Raise InputError for integers on a CPU outside 0 to count - 1."""
    if values.numel() == 0:
        return
    low, high = (int(value) for value in torch.aminmax(values))
    if low < 0 or high >= count:
        raise InputError(f"{name} is out of range", expected=f"0 to {count - 1}", found=f"{low} to {high}")
