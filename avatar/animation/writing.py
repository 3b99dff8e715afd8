"""Frames of an avatar into a video, a numbered sequence of pictures or one picture, with layers beside them.

What was finished by an interrupted command is kept (`work`): pictures that are whole, and parts of a video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.animation.backgrounds import Behind
from avatar.animation.layers import alpha_picture, depth_picture
from avatar.animation.outputs import Target
from avatar.animation.work import Work, identity_of
from avatar.base.conventions import VERSION
from avatar.base.errors import InputError
from avatar.base.files import sha256_of_file
from avatar.base.progress import Progress
from avatar.base.provenance import Source
from avatar.geometry.cameras import Camera
from avatar.media.images import is_whole_png, to_uint8, write_png
from avatar.media.joining import join_videos
from avatar.media.sound import Sound, sound_track
from avatar.media.streams import counted_frames
from avatar.media.video import write_video

if TYPE_CHECKING:
    from avatar.avatar import Avatar
    from avatar.flame.model import HeadParameters

PART = 50
"""Frames of a video that are finished together: what an interruption can cost."""


@dataclass(frozen=True)
class Look:
    """How frames are drawn, besides the performance."""

    behind: Behind
    background: str
    """As it was asked for (`backgrounds.choose_background`)."""
    transparent: bool
    layers: tuple[str, ...] = ()
    source: Source = Source.RENDERED
    """What the pictures are, before anything else is beside them."""


@dataclass(frozen=True)
class Shots:
    """The frames to be written: N of head parameters and as many cameras, and what stands or sounds beside them."""

    params: HeadParameters
    cameras: Sequence[Camera]
    fps: float
    sounds: Sequence[Sound] = ()
    beside: Callable[[int, np.ndarray], np.ndarray] | None = None
    """The frame number (rising) and the avatar's picture -> the picture to be written."""
    beside_of: tuple[object, ...] = ()
    """What decides how that looks, as JSON values."""


def frame_pictures(
    avatar: Avatar, params: HeadParameters, camera: Camera, look: Look
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One frame (`N = 1`): uint8 `[H, W, 3]`, or `[H, W, 4]` with straight alpha where transparent; and its layers."""
    with torch.no_grad():
        shown = avatar.render_frame(params, camera, background=look.behind(camera))
        image = shown.image
        if look.transparent:
            alpha = shown.opacity[..., None]
            image = torch.cat([(image / alpha.clamp_min(1e-3)).clamp(max=1.0), alpha], -1)
        layers = {}
        if "depth" in look.layers:
            layers["depth"] = depth_picture(shown.depth, shown.opacity, camera)
        if "alpha" in look.layers:
            layers["alpha"] = alpha_picture(shown.opacity)
    return to_uint8(image.float().cpu().numpy()), layers


def write_still(avatar: Avatar, params: HeadParameters, camera: Camera, target: Target, look: Look) -> Path:
    """Write one frame (`N = 1`) as PNG, tagged as synthetic, its layers first."""
    image, layers = frame_pictures(avatar, params, camera, look)
    for name, picture in layers.items():
        write_png(target.layer_of_still(name), picture, synthetic=True)
    return write_png(target.path, image, synthetic=True, source=look.source)


def write_shots(
    avatar: Avatar, shots: Shots, target: Target, look: Look, work: Work, label: str, *, overwrite: bool
) -> Path:
    """Write all frames, tagged as synthetic, going on where an interrupted command with the same input stopped.

    Raises OutputError where pictures stand in the way or nothing can be written.
    """
    count = len(shots.cameras)
    source = look.source if shots.beside is None and not (target.video and _is_heard(shots.sounds)) else Source.MIXED
    layers = {name: target.layer(name) for name in look.layers}
    sequences = [*([target.sequence] if target.sequence is not None else []), *layers.values()]
    work.begin(_identity(avatar, shots, look), sequences, count, overwrite)

    def frames(indices: range, bar: Progress) -> Iterator[np.ndarray]:
        for index in indices:
            image, drawn = frame_pictures(avatar, shots.params.frame(index), shots.cameras[index], look)
            for name, picture in drawn.items():
                write_png(layers[name].file(index), picture, synthetic=True)
            yield image if shots.beside is None else shots.beside(index, image)
            bar.update(index + 1)

    step = PART if target.sequence is None else 1
    pieces = [range(at, min(at + step, count)) for at in range(0, count, step)]
    parts = [work.part(number, target.path.suffix) for number in range(len(pieces))]
    with Progress(label, count) as bar:
        for piece, part in zip(pieces, parts, strict=True):
            whole = all(is_whole_png(place.file(index)) for place in layers.values() for index in piece)
            if target.sequence is not None:
                if not (whole and is_whole_png(target.sequence.file(piece[0]))):
                    file = target.sequence.file(piece[0])
                    write_png(file, next(frames(piece, bar)), synthetic=True, source=source)
            elif not (whole and _is_whole(part, len(piece))):
                write_video(part, frames(piece, bar), shots.fps, synthetic=True, source=None)
            bar.update(piece.stop)
    if target.sequence is None:
        join_videos(target.path, parts, shots.fps, sounds=shots.sounds, synthetic=True, source=source)
    work.finish()
    return target.path


def _is_heard(sounds: Sequence[Sound]) -> bool:
    """Whether anything of what goes with the pictures can be decoded, so that it will be heard."""
    return any(sound.source is not None and sound_track(sound.source) is not None for sound in sounds)


def _is_whole(part: Path, frames: int) -> bool:
    """Whether a part of a video is there with all its frames."""
    try:
        return part.is_file() and counted_frames(part)[0] == frames
    except InputError:
        return False


def _identity(avatar: Avatar, shots: Shots, look: Look) -> str:
    """What decides how the pictures look: two commands of the same identity write the same."""
    params, own = shots.params, avatar.scene.state_dict()
    behind = Path(look.background)
    picture = sha256_of_file(behind) if behind.is_file() else None
    return identity_of(
        *(VERSION, look.background, picture, look.transparent, look.layers, shots.fps, shots.beside_of),
        *(value for _, value in sorted(vars(params).items()) if value is not None),
        *(value for _, value in sorted(vars(avatar.parameters).items()) if value is not None),
        *(avatar.background, avatar.asset.fingerprint, avatar.progress, str(avatar.config)),
        *(value for _, value in sorted(own.items())),
        *(part for camera in [avatar.camera, *shots.cameras] for part in lens_and_pose(camera)),
    )


def lens_and_pose(camera: Camera) -> tuple[object, np.ndarray]:
    lens = [camera.width, camera.height, camera.fl_x, camera.fl_y, camera.cx, camera.cy]
    return lens, np.asarray(camera.world_from_cam)
