"""Options of training a head model from registrations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from avatar.base.conventions import OPEN_HEAD
from avatar.base.errors import InputError
from avatar.base.limits import Limits

COMPONENTS = Limits(1, 1000, "directions", "leave the option out to keep what the registrations hold")
ROUNDS = Limits(1, 10, "rounds", "one or two are enough")


@dataclass(frozen=True)
class LearnSettings:
    """How a head model is trained from registrations."""

    head_model: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = OPEN_HEAD
    """Head model to start from, the one that the scans were registered with: a name from `avatar model list`, or a
    file."""
    subjects: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Who is who, as JSON: {"anna": ["rest", "smile", ...], ...}, folders of each person with the neutral one first.
    By default folders are named SUBJECT/FRAME or SUBJECT_FRAME, and the neutral frame is called neutral."""
    shape_components: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Directions of the shape space. One less than there are people by default, which is also the most."""
    expression_components: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Directions of the expression space. As many as explain 99.9 % of the expressions' variance by default."""
    rounds: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """How often to train: before every further round the scans are registered again with the better model, which takes
    as long as `avatar register`. More than one needs --scans."""
    scans: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder with the scans that were registered, at any depth; they are known by their content."""

    def check(self) -> LearnSettings:
        """Itself, if the options are possible and go together; raises InputError otherwise."""
        COMPONENTS.require("--shape-components", self.shape_components, error=InputError)
        COMPONENTS.require("--expression-components", self.expression_components, error=InputError)
        ROUNDS.require("--rounds", self.rounds, error=InputError)
        if self.rounds > 1 and self.scans is None:
            raise InputError(
                "further rounds register the scans again",
                expected="--scans DIR, where they are",
                found=f"--rounds {self.rounds} alone",
                fix="add --scans DIR, or leave out --rounds",
            )
        if self.scans is not None and not self.scans.is_dir():
            raise InputError("the folder of scans does not exist", where=self.scans, fix="check the path")
        return self
