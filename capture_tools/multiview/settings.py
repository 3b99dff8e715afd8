"""Options of a reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from avatar.base.conventions import OPEN_HEAD


@dataclass(frozen=True)
class ReconstructSettings:
    """How photographs become a head."""

    head_model: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = OPEN_HEAD
    """Head model: a name that `avatar model list` shows, or a FLAME file."""
    refine: bool = True
    """Fit the head to the pictures after the landmarks; without it a head takes a second or two."""
