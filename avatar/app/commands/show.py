"""Commands that show an avatar: reanimate and render."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar.app.outcome import Outcome, shown
from capture_tools.settings import Rotate


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
    transfer: Literal["auto", "relative", "absolute"] = "auto"
    """relative: what changes from the driver's own neutral face, on the avatar's. absolute: the driver's coefficients
    as they are. auto: relative for videos and captures, absolute for an .npz."""
    neutral: Annotated[tuple[float, ...], tyro.conf.arg(metavar="SEC...")] = ()
    """Second of the driver at which its face is neutral; of several drivers, one for each. Found among its calmest
    frames by default."""
    gain: Annotated[str, tyro.conf.arg(metavar="REGION=G,...")] = ""
    """How strong regions move: all=1.2 or mouth=0.8,brows=1.5; of brows, eyes, gaze, cheeks, jaw, mouth, head."""
    head_motion: Literal["driver", "avatar", "still"] = "driver"
    """Move the head as the driver does, within the range of the training clip, as that clip did, or keep it still."""
    compare: bool = False
    """Show the driver's own pictures at the left."""
    start: Annotated[float | None, tyro.conf.arg(metavar="SEC")] = None
    """Leave out what comes before this second of the driver's video."""
    end: Annotated[float | None, tyro.conf.arg(metavar="SEC")] = None
    """Leave out what comes after this second of the driver's video."""
    rotate: Rotate = "auto"
    """Degrees by which the driver's frames are turned clockwise, after what the file says; auto sets a face upright
    that lies on its side or upside down."""
    background: Annotated[str, tyro.conf.arg(metavar="scene|blur|COLOUR|transparent|FILE")] = "scene"
    """What stands behind the person: the clip's own scene, that scene blurred, a colour (white, #00ff00), nothing
    (transparent, for .webm, .mov and pictures) or a picture file."""
    layers: Annotated[str, tyro.conf.arg(metavar="depth,alpha")] = ""
    """Also write these of the person, as numbered pictures beside the output (OUT_depth/, OUT_alpha/): depth along the
    camera's axis in millimetres (16 bit, 0 where nobody is), alpha (8 bit)."""
    live: bool = False
    """Track the driver's video frame by frame, as if it came from a camera: much faster, a little less exact."""
    overwrite: bool = False
    """Replace the output if it exists."""

    def run(self) -> Outcome:
        from avatar.animation.transfer import Retarget
        from avatar.app.reanimation import perform, planned
        from avatar.data.checkpoint import load_avatar
        from avatar.data.folders import run_at

        plan = planned(
            self.driver,
            self.out,
            settings=Retarget(self.transfer, None, self.gain, self.head_motion),
            neutral=self.neutral,
            start=self.start,
            end=self.end,
            live=self.live,
            rotate=self.rotate,
            background=self.background,
            layers=self.layers,
            compare=self.compare,
            overwrite=self.overwrite,
        )
        written, warned = perform(load_avatar(run_at(self.run_folder)), plan)
        pairs = zip(plan.sources, self.driver, strict=True)
        notes = [f"driver: {shown(source)}" for source, given in pairs if source != given]
        files = written_files(written, self.layers, still=False)
        return Outcome(files, f"watch {shown(written)}", [*notes, *(f"warning: {note}" for note in warned)])


@dataclass
class Render:
    """Show an avatar with a chosen expression along a camera path."""

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """Run folder, made by `avatar create` or `avatar train`."""
    out: Annotated[Path, tyro.conf.arg(metavar="OUT.mp4|OUT.png|FOLDER|PATTERN.png")]
    """Video to write (.mp4, .webm, .mov), one picture (.png), or numbered pictures: a folder, or a pattern such as
    frames/me_%04d.png."""
    path: Annotated[str, tyro.conf.arg(metavar="still|orbit|spiral|dolly|PATH.json")] = "orbit"
    """How the camera moves; a file is a camera path as avatar view or nerfstudio's viewer saves it."""
    expression: Annotated[str, tyro.conf.arg(metavar="E")] = "neutral"
    """neutral; a name such as smile, or a mix such as smile=0.7,jawOpen=0.3; sweep:NAME (also sweep:A,B) from nothing
    to full and back; clip for the training clip's own; a .yaml file of keyframes."""
    frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Frames to render. 100 by default, for the expression clip as many as it has."""
    fps: Annotated[float, tyro.conf.arg(metavar="F")] = 25.0
    """Frames per second of the video."""
    size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None
    """Longer side of the picture in pixels. The captured size by default."""
    amplitude: Annotated[float, tyro.conf.arg(metavar="DEG")] = 20.0
    """How far the camera swings to each side, in degrees."""
    background: Annotated[str, tyro.conf.arg(metavar="scene|blur|COLOUR|transparent|FILE")] = "scene"
    """What stands behind the person: the clip's own scene, that scene blurred, a colour (white, #00ff00), nothing
    (transparent, for pictures, .webm and .mov) or a picture file."""
    layers: Annotated[str, tyro.conf.arg(metavar="depth,alpha")] = ""
    """Also write these of the person, as pictures beside the output (OUT_depth/, OUT_alpha/): depth along the camera's
    axis in millimetres (16 bit, 0 where nobody is), alpha (8 bit)."""
    overwrite: bool = False
    """Replace the output if it exists."""

    def run(self) -> Outcome:
        from avatar.animation.reanimate import render_path, require_renderable
        from avatar.data.checkpoint import load_avatar
        from avatar.data.folders import run_at

        options = {"frames": self.frames, "fps": self.fps, "size": self.size, "amplitude": self.amplitude}
        options |= {"background": self.background, "layers": self.layers, "overwrite": self.overwrite}
        require_renderable(self.out, self.path, **options)
        avatar = load_avatar(run_at(self.run_folder))
        written = render_path(avatar, self.out, path=self.path, expression=self.expression, **options)
        return Outcome(written_files(written, self.layers, still=True), f"look at {shown(written)}")


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
