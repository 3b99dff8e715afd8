"""Options of a capture, written and checked once.

The command line shows these fields as its options, with their docstrings as help (`avatar.app.commands.build`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from avatar.base.conventions import OPEN_HEAD, Rotate
from avatar.base.errors import InputError
from avatar.base.limits import CAPTURE_SIZE, require_clip_part, require_rotate

DEFAULT_SIZE = 512
DEFAULT_FRAMES = 300


@dataclass(frozen=True)
class CaptureSettings:
    """Options of a capture."""

    size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None
    """Side of the square crop around head and shoulders, in pixels. 512 on a GPU, else 256 by default."""
    head_model: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = OPEN_HEAD
    """Head model: a name that `avatar model list` shows, or a FLAME file."""
    start: Annotated[float | None, tyro.conf.arg(metavar="SEC")] = None
    """Leave out what comes before this second of the video."""
    end: Annotated[float | None, tyro.conf.arg(metavar="SEC")] = None
    """Leave out what comes after this second of the video."""
    max_frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Use at most this many frames, of a longer clip those that show most. 300 by default."""
    shot: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Which shot of a video that was cut: 1 is the first. The one with most frames of a face by default."""
    camera: Literal["auto", "static", "moving"] = "auto"
    """Whether the camera stood still or was carried around; auto looks at the background."""
    rotate: Rotate = "auto"
    """Degrees by which the frames are rotated clockwise, after what the file says; auto sets a face upright that lies
    on its side or upside down. 0 for a person who really lies down."""
    photometric: bool = True
    """Fit the head to the pictures after the landmarks: better poses, for about a minute per 10 s of video."""
    texture_space: Annotated[Path | None, tyro.conf.arg(metavar="SPACE.npz")] = None
    """Complete the head's texture where it was not seen from a texture space, made by `avatar texture build`. The other
    side of the head and smooth filling by default."""

    @property
    def pixels(self) -> int:
        """Side of the crop in pixels, 512 by default."""
        return self.size or DEFAULT_SIZE

    @property
    def most_frames(self) -> int:
        """Frames used at most."""
        return self.max_frames or DEFAULT_FRAMES

    @property
    def range(self) -> str:
        """The part of the clip in words, for a folder's claim."""
        return f"{self.start or 0:g}-{'end' if self.end is None else f'{self.end:g}'}"

    def check(self) -> CaptureSettings:
        """Return the settings; InputError for a value that no capture can have."""
        CAPTURE_SIZE.require("--size", self.size, error=InputError)
        require_clip_part(self.start, self.end, self.max_frames, self.shot)
        if self.camera not in ("auto", "static", "moving"):
            raise InputError("--camera is unknown", expected="auto, static, moving", found=self.camera)
        require_rotate(self.rotate)
        return self

    def changed(self, *known: str) -> dict[str, Any]:
        """The options that differ from their default, without those `known`, for a folder's claim.

        Options added later appear only where they are used, so that older folders are resumed.
        """
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value, default in ((f.name, getattr(self, f.name), f.default) for f in dataclasses.fields(self))
            if name not in known and value != default
        }

    def for_report(self) -> dict[str, Any]:
        """All options as JSON values, as report.json keeps them."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}
