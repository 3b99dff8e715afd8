"""Commands that show an avatar: reanimate and render."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from avatar.animation.options import DrivenPresentation, DriverPart, Presentation, Rendering, Retarget
from avatar.app.outcome import Outcome, shown

FLAT = tyro.conf.arg(name="")
"""Of a field whose own fields are options like the others."""


@dataclass
class Reanimate:
    """Let an avatar perform what the person in another video does."""

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """Run folder, made by `avatar create` or `avatar train`."""
    driver: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="VIDEO|CAPTURE|RUN|PARAMS.npz|FACE.csv...")]
    """The performance: a video, a capture folder, a run folder (the clip it was made from), a CSV of Live Link Face, or
    an .npz with `expr [N, E]` and where wanted `jaw_pose`, `eyes_pose`, `neck_pose`, `rotation`, `translation` and
    `fps` (docs/design.md). Several play one after another, each from its own neutral face."""
    out: Annotated[Path, tyro.conf.arg(metavar="OUT.mp4|FOLDER|PATTERN.png")]
    """Video to write, with the driver's sound: .mp4, or .webm (VP9) and .mov (ProRes 4444), which can be
    transparent; or numbered pictures: a folder, or a pattern such as frames/me_%04d.png."""
    settings: Annotated[Retarget, FLAT] = field(default_factory=Retarget)
    neutral: Annotated[tuple[float, ...], tyro.conf.arg(metavar="SEC...")] = ()
    """Second of the driver at which its face is neutral; of several drivers, one for each. Found among its calmest
    frames by default."""
    part: Annotated[DriverPart, FLAT] = field(default_factory=DriverPart)
    presentation: Annotated[DrivenPresentation, FLAT] = field(default_factory=DrivenPresentation)

    def run(self) -> Outcome:
        from avatar.app.reanimation import perform, planned
        from avatar.data.checkpoint import load_avatar
        from avatar.data.folders import run_at

        plan = planned(self.driver, self.out, self.settings, self.neutral, self.part, self.presentation)
        written, warned = perform(load_avatar(run_at(self.run_folder)), plan)
        pairs = zip(plan.sources, self.driver, strict=True)
        notes = [f"driver: {shown(source)}" for source, given in pairs if source != given]
        files = written_files(written, self.presentation.layers, still=False)
        return Outcome(files, f"watch {shown(written)}", [*notes, *(f"warning: {note}" for note in warned)])


@dataclass
class Render:
    """Show an avatar with a chosen expression along a camera path."""

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """Run folder, made by `avatar create` or `avatar train`."""
    out: Annotated[Path, tyro.conf.arg(metavar="OUT.mp4|OUT.png|FOLDER|PATTERN.png")]
    """Video to write (.mp4, .webm, .mov), one picture (.png), or numbered pictures: a folder, or a pattern such as
    frames/me_%04d.png."""
    rendering: Annotated[Rendering, FLAT] = field(default_factory=Rendering)
    presentation: Annotated[Presentation, FLAT] = field(default_factory=Presentation)

    def run(self) -> Outcome:
        from avatar.animation.reanimate import render_path, require_renderable
        from avatar.data.checkpoint import load_avatar
        from avatar.data.folders import run_at

        plan = require_renderable(self.out, self.rendering, self.presentation)
        written = render_path(load_avatar(run_at(self.run_folder)), self.out, self.rendering, self.presentation)
        files = written_files(written, self.presentation.layers, still=True)
        return Outcome(files, f"look at {shown(written)}", [f"warning: {note}" for note in plan.notes])


def written_files(written: Path, layers: str, *, still: bool) -> list[tuple[Path, str]]:
    """The output and its layers, with what they are."""
    from avatar.animation.outputs import parse_layers, target_of
    from avatar.media.manifest import sidecar

    target = target_of(written, still=still)
    files = [
        (written, "tagged as synthetic in its metadata" if target.sequence is None else "each tagged as synthetic")
    ]
    if sidecar(written).is_file():
        files.append((sidecar(written), "its C2PA manifest"))
    for name in parse_layers(layers):
        place = target.layer_of_still(name) if target.still else target.layer(name).pattern
        files.append((place, {"depth": "millimetres, 16 bit", "alpha": "the person's opacity"}[name]))
    return files
