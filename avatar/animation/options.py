"""Options of driving and rendering an avatar, each written and checked once.

The command line shows these fields as its options, with their docstrings as help (`avatar.app.commands.show`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from avatar.base import limits
from avatar.base.conventions import Rotate

DEFAULT_FPS = 25.0
DEFAULT_AMPLITUDE_DEGREES = 20.0
HeadMotion = Literal["driver", "avatar", "still"]
Transfer = Literal["auto", "relative", "absolute"]


@dataclass(frozen=True)
class Retarget:
    """How a driver's performance is put on an avatar."""

    transfer: Transfer = "auto"
    """relative: what changes from the driver's own neutral face, on the avatar's. absolute: the driver's coefficients
    as they are. auto: relative for videos and captures, absolute for an .npz."""
    neutral: Annotated[float | None, tyro.conf.Suppress, tyro.conf.Fixed] = None
    """Second of the driver at which its face is neutral; found among its calmest frames by default. No option
    of the command line, which takes one for each driver."""
    gain: Annotated[str, tyro.conf.arg(metavar="REGION=G,...")] = ""
    """How strong regions move: all=1.2 or mouth=0.8,brows=1.5; of brows, eyes, gaze, cheeks, jaw, mouth, head."""
    head_motion: HeadMotion = "driver"
    """Move the head as the driver does, within the range of the training clip, as that clip did, or keep it still."""


@dataclass(frozen=True)
class DriverPart:
    """Which part of a driver's video counts, and how it is tracked."""

    start: Annotated[float | None, tyro.conf.arg(metavar="SEC")] = None
    """Leave out what comes before this second of the driver's video."""
    end: Annotated[float | None, tyro.conf.arg(metavar="SEC")] = None
    """Leave out what comes after this second of the driver's video."""
    rotate: Rotate = "auto"
    """Degrees by which the driver's frames are turned clockwise, after what the file says; auto sets a face upright
    that lies on its side or upside down."""
    live: bool = False
    """Track the driver's video frame by frame, as if it came from a camera: much faster, a little less exact."""

    def check(self) -> DriverPart:
        """Return the part; InputError for one that no video can have."""
        limits.require_clip_part(self.start, self.end)
        limits.require_rotate(self.rotate)
        return self

    @property
    def is_cut(self) -> bool:
        """Whether something of the video is left out."""
        return self.start is not None or self.end is not None


@dataclass(frozen=True)
class Presentation:
    """What is written of the avatar's pictures."""

    background: Annotated[str, tyro.conf.arg(metavar="scene|blur|COLOUR|transparent|FILE")] = "scene"
    """What stands behind the person: the clip's own scene, that scene blurred, a colour (white, #00ff00), nothing
    (transparent, for .webm, .mov and pictures) or a picture file."""
    layers: Annotated[str, tyro.conf.arg(metavar="depth,alpha")] = ""
    """Also write these of the person, as pictures beside the output (OUT_depth/, OUT_alpha/): depth along the camera's
    axis in millimetres (16 bit, 0 where nobody is), alpha (8 bit)."""
    overwrite: bool = False
    """Replace the output if it exists."""


@dataclass(frozen=True)
class DrivenPresentation(Presentation):
    """What is written of a driven avatar's pictures."""

    compare: bool = False
    """Show the driver's own pictures at the left."""


@dataclass(frozen=True)
class Rendering:
    """What an avatar shows along a camera path."""

    path: Annotated[str, tyro.conf.arg(metavar="still|orbit|spiral|dolly|PATH.json")] = "orbit"
    """How the camera moves; a file is a camera path as avatar view or nerfstudio's viewer saves it."""
    expression: Annotated[str | None, tyro.conf.arg(metavar="E")] = None
    """neutral; a name such as smile, or a mix such as smile=0.7,jawOpen=0.3; sweep:NAME (also sweep:A,B) from nothing
    to full and back; clip for the training clip's own; a .yaml file of keyframes. By default what the path's file
    shows, where avatar view saved it, else neutral."""
    frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Frames to render. 100 by default, for the expression clip as many as it has."""
    fps: Annotated[float, tyro.conf.arg(metavar="F")] = DEFAULT_FPS
    """Frames per second of the video."""
    size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None
    """Longer side of the picture in pixels. The captured size by default."""
    amplitude: Annotated[float, tyro.conf.arg(metavar="DEG")] = DEFAULT_AMPLITUDE_DEGREES
    """How far the camera swings to each side, in degrees."""

    def check(self) -> Rendering:
        """Return the rendering; ConfigError for a number out of range."""
        limits.RENDER_FRAMES.require("--frames", self.frames)
        limits.FPS.require("--fps", self.fps)
        limits.RENDER_SIZE.require("--size", self.size)
        limits.AMPLITUDE.require("--amplitude", self.amplitude)
        return self
