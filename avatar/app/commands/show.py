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
    driver: Annotated[Path, tyro.conf.arg(metavar="VIDEO|CAPTURE|RUN|PARAMS.npz|FACE.csv")]
    """The performance: a video, a capture folder, a run folder (the clip it was made from), a CSV of Live Link Face, or
    an .npz with `expr [N, E]` and where wanted `jaw_pose`, `eyes_pose`, `neck_pose`, `rotation`, `translation` and
    `fps` (docs/design.md)."""
    out: Annotated[Path, tyro.conf.arg(metavar="OUT.mp4")]
    """Video to write, with the driver's sound: .mp4, or .webm (VP9) and .mov (ProRes 4444), which can be
    transparent."""
    transfer: Literal["auto", "relative", "absolute"] = "auto"
    """relative: what changes from the driver's own neutral face, on the avatar's. absolute: the driver's coefficients
    as they are. auto: relative for videos and captures, absolute for an .npz."""
    neutral: Annotated[float | None, tyro.conf.arg(metavar="SEC")] = None
    """Second of the driver at which its face is neutral. Found among its calmest frames by default."""
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
    (transparent, for .webm and .mov) or a picture file."""
    live: bool = False
    """Track the driver's video frame by frame, as if it came from a camera: much faster, a little less exact."""
    overwrite: bool = False
    """Replace the output file if it exists."""

    def run(self) -> Outcome:
        from avatar.animation.backgrounds import check_background
        from avatar.animation.driver_files import find_driver
        from avatar.animation.reanimate import VIDEO_ENDINGS, reanimate, require_writable
        from avatar.animation.transfer import Retarget, parse_gains
        from avatar.app.library import driver_for
        from avatar.data.checkpoint import load_avatar
        from avatar.data.folders import run_at

        # what can be told at once is told before anything is loaded or tracked
        require_writable(self.out, VIDEO_ENDINGS, self.overwrite, inputs=(self.driver,))
        parse_gains(self.gain)
        check_background(self.background, self.out)
        source = find_driver(self.driver, start=self.start, end=self.end, live=self.live, rotate=self.rotate)
        run = run_at(self.run_folder)
        avatar = load_avatar(run)
        part = {"start": self.start, "end": self.end, "live": self.live, "rotate": self.rotate}
        driver = driver_for(avatar, source, **part)
        settings = Retarget(self.transfer, self.neutral, self.gain, self.head_motion)
        options = {"background": self.background, "compare": self.compare, "overwrite": self.overwrite}
        written = reanimate(avatar, driver, self.out, settings=settings, **options)
        notes = [f"driver: {shown(source)}"] if source != self.driver else []
        files = [(written, "tagged as synthetic in its metadata")]
        return Outcome(files, f"watch {shown(written)}", [*notes, *(f"warning: {note}" for note in driver.notes)])


@dataclass
class Render:
    """Show an avatar with a chosen expression along a camera path."""

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """Run folder, made by `avatar create` or `avatar train`."""
    out: Annotated[Path, tyro.conf.arg(metavar="OUT.mp4|OUT.png")]
    """Video to write (.mp4, .webm, .mov), or one picture (.png)."""
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
    (transparent, for .png, .webm and .mov) or a picture file."""
    overwrite: bool = False
    """Replace the output file if it exists."""

    def run(self) -> Outcome:
        from avatar.animation.backgrounds import check_background
        from avatar.animation.camera_paths import require_path
        from avatar.animation.reanimate import is_path_file, render_path, require_renderable
        from avatar.data.checkpoint import load_avatar
        from avatar.data.folders import run_at

        numbers = {"frames": self.frames, "fps": self.fps, "size": self.size, "amplitude": self.amplitude}
        require_renderable(self.out, **numbers, overwrite=self.overwrite)
        check_background(self.background, self.out)
        if not is_path_file(self.path):
            require_path(self.path)
        avatar = load_avatar(run_at(self.run_folder))
        options = {"path": self.path, "expression": self.expression, "background": self.background}
        written = render_path(avatar, self.out, **options, **numbers, overwrite=self.overwrite)
        return Outcome([(written, "tagged as synthetic in its metadata")], f"look at {shown(written)}")
