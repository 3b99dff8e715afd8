"""What stands behind a rendered avatar: its own scene, the scene blurred, a colour, a picture, or nothing."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.animation.outputs import Target
from avatar.base.errors import InputError
from avatar.base.files import refuse_inputs
from avatar.base.provenance import Source
from avatar.geometry.cameras import Camera
from avatar.media.images import read_png
from avatar.media.video import FORMS
from avatar.rendering.background import Background, blurred

if TYPE_CHECKING:
    from avatar.avatar import Avatar

SCENE, BLUR, TRANSPARENT = "scene", "blur", "transparent"
HOLD_ALPHA = (".png", *(ending for ending, form in FORMS.items() if form.alpha))
"""Endings of files that can be transparent."""
BLUR_SIGMA = 0.025
"""Blur of the scene, in longer sides of the picture: a lens that is open wide."""
SAME_SHAPE = 0.02
"""Relative difference of width over height up to which a picture is scaled to the avatar's."""

Behind = Callable[[Camera], Tensor | None]
"""A camera -> `[H, W, 3]` sRGB in [0, 1] at its size; None for the avatar's own scene."""


def check_background(choice: str, target: Target) -> None:
    """Raise, before any work, InputError for a choice that is none or that the output file cannot hold, OutputError
    where it is the output file."""
    if choice == TRANSPARENT and not target.holds_alpha:
        raise InputError(
            "this kind of file cannot be transparent",
            where=target.path,
            expected=f"an ending of {', '.join(HOLD_ALPHA)} with --background transparent",
            fix="choose such an ending, or a colour such as --background lime, which an editor can key out",
        )
    if is_file(choice):
        read_png(Path(choice))
        refuse_inputs(target.path, Path(choice))
        for picture_there in [] if target.sequence is None else target.sequence.existing():
            refuse_inputs(picture_there, Path(choice))
    elif choice not in (SCENE, BLUR, TRANSPARENT):
        colour_of(choice)


def choose_background(avatar: Avatar, choice: str) -> Behind:
    """The background that a choice names: scene, blur, transparent (black, for premultiplied colours), a colour by its
    CSS name or as #rrggbb, or a picture file of the avatar's shape.

    Raises InputError for anything else.
    """
    if choice == SCENE:
        return lambda camera: None
    if choice == BLUR:
        if avatar.scene.room is not None:
            return lambda camera: softened(avatar.empty_room(camera))
        return Background(softened(avatar.background.float() / 255), avatar.camera).seen_by
    if is_file(choice):
        return Background(picture(Path(choice), avatar), avatar.camera).seen_by
    colour = torch.zeros(3) if choice == TRANSPARENT else torch.tensor(colour_of(choice)).float() / 255
    return lambda camera: colour.to(avatar.device).expand(camera.height, camera.width, 3)


def source_of(avatar: Avatar, choice: str) -> Source:
    """What pictures before this background are: mixed where it shows what was filmed by a fixed camera, or a file."""
    filmed = choice in (SCENE, BLUR) and not avatar.shows_room
    return Source.MIXED if filmed or is_file(choice) else Source.RENDERED


def softened(image: Tensor) -> Tensor:
    """A picture `[H, W, 3]` as a lens that is open wide shows what lies far behind."""
    soft = blurred(image.permute(2, 0, 1)[None], BLUR_SIGMA * max(image.shape[:2]))
    return soft[0].permute(1, 2, 0).contiguous()


def is_file(choice: str) -> bool:
    """Whether a choice is meant as a file: it exists, or has an ending."""
    return Path(choice).is_file() or (Path(choice).suffix != "" and not choice.startswith("#"))


def picture(path: Path, avatar: Avatar) -> Tensor:
    """A picture file as `[H, W, 3]` in [0, 1] at the size of the avatar's background. Raises InputError where it
    cannot be read or has another shape."""
    image = read_png(path)
    if image.ndim == 2:
        image = image[..., None].repeat(3, 2)
    height, width = avatar.background.shape[:2]
    if abs(image.shape[1] / image.shape[0] * height / width - 1) > SAME_SHAPE:
        raise InputError(
            "the background has another shape than the avatar's picture",
            where=path,
            expected=f"{width} x {height} pixels, or the same shape at any size",
            found=f"{image.shape[1]} x {image.shape[0]}",
            fix="cut it to that shape",
        )
    found = torch.tensor(image[..., :3]).float().permute(2, 0, 1)[None] / 255
    scaled = F.interpolate(found, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    return scaled[0].permute(1, 2, 0).contiguous().to(avatar.device)


def colour_of(choice: str) -> tuple[int, ...]:
    """sRGB `(r, g, b)` 0 to 255 of a CSS colour name or #rrggbb. Raises InputError for anything else."""
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(choice)[:3]
    except ValueError as cause:
        known = (SCENE, BLUR, TRANSPARENT, *ImageColor.colormap)
        close = difflib.get_close_matches(choice.lower(), known, n=1)
        raise InputError(
            "--background is unknown",
            expected="scene, blur, transparent, a colour such as white or #00ff00, or a picture file",
            found=choice,
            fix=f"did you mean {close[0]}?" if close else None,
        ) from cause
