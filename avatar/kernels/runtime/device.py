"""The choice of the device."""

from __future__ import annotations

import torch

from avatar.base.errors import RunError


def pick_device(name: str) -> torch.device:
    """`auto` is the CUDA GPU where there is one, else the CPU. Raises RunError for CUDA without a GPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RunError("there is no CUDA GPU", expected="a CUDA device", found=name, fix="leave out --device")
    return device
