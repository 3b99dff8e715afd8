"""Options of learning a head model from clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from avatar.base.conventions import OPEN_HEAD
from avatar.base.errors import InputError
from avatar.base.limits import Limits

DIRECTIONS = Limits(1, 500, "directions", "fewer than there are captures")
FRAMES = Limits(1, 200, "frames", "10 to 20, seen from different sides, tell most of what a clip can")
ROUNDS = Limits(1, 10, "rounds", "one or two are enough")
SPAN = Limits(0.5, 1.0, "share", "0.9 leaves out mixtures of expressions that no face makes")


@dataclass(frozen=True)
class ClipLearnSettings:
    """How a head model is learned from clips."""

    head_model: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = OPEN_HEAD
    """Head model to start from, the one that the captures were made with: a name from `avatar model list`, or a
    file."""
    directions: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    """Identity directions to learn; fewer than there are captures."""
    albedo_directions: Annotated[int, tyro.conf.arg(metavar="N")] = 6
    """Albedo directions to learn; fewer than there are captures."""
    frames: Annotated[int, tyro.conf.arg(metavar="N")] = 10
    """Frames of every clip that are used, spread over the turn of the head."""
    rounds: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """How often clips are fitted and directions learned from the fits. The more, the less a person may differ from what
    the directions say."""
    expression_span: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.9
    """Identity directions are orthogonal to the span of the principal expressions with this share of all expressions'
    variance; 1 for all of them."""

    keep_start: bool = True
    """Keep the starting head's identity directions behind the learned ones, without what those say already. They are
    not orthogonal to the expressions, as they never were."""

    def check(self) -> ClipLearnSettings:
        """Itself, if the options are possible; raises InputError otherwise."""
        DIRECTIONS.require("--directions", self.directions, error=InputError)
        DIRECTIONS.require("--albedo-directions", self.albedo_directions, error=InputError)
        FRAMES.require("--frames", self.frames, error=InputError)
        ROUNDS.require("--rounds", self.rounds, error=InputError)
        SPAN.require("--expression-span", self.expression_span, error=InputError)
        return self
