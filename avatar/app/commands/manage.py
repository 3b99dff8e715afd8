"""Commands round the avatar: model import, model list, doctor and demo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from avatar.app.outcome import Outcome, shown


@dataclass
class ModelImport:
    """Take over a FLAME file (.pkl or .npz of 2017 to 2023 Open, or the .zip it comes in). Nothing in it is run."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """FLAME model file."""
    name: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Name to keep it under. The file's own by default."""

    def run(self) -> Outcome:
        from capture_tools.embed.embedding import import_head

        asset, file = import_head(self.file, self.name)
        return Outcome(
            files=[(file, f"{asset.name}, {asset.vertex_count} vertices, fingerprint {asset.fingerprint[:12]}")],
            next_step=f"avatar create VIDEO --out RUN --head-model {asset.name}",
        )


@dataclass
class ModelList:
    """List the head models that can be used."""

    def run(self) -> Outcome:
        from avatar.flame.library import list_heads

        lines = [f"{name:<24} {shown(path)}" for name, path in list_heads().items()]
        return Outcome(lines=lines, next_step="avatar create VIDEO --out RUN --head-model NAME")


ModelAction = (
    Annotated[ModelImport, tyro.conf.subcommand("import", prefix_name=False)]
    | Annotated[ModelList, tyro.conf.subcommand("list", prefix_name=False)]
)


@dataclass
class Model:
    """Head models: import a FLAME file, list what there is."""

    action: Annotated[ModelAction, tyro.conf.arg(name="")]

    def run(self) -> Outcome:
        return self.action.run()


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
