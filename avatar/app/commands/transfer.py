"""The command that lets a photograph perform: transfer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from avatar.animation.options import DriverPart, Retarget
from avatar.app.commands.show import FLAT, written_files
from avatar.app.outcome import Outcome, shown
from avatar.base.conventions import OPEN_HEAD


@dataclass
class Transfer:
    """Let the person in a photograph perform what the person in a video does, without training.

    A head is fitted to the photograph; its pixels move with it, and the photograph's own background stays.
    """

    photograph: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")]
    """The photograph, JPEG or PNG, of a face that looks about at the camera."""
    driver: Annotated[Path, tyro.conf.arg(metavar="VIDEO|CAPTURE|RUN|PARAMS.npz|FACE.csv")]
    """The performance, as for avatar reanimate."""
    out: Annotated[Path, tyro.conf.arg(metavar="OUT.mp4")]
    """Video to write, with the driver's sound: .mp4, .webm or .mov."""
    settings: Annotated[Retarget, FLAT] = field(default_factory=lambda: Retarget(head_motion="still"))
    part: Annotated[DriverPart, FLAT] = field(default_factory=DriverPart)
    size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None
    """Longer side of the video in pixels. The photograph's by default, up to 1024."""
    head_model: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = OPEN_HEAD
    """Head model: a name that `avatar model list` shows, or a FLAME file."""
    texture_space: Annotated[Path | None, tyro.conf.arg(metavar="SPACE.npz")] = None
    """Texture space, made by `avatar texture build`, that completes the skin which the photograph hides."""
    overwrite: bool = False
    """Replace the output if it exists."""

    def run(self) -> Outcome:
        from avatar.app.photo_transfer import TransferPlan, transfer_photograph

        plan = TransferPlan(
            self.photograph,
            self.driver,
            self.out,
            self.settings,
            self.part,
            self.size,
            self.head_model,
            self.texture_space,
            self.overwrite,
        )
        written, notes = transfer_photograph(plan)
        return Outcome(
            written_files(written, "", still=False), f"watch {shown(written)}", [f"warning: {note}" for note in notes]
        )
