"""Options of a registration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar.base.conventions import OPEN_HEAD
from avatar.base.errors import InputError
from avatar.base.limits import PUPIL_DISTANCE

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254}
"""Metres of the units that a scan may be given in."""
USUAL_PUPIL_DISTANCE = 63.0
"""Millimetres between an adult's pupils in the mean (Dodgson, Stereoscopic Displays and VR Systems XI, 2004)."""


@dataclass(frozen=True)
class RegisterSettings:
    """How scans are registered."""

    head_model: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = OPEN_HEAD
    """Head model: a name from `avatar model list`, or a FLAME file."""
    unit: Literal["auto", "m", "cm", "mm", "in"] = "auto"
    """Unit of the scan. auto guesses the scale by the distance between the pupils."""
    pupil_distance: Annotated[float | None, tyro.conf.arg(metavar="MM")] = None
    """Millimetres between the person's pupils, which set the scale of a scan of unknown unit. 63, an adult's mean, by
    default."""
    landmarks: Annotated[Path | None, tyro.conf.arg(metavar="FILE|DIR")] = None
    """51 or 68 points of one scan in FLAME's (iBUG's) order and in the scan's own frame: .npy, .json or .txt. For
    several scans a folder with a file of the scan's name for each. Without it the face is searched from all sides."""

    sequence: bool = False
    """The scans show one person, in order of time: the person's shape is taken from the neutral scans and held, every
    scan starts from the last one, and colours are aligned with those of the neutral scan."""
    neutral: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="SCAN...")] = ()
    """With --sequence: the scans of a neutral face, the one that gives the colours first. Those with the least
    expression by default."""

    def check(self) -> RegisterSettings:
        """Itself, if the options go together; raises InputError otherwise."""
        PUPIL_DISTANCE.require("--pupil-distance", self.pupil_distance, error=InputError)
        if self.unit != "auto" and self.pupil_distance is not None:
            raise InputError(
                "the scale was given twice",
                expected="--unit or --pupil-distance",
                found=f"--unit {self.unit} and --pupil-distance {self.pupil_distance:g}",
                fix="leave one of them out",
            )
        if self.neutral and not self.sequence:
            raise InputError("--neutral belongs to a sequence", expected="--sequence", fix="add --sequence")
        return self
