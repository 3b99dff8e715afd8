"""Settings given on the command line: `--training.steps 500` for every field of the configuration's dataclasses."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from functools import cache
from itertools import pairwise
from typing import Annotated, Any

import tyro

from avatar.config import Config, merge, validate

SKIPPED = ("preset",)
WHERE = "the command line"


@cache
def overrides_class() -> type:
    """A dataclass with one optional field for each setting, named `training.steps` on the command line."""
    fields = []
    for name, hint, help_text in settings_of(Config):
        metavar = hint.__name__.upper() if hint in (int, float) else None
        about = tyro.conf.arg(name=name, help=help_text, metavar=metavar, help_behavior_hint="(default: the preset's)")
        fields.append((name.replace(".", "__"), Annotated[hint | None, about], None))
    return dataclasses.make_dataclass("Settings", fields)


def settings_of(section: type, prefix: str = "") -> list[tuple[str, Any, str]]:
    """Name, type and docstring of every setting of a section and those within it."""
    found = []
    docs = field_docs(section)
    for name, hint in typing.get_type_hints(section).items():
        if dataclasses.is_dataclass(hint):
            found += settings_of(typing.cast(type, hint), f"{prefix}{name}.")
        elif name not in SKIPPED:
            found.append((prefix + name, hint, docs.get(name, "")))
    return found


def field_docs(section: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, on one line."""
    body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]).body
    docs = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            docs[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return docs


def with_overrides(config: Config, given: Any) -> Config:
    """`config` with the settings given on the command line; ConfigError for a value that cannot work."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(given):
        value = getattr(given, field.name)
        if value is not None:
            *sections, name = field.name.split("__")
            place = values
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = value
    return validate(merge(config, values, where=WHERE), where=WHERE) if values else config
