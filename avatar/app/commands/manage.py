"""Commands round the avatar: doctor and demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from avatar.app.outcome import Outcome


@dataclass
class Doctor:
    """Say what this machine offers and whether everything needed works."""

    def run(self) -> Outcome:
        from avatar.app.doctor import examine

        return examine()


@dataclass
class Demo:
    """Run the whole path on a synthetic clip and write a page of results.

    Makes a clip and a driver of two invented people, an avatar of the first, lets the second drive it, renders it from
    around, and writes DIR/index.html. A demo that was stopped goes on where it was when started again.
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for everything."""
    size: Annotated[int, tyro.conf.arg(metavar="PX")] = 224
    """Side of the pictures in pixels."""
    frames: Annotated[int, tyro.conf.arg(metavar="N")] = 180
    """Frames of the clip."""
    driver_frames: Annotated[int, tyro.conf.arg(metavar="N")] = 100
    """Frames of the driver's clip and of the rendered orbit."""
    minutes: Annotated[float, tyro.conf.arg(metavar="M")] = 5.0
    """Longest time to train, in minutes."""
    preset: Annotated[str, tyro.conf.arg(metavar="PRESET")] = "auto"
    """Settings of the field and the training: auto, cpu, fast or paper."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Which invented person; the driver is the next one."""

    def run(self) -> Outcome:
        from avatar.app.demo import demo

        return demo(
            self.out,
            size=self.size,
            frames=self.frames,
            driver_frames=self.driver_frames,
            minutes=self.minutes,
            preset=self.preset,
            seed=self.seed,
        )
