"""The implementations of the expensive operations: the settings' section `backends`, resolved for a device.

`auto` takes the fastest implementation whose avatars open on any machine. Optional packages are not imported here: it
is only looked up whether they are installed, and the module that uses one imports it on first use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from avatar.base.errors import ConfigError, MissingDependencyError
from avatar.base.optional import install_line, is_installed
from avatar.config import BackendConfig


class Choice(NamedTuple):
    """The chosen implementation and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Implementation:
    """One implementation of an operation."""

    about: str
    """What distinguishes it, one line for users."""
    package: str | None = None
    """The optional package it needs."""
    needs_cuda: bool = False


AUTO = "warp"
IMPLEMENTATIONS: dict[str, dict[str, Implementation]] = {
    "encoding": {
        "warp": Implementation("one table layout on every machine, native code on a CPU"),
        "tcnn": Implementation(
            "tinycudann's grid and fused networks for the canonical grid; the blended grids stay with Warp, and the "
            "avatar opens only where tinycudann and a CUDA GPU are",
            "tinycudann",
            needs_cuda=True,
        ),
        "torch": Implementation("the reference in plain PyTorch, for comparison: an order of magnitude slower"),
    },
    "marching": {
        "warp": Implementation("one kernel follows the head's motion through the occupied cells"),
        "nerfacc": Implementation(
            "nerfacc composes the samples; its traversal cannot bend rays, so it marches only where the FLAME warp is "
            "off, and Warp marches where it is on",
            "nerfacc",
            needs_cuda=True,
        ),
        "torch": Implementation("the reference in plain PyTorch, for comparison: every step of every ray"),
    },
    "rasterising": {
        "warp": Implementation("mesh rays through a bounding volume hierarchy, the same pixels as pytorch3d"),
        "pytorch3d": Implementation("pytorch3d's naive rasteriser, hundreds of times slower on a CPU", "pytorch3d"),
    },
}
"""The operations as `BackendConfig` names them, and their implementations by name."""


@dataclass(frozen=True)
class Backends:
    """The implementations of one run on one device."""

    encoding: Choice
    marching: Choice
    rasterising: Choice


def resolve(part: str, setting: str, device: torch.device) -> Choice:
    """The implementation that `setting` means for the operation `part` on `device`, and why.

    part: "encoding", "marching" (which includes compositing) or "rasterising". setting: "auto" or a name.
    Raises ConfigError for an unknown part or name and for a name that needs CUDA on another device, and
    MissingDependencyError, with the line that installs it, where the package of a name is missing.
    """
    if part not in IMPLEMENTATIONS:
        raise ConfigError("unknown part of the work", expected=", ".join(IMPLEMENTATIONS), found=part)
    known = IMPLEMENTATIONS[part]
    if setting == "auto":
        return Choice(AUTO, known[AUTO].about)
    if setting not in known:
        raise ConfigError(f"unknown backend of backends.{part}", expected=", ".join(["auto", *known]), found=setting)
    wanted = known[setting]
    if wanted.package is not None and not is_installed(wanted.package):
        raise MissingDependencyError(
            f"backends.{part} {setting} needs the package {wanted.package}"
            + (" and a CUDA GPU" if wanted.needs_cuda else ""),
            found="it is not installed",
            fix=f"{install_line(wanted.package)}   (or set backends.{part} to {AUTO})",
        )
    if wanted.needs_cuda and torch.device(device).type != "cuda":
        raise ConfigError(
            f"backends.{part} {setting} needs a CUDA GPU",
            expected="a CUDA device",
            found=str(device),
            fix=f"set backends.{part} to auto or {AUTO}"
            + ("; an avatar trained with tcnn opens on CUDA only" if setting == "tcnn" else ""),
        )
    return Choice(setting, f"asked for; {wanted.about}")


def resolve_all(settings: BackendConfig, device: torch.device) -> Backends:
    """All operations of the section `backends` on a device; raises as `resolve`."""
    return Backends(**{part: resolve(part, getattr(settings, part), device) for part in IMPLEMENTATIONS})


def survey(device: torch.device) -> list[str]:
    """Lines for `avatar doctor`: the choice of `auto` for each operation on a device, and the state of the others."""
    lines = []
    for part, known in IMPLEMENTATIONS.items():
        chosen = resolve(part, "auto", device)
        lines.append(f"  {part:<22} {chosen.name}: {chosen.reason}")
        for name, implementation in known.items():
            if name != chosen.name:
                lines.append(f"    {name:<20} {_state(implementation, device)}")
    return lines


def _state(implementation: Implementation, device: torch.device) -> str:
    """Whether an implementation could be chosen on a device, and what is missing for it."""
    package = implementation.package
    missing = []
    if implementation.needs_cuda and device.type != "cuda":
        missing.append("needs a CUDA GPU")
    if package is not None and not is_installed(package):
        missing.append(f"not installed; optional: {install_line(package)}")
    return ", ".join(missing) if missing else f"can be chosen: {implementation.about}"
