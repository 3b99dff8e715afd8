"""Settings from presets, YAML files and nested values, checked; and back to YAML.

Reading never guesses: an unknown key or a value of the wrong type is a ConfigError that names the key.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import typing
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from avatar.base.errors import ConfigError
from avatar.base.files import write_text
from avatar.base.limits import Limits
from avatar.config.sections import Config, Problem

REMOVED = {
    "field.condition_networks": False,
    "training.condition_dropout": 0.0,
    "training.dssim_start": None,
    "training.loss.dssim": 0.0,
}
"""Settings of earlier versions, and the value with which each did nothing (None: any)."""


def presets_folder() -> Path:
    """The folder of the presets: `configs/` in a checkout, its copy in an installed package."""
    return Path(str(resources.files("avatar.config"))) / "presets"


def list_presets(folder: Path | None = None) -> list[str]:
    """Names `load_preset` knows: the YAML files of `configs/`, ablations as `ablations/NAME`."""
    folder = folder or presets_folder()
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def load_preset(name: str, folder: Path | None = None) -> Config:
    """The settings of a preset.

    A preset file may name another one as its `base`. Raises ConfigError for an unknown name, listing the known ones.
    """
    folder = folder or presets_folder()
    if name not in list_presets(folder):
        raise ConfigError("unknown preset", expected=", ".join(list_presets(folder)), found=name)
    values = _read_yaml(folder / f"{name}.yaml")
    base = values.pop("base", None)
    config = load_preset(base, folder) if base is not None else Config()
    config = merge(config, values, where=str(folder / f"{name}.yaml"))
    config.preset = name
    return validate(config, where=str(folder / f"{name}.yaml"))


def read_config(path: Path) -> Config:
    """Read a file of settings, such as a run's `config.yaml`. Raises ConfigError.

    What it leaves out keeps its default, or the value of the preset that it names as its `base`.
    """
    values = _read_yaml(Path(path))
    base = values.pop("base", None)
    config = Config() if base is None else load_preset(str(base))
    return validate(merge(config, values, where=str(path)), where=str(path))


def write_config(path: Path, config: Config) -> Path:
    """Write every value of `config` as YAML, atomically."""
    import yaml

    return write_text(path, yaml.safe_dump(dataclasses.asdict(config), sort_keys=False))


def validate(config: Config, where: str | None = None) -> Config:
    """Return `config`, or raise ConfigError for a value beyond its limits or that cannot work beside the others."""
    for name, limits, value in numbers(config):
        limits.require(name, value, where=where, fix="leave the setting out to take its default")
    for problem in problems(config):
        name, expected, found = problem
        raise ConfigError(f"{name} cannot be this", where=where, expected=expected, found=found)
    return config


def numbers(config: Any, prefix: str = "") -> list[tuple[str, Limits, Any]]:
    """Name, limits and value of every number of a section and those within it."""
    found: list[tuple[str, Limits, Any]] = []
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            found += numbers(value, f"{prefix}{name}.")
        found += [
            (prefix + name, part, value) for part in getattr(hint, "__metadata__", ()) if isinstance(part, Limits)
        ]
    return found


def problems(config: Any, prefix: str = "") -> list[Problem]:
    """What a section and those within it say cannot work, with full names."""
    found = [problem._replace(name=prefix + problem.name) for problem in getattr(config, "problems", list)()]
    for part in dataclasses.fields(config):
        value = getattr(config, part.name)
        if dataclasses.is_dataclass(value):
            found += problems(value, f"{prefix}{part.name}.")
    return found


def without_removed(values: dict[str, Any], *, where: str, prefix: str) -> dict[str, Any]:
    """`values` without settings of earlier versions that did nothing; ConfigError for one that did something."""
    kept = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name not in REMOVED:
            kept[key] = value
        elif REMOVED[name] is not None and value != REMOVED[name]:
            fix = "leave it out; a run that was trained with it needs an earlier version of this program"
            raise ConfigError(f"{name} is no longer a setting", where=where, found=value, fix=fix)
    return kept


def merge(config: Any, values: dict[str, Any], *, where: str, prefix: str = "") -> Any:
    """A copy of a config dataclass with `values` (nested dicts) put in; types are checked. Raises ConfigError."""
    if not isinstance(values, dict):
        raise ConfigError(
            "a section of the settings is not a mapping", where=where, found=f"{prefix or 'file'}: {values!r}"
        )
    hints = typing.get_type_hints(type(config))
    values = without_removed(values, where=where, prefix=prefix)
    unknown = sorted(set(map(str, values)) - set(hints))
    if unknown:
        raise ConfigError(
            f"unknown setting{'s' if len(unknown) > 1 else ''} {', '.join(prefix + key for key in unknown)}",
            where=where,
            expected=", ".join(prefix + key for key in hints),
        )
    merged = {}
    for key, hint in hints.items():
        value = getattr(config, key)
        if key in values:
            value = _checked(value, values[key], hint, where, prefix + key)
        elif dataclasses.is_dataclass(value):
            value = merge(value, {}, where=where)
        merged[key] = value
    return type(config)(**merged)


def _checked(current: Any, value: Any, hint: Any, where: str, key: str) -> Any:
    """`value` as the type `hint` says, or ConfigError."""
    if dataclasses.is_dataclass(hint):
        return merge(current, value or {}, where=where, prefix=f"{key}.")
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise ConfigError(
                f"{key} cannot be this", where=where, expected=", ".join(typing.get_args(hint)), found=value
            )
        return value
    if hint is float:
        if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
            try:
                return float(value)
            except ValueError:
                pass
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value) if abs(value) < sys.float_info.max else math.inf
    elif type(value) is hint:
        return value
    raise ConfigError(f"{key} has the wrong type", where=where, expected=hint.__name__, found=f"{value!r}")


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError as cause:
        raise ConfigError("the settings file is missing", where=path) from cause
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as cause:
        raise ConfigError("the settings file cannot be read", where=path, expected="YAML", found=cause) from cause
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError("the settings file is not a mapping", where=path, found=type(values).__name__)
    return values
