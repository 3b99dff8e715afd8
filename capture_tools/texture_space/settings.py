"""Options of building a texture space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from avatar.base.conventions import OPEN_HEAD
from avatar.base.errors import InputError
from avatar.base.limits import SEED, Limits

COMPONENTS = Limits(1, 500, "components", "fewer than there are captures")
TEXTURE_SIZE = Limits(64, 1024, "texels", "256 suits captures of 256 to 512 pixels", even=True)
STEPS = Limits(0, 20_000, "steps", "1000 are enough; 0 leaves the network out")
SAMPLES = Limits(1, 100, "people", "9 make a sheet of three rows")


@dataclass(frozen=True)
class TextureSettings:
    """How a texture space is built."""

    head_model: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = OPEN_HEAD
    """Head model that the captures were made with: a name from `avatar model list`, or a file."""
    components: Annotated[int, tyro.conf.arg(metavar="N")] = 40
    """Principal components to keep; fewer than there are captures."""
    size: Annotated[int, tyro.conf.arg(metavar="TEXELS")] = 256
    """Texels across the texture map of the space."""
    steps: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """Steps for which the network that completes unseen skin is trained. 0 leaves it out: unseen skin is then the other
    side's, or filled in smoothly."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the network and of the strokes that it learns from."""

    def check(self) -> TextureSettings:
        """Itself, if the options are possible; raises InputError otherwise."""
        COMPONENTS.require("--components", self.components, error=InputError)
        TEXTURE_SIZE.require("--size", self.size, error=InputError)
        STEPS.require("--steps", self.steps, error=InputError)
        SEED.require("--seed", self.seed, error=InputError)
        return self
