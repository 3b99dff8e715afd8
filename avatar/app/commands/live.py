"""The command that lets a person before a camera, or in a file, move an avatar at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar.app.outcome import Outcome, shown
from avatar.base.conventions import Rotate


@dataclass
class Live:
    """Move an avatar by your own face before a camera, at once, or by a video file that runs as if a camera saw it.

    Prints the address to open. The first second of your face, relaxed, is the neutral one from which changes count. The
    newest picture is always the one taken, older ones are left out, and the delay is shown. Ctrl-C or the end of the
    file ends it.
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """Run folder, made by `avatar create` or `avatar train`."""
    source: Annotated[str, tyro.conf.arg(metavar="0|FILE")]
    """Number of a camera, 0 being the first, or a video file."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="OUT.mp4")] = None
    """Record the avatar as it is shown, with a file's sound: .mp4."""
    gain: Annotated[str, tyro.conf.arg(metavar="REGION=G,...")] = ""
    """How strong regions move: all=1.2 or mouth=0.8,brows=1.5; of brows, eyes, gaze, cheeks, jaw, mouth, head."""
    head_motion: Literal["driver", "still"] = "driver"
    """Move the head as the driver does, within the range of the training clip, or keep it still."""
    size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None
    """Height of the avatar's pictures in pixels, however long they take. By default as large as five a second can
    be."""
    rotate: Rotate = "auto"
    """Degrees by which the driver's pictures are turned clockwise; auto sets a file upright in which the face lies on
    its side, and leaves a camera as it is."""
    virtual_camera: bool = False
    """Show the avatar to other programs as a camera, by pyvirtualcam and a device such as v4l2loopback or OBS."""
    no_view: bool = False
    """Open no page: for --out or --virtual-camera alone."""
    port: Annotated[int, tyro.conf.arg(metavar="P")] = 8080
    """Port of the page; 0 takes any that is free."""
    host: Annotated[str, tyro.conf.arg(metavar="H")] = "127.0.0.1"
    """Address to listen on; see `avatar view --help`."""
    overwrite: bool = False
    """Replace the output file if it exists."""

    def run(self) -> Outcome:
        from avatar.animation.options import Retarget
        from avatar.animation.outputs import Target, require_writable
        from avatar.app.live import LiveOptions, perform_live
        from avatar.base.errors import ConfigError, InputError
        from avatar.viewer.delays import figure_lines

        if self.out is not None:
            if self.out.suffix.lower() != ".mp4":
                what = "the output file has an ending that cannot be written"
                raise InputError(what, where=self.out, expected=".mp4", fix=f"--out {self.out.with_suffix('.mp4')}")
            require_writable(Target(self.out, None), (), self.overwrite, inputs=(Path(self.source),))
        elif self.no_view and not self.virtual_camera:
            raise ConfigError("nobody would see the avatar", found="--no-view alone", fix="add --out or leave it out")
        options = LiveOptions(
            self.source,
            self.out,
            Retarget("relative", None, self.gain, self.head_motion),
            self.rotate,
            self.size,
            not self.no_view,
            self.host,
            self.port,
            self.virtual_camera,
        )
        done = perform_live(self.run_folder, options, lambda line: print(line, flush=True))
        lines = figure_lines(done.figures, done.behind) or ["the avatar was not moved: nothing was recorded"]
        if done.unused:
            lines.append(f"{done.unused} pictures before that went into getting to know the driver")
        files = [(path, "a camera path" if path.suffix == ".json" else TAGGED) for path in done.written]
        if done.recorded is not None:
            files.append((done.recorded, TAGGED))
        outcome = Outcome(files, f"watch {shown(done.recorded)}" if done.recorded else "", lines)
        if done.failure is not None:
            print(outcome.text(), flush=True)  # what was recorded before is there all the same
            raise done.failure
        return outcome


TAGGED = "tagged as synthetic in its metadata"
