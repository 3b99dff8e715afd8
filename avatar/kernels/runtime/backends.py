"""Which implementation does the heavy work: the section `backends` of the settings, resolved for a device.

`auto` takes the fastest implementation whose results any machine can go on with. Nothing is imported here: whether a
package is installed is looked up, and the module that uses it imports it when it is first needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from avatar.base.errors import ConfigError, MissingDependencyError
from avatar.base.optional import install_line, is_installed
from avatar.config import BackendConfig


class Choice(NamedTuple):
    """An implementation and why it is the one."""

    name: str
    reason: str


@dataclass(frozen=True)
class Implementation:
    """One way of doing a part of the work."""

    about: str
    """What is special about it, one line for a person."""
    package: str | None = None
    """The optional package it needs."""
    needs_cuda: bool = False


AUTO = "warp"
IMPLEMENTATIONS: dict[str, dict[str, Implementation]] = {
    "encoding": {
        "warp": Implementation("one table layout on every machine, native code on a CPU"),
        "tcnn": Implementation(
            "tinycudann's grid and fused networks for the canonical grid; the mixed tables stay with Warp, and the "
            "avatar opens only where tinycudann and a CUDA GPU are",
            "tinycudann",
            needs_cuda=True,
        ),
        "torch": Implementation("the kernel's twin in plain PyTorch, for comparison: an order of magnitude slower"),
    },
    "marching": {
        "warp": Implementation("one kernel follows the head's motion through the occupied cells"),
        "nerfacc": Implementation(
            "nerfacc composes the samples; its traversal cannot bend rays, so it marches only where the FLAME warp is "
            "off, and Warp marches where it is on",
            "nerfacc",
            needs_cuda=True,
        ),
        "torch": Implementation("the kernel's twin in plain PyTorch, for comparison: every step of every ray"),
    },
    "rasterising": {
        "warp": Implementation("mesh rays through a bounding volume hierarchy, the same pixels as pytorch3d"),
        "pytorch3d": Implementation("pytorch3d's naive rasteriser, hundreds of times slower on a CPU", "pytorch3d"),
    },
}
"""The parts of the work as `BackendConfig` names them, and who can do them."""


@dataclass(frozen=True)
class Backends:
    """The implementations of one run on one device."""

    encoding: Choice
    marching: Choice
    rasterising: Choice


def resolve(part: str, setting: str, device: torch.device) -> Choice:
    """The implementation that `setting` means for `part` of the work on `device`, and why.

    part: "encoding", "marching" (which also composes the samples) or "rasterising". setting: "auto" or a name.
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
    """All parts of the section `backends` on a device; raises as `resolve` does."""
    return Backends(**{part: resolve(part, getattr(settings, part), device) for part in IMPLEMENTATIONS})


def survey(device: torch.device) -> list[str]:
    """Lines for `avatar doctor`: what `auto` takes for each part on a device and why, and the state of the others."""
    lines = []
    for part, known in IMPLEMENTATIONS.items():
        chosen = resolve(part, "auto", device)
        lines.append(f"  {part:<22} {chosen.name}: {chosen.reason}")
        for name, implementation in known.items():
            if name != chosen.name:
                lines.append(f"    {name:<20} {_state(implementation, device)}")
    return lines


def _state(implementation: Implementation, device: torch.device) -> str:
    """Whether a choice that `auto` does not take could be made, and what is missing for it."""
    package = implementation.package
    missing = []
    if implementation.needs_cuda and device.type != "cuda":
        missing.append("needs a CUDA GPU")
    if package is not None and not is_installed(package):
        missing.append(f"not installed; optional: {install_line(package)}")
    return ", ".join(missing) if missing else f"can be chosen: {implementation.about}"
