"""Packages that speed things up where they are installed, and are never needed."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from avatar.errors import MissingDependencyError

INSTALL_LINES = {
    "tinycudann": "pip install 'git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch'",
    "nerfacc": "pip install nerfacc",
    "pytorch3d": "pip install 'git+https://github.com/facebookresearch/pytorch3d.git'",
    "lpips": "pip install lpips",
}


def is_installed(name: str) -> bool:
    """Whether a package can be found, without importing it."""
    return importlib.util.find_spec(name) is not None


def require(name: str, purpose: str) -> ModuleType:
    """Import an optional package, or raise MissingDependencyError with the line that installs it."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # tinycudann raises its own kinds where there is no GPU
        raise MissingDependencyError(
            f"{purpose} needs the package {name}", found=error, fix=INSTALL_LINES.get(name, f"pip install {name}")
        ) from error
