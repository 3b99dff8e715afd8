"""Commands of head models: model import, model list, model train and model learn."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from avatar.app.outcome import Outcome, shown
from capture_tools.model_learning.from_clips.settings import ClipLearnSettings
from capture_tools.model_learning.settings import LearnSettings

if TYPE_CHECKING:
    from capture_tools.model_learning.folder import ModelFiles


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


@dataclass
class ModelTrain:
    """Learn a head model from registered scans, as FLAME was learned.

    Skinning weights, pose correctives and joints from people who move, expressions from what their faces do, shapes
    from who they are. MODEL.npz is a head for --head-model; MODEL.report.json and MODEL.curves.png say how good it is.
    """

    registrations: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="REGISTRATIONS...")]
    """Folders made by `avatar register`, or folders that hold some, named SUBJECT/FRAME or SUBJECT_FRAME."""
    out: Annotated[Path, tyro.conf.arg(metavar="MODEL.npz")]
    """File for the head model."""
    settings: LearnSettings = dataclasses.field(default_factory=LearnSettings)
    overwrite: bool = False
    """Replace the output file if it exists."""

    def run(self) -> Outcome:
        from avatar.base.errors import InputError
        from capture_tools.model_learning.folder import train_files

        if not self.registrations:
            raise InputError(
                "there is nothing to learn from",
                expected="one folder of registrations or more",
                found="none",
                fix="avatar model train REGISTRATIONS --out MODEL.npz",
            )
        made = train_files(self.registrations, self.out, self.settings, overwrite=self.overwrite)
        content = made.content
        directions, distance = content["directions"], content["distance_mm"]
        lines = [
            f"{content['registrations']} registrations of {len(content['subjects'])} people, "
            f"rebuilt to {distance['mean']:.3f} mm in the mean, 95 % within {distance['p95']:.3f}",
            f"{directions['shape']} shape and {directions['expression']} expression directions",
        ]
        return _learned(made, lines, "distances, people, measures of the spaces", "create VIDEO --out RUN")


@dataclass
class ModelLearn:
    """Learn who people are from clips alone: identity and albedo directions, after FML.

    One identity and albedo for each capture; expression, pose and light for each frame. Every command takes MODEL.npz
    as its head; MODEL.report.json and MODEL.curves.png say how good it is.
    """

    captures: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CAPTURES...")]
    """Folders made by `avatar capture` with one head model, each of another person; several dozen make a useful
    model."""
    out: Annotated[Path, tyro.conf.arg(metavar="MODEL.npz")]
    """File for the head model."""
    settings: ClipLearnSettings = dataclasses.field(default_factory=ClipLearnSettings)
    overwrite: bool = False
    """Replace the output file if it exists."""

    def run(self) -> Outcome:
        from capture_tools.model_learning.from_clips.files import learn_files

        made = learn_files(self.captures, self.out, self.settings, overwrite=self.overwrite)
        content = made.content
        directions, explained = content["directions"], content["explained_variance"]
        lines = [
            f"{len(content['captures'])} captures, landmarks within "
            f"{content['landmark_error_iod_by_round'][-1]:.4f} of the eye distance in the mean",
            *(f"{directions[name]} {name} directions explain {100 * explained[name]:.1f} %" for name in directions),
        ]
        return _learned(made, lines, "captures, measures of the spaces", "capture VIDEO --out CAPTURE")


def _learned(made: ModelFiles, lines: list[str], reported: str, used_by: str) -> Outcome:
    """The end of a command that wrote a head model. lines: its results. used_by: a command that takes the model."""
    files = [
        (made.model, f"{made.asset.name}, fingerprint {made.asset.fingerprint[:12]}"),
        (made.report, reported),
        (made.curves, "explained variance, generalisation, specificity"),
    ]
    warnings = [f"warning: {note}" for note in made.content["warnings"]]
    return Outcome(files, f"avatar {used_by} --head-model {shown(made.model)}", [*lines, *warnings])


ModelAction = (
    Annotated[ModelImport, tyro.conf.subcommand("import", prefix_name=False)]
    | Annotated[ModelList, tyro.conf.subcommand("list", prefix_name=False)]
    | Annotated[ModelTrain, tyro.conf.subcommand("train", prefix_name=False)]
    | Annotated[ModelLearn, tyro.conf.subcommand("learn", prefix_name=False)]
)


@dataclass
class Model:
    """Head models: import a FLAME file, list what there is, learn one from registered scans or from clips."""

    action: Annotated[ModelAction, tyro.conf.arg(name="")]

    def run(self) -> Outcome:
        return self.action.run()
