"""Commands of texture spaces: texture build and texture sample."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from avatar.app.outcome import Outcome, shown
from capture_tools.texture_space.settings import TextureSettings


@dataclass
class TextureBuild:
    """Learn what skin looks like from the albedo that captures show.

    What a capture does not show of a person is completed by a small network that learns from strokes hidden from what
    was seen; principal components follow. SPACE.npz is a texture space for --texture-space; SPACE.report.json and
    SPACE.people.png say what it was made of.
    """

    captures: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CAPTURES...")]
    """Folders made by `avatar capture`, of videos or of photographs, with one head model, each of another person;
    several dozen make a useful space."""
    out: Annotated[Path, tyro.conf.arg(metavar="SPACE.npz")]
    """File for the texture space."""
    settings: TextureSettings = dataclasses.field(default_factory=TextureSettings)
    overwrite: bool = False
    """Replace the output file if it exists."""

    def run(self) -> Outcome:
        from capture_tools.texture_space.files import build_files

        made = build_files(self.captures, self.out, self.settings, overwrite=self.overwrite)
        content = made.content
        lines = [
            f"{len(content['captures'])} captures, {content['components']} components explain "
            f"{100 * content['explained_by_components']:.1f} % of what tells them apart",
            *(f"warning: {note}" for note in content["warnings"]),
        ]
        files = [
            (made.space, f"texture space of {content['head']['name']}"),
            (made.report, "captures, explained variance"),
            (made.people, "what was seen of people, and how it was completed"),
        ]
        return Outcome(files, f"avatar capture VIDEO --out CAPTURE --texture-space {shown(made.space)}", lines)


@dataclass
class TextureSample:
    """Draw people who do not exist from a texture space: their albedo, and a sheet of heads."""

    space: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SPACE.npz")]
    """Texture space, made by `avatar texture build`."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR|PNG")]
    """Folder for the albedo pictures and sheet.png; a file .png is the sheet alone."""
    count: Annotated[int, tyro.conf.arg(metavar="N")] = 9
    """How many people to draw."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """The same seed draws the same people."""
    head_model: Annotated[str | None, tyro.conf.arg(metavar="NAME|FILE")] = None
    """Head model to show them on. The one that the space was built with by default."""
    overwrite: bool = False
    """Replace the output file if it exists."""

    def run(self) -> Outcome:
        from capture_tools.texture_space.files import sample_files

        files = sample_files(
            *(self.space, self.out),
            count=self.count,
            seed=self.seed,
            head_model=self.head_model,
            overwrite=self.overwrite,
        )
        return Outcome(files, f"look at {shown(files[-1][0])}")


TextureAction = (
    Annotated[TextureBuild, tyro.conf.subcommand("build", prefix_name=False)]
    | Annotated[TextureSample, tyro.conf.subcommand("sample", prefix_name=False)]
)


@dataclass
class Texture:
    """Texture spaces: learn one from captures, draw people from it."""

    action: Annotated[TextureAction, tyro.conf.arg(name="")]

    def run(self) -> Outcome:
        return self.action.run()
