"""Loading of nerfacc (Li et al., NerfAcc, ICCV 2023; version 0.5.3), an optional backend on CUDA.

nerfacc compiles its kernels on first use, with the CUDA toolkit.
"""

from __future__ import annotations

from typing import Any

import torch

from avatar.base.errors import MissingDependencyError
from avatar.base.optional import require
from avatar.kernels.runtime.backends import resolve


def load_nerfacc(device: torch.device) -> Any:
    """The package with its kernels compiled.

    Raises MissingDependencyError where nerfacc is missing or cannot be compiled, ConfigError for a device without CUDA.
    """
    resolve("marching", "nerfacc", device)
    nerfacc = require("nerfacc", "the backend nerfacc")
    try:
        # this import compiles the kernels where that has not been done; without the toolkit they are None
        from nerfacc.cuda._backend import _C as kernels  # pyright: ignore[reportMissingImports]

        found = "no CUDA toolkit"
    except Exception as error:  # whatever the compiler says
        kernels, found = None, error
    if kernels is None:
        raise MissingDependencyError(
            "nerfacc is installed, but its CUDA kernels cannot be compiled",
            found=found,
            fix="install the CUDA toolkit (nvcc) and ninja, or set backends.marching to warp",
        )
    return nerfacc
