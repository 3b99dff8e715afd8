"""Videos of an avatar: driven by another clip, or with a chosen expression along a camera path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.animation.backgrounds import SCENE, TRANSPARENT, Behind, check_background, choose_background
from avatar.animation.camera_paths import DEFAULT_AMPLITUDE_DEGREES, camera_path, require_path
from avatar.animation.comparison import beside, driver_pictures, require_filmed
from avatar.animation.driver_files import DEFAULT_FPS, Driver
from avatar.animation.driving import expression_frames, retarget, smooth_tracking
from avatar.animation.keyframes import frame_count, is_keyframe_file, read_keyframes
from avatar.animation.path_files import read_camera_path, require_in_view
from avatar.animation.transfer import Retarget, parse_gains, transfer_expression
from avatar.base import limits
from avatar.base.errors import ConfigError, InputError
from avatar.base.files import refuse_existing_file, refuse_inputs
from avatar.base.progress import Progress
from avatar.data.folders import refuse_own_places
from avatar.flame.mean_pose import mean_pose
from avatar.geometry.cameras import Camera
from avatar.media.images import to_uint8, write_png
from avatar.media.video import FORMS, write_video

if TYPE_CHECKING:
    from avatar.avatar import Avatar
    from avatar.flame.assets import HeadAsset
    from avatar.flame.model import HeadParameters

DEFAULT_FRAMES = 100
VIDEO_ENDINGS = tuple(FORMS)


def reanimate(
    avatar: Avatar,
    driver: Driver,
    out: Path,
    *,
    settings: Retarget | None = None,
    background: str = SCENE,
    compare: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write the avatar performing what the driver does, with the driver's sound and the synthetic tag.

    settings: how the performance is put on the avatar. background: see `backgrounds.choose_background`. compare: with
    the driver's own pictures at the left. Raises InputError for a background that is unknown, ConfigError for settings
    that do not fit the driver, OutputError where `out` exists and `overwrite` is False, belongs to a capture or a run,
    or cannot be written.
    """
    settings = settings or Retarget()
    require_writable(out, VIDEO_ENDINGS, overwrite)
    check_background(background, out)
    if compare:
        require_comparable(driver, background)
    params = performed(avatar.parameters, driver, avatar.asset, settings)
    cameras = [avatar.camera] * params.expr.shape[0]
    beside_it = driver_pictures(driver) if compare else None
    return _write(
        *(avatar, params, cameras, out, driver, "reanimate", choose_background(avatar, background)),
        transparent=background == TRANSPARENT,
        driver_pictures=beside_it,
    )


def performed(own: HeadParameters, driver: Driver, asset: HeadAsset, settings: Retarget) -> HeadParameters:
    """The driver's N frames as an avatar shows them. own: the parameters of the avatar's training clip.

    Raises ConfigError for settings that do not fit the driver.
    """
    relative = settings.transfer == "relative" or (settings.transfer == "auto" and driver.filmed is not None)
    steady = smooth_tracking(driver.params.to(own.expr.device))
    meant = transfer_expression(own, steady, asset, settings, relative=relative, fps=driver.fps)
    return retarget(own, meant, settings.head_motion, parse_gains(settings.gain)["head"])


def require_comparable(driver: Driver, background: str) -> None:
    """Raise ConfigError where the driver has no pictures, or the avatar's would be transparent beside them."""
    require_filmed(driver)
    if background == TRANSPARENT:
        raise ConfigError("--compare shows the driver's whole pictures", found="--background transparent")


def render_path(
    avatar: Avatar,
    out: Path,
    *,
    path: str = "orbit",
    expression: str = "neutral",
    frames: int | None = None,
    fps: float = DEFAULT_FPS,
    size: int | None = None,
    amplitude: float = DEFAULT_AMPLITUDE_DEGREES,
    background: str = SCENE,
    overwrite: bool = False,
) -> Path:
    """Write the avatar with a chosen expression along a camera path, as a video, or its first frame as .png.

    expression: see `driving.expression_frames`. size: longer side in pixels, the captured size by default.
    path: a name (`camera_paths`) or a .json file (`path_files`), whose frames per second count.
    frames: by default as many as the path's file has, else the expression's own number (`clip`, keyframes), else 100;
    in a .png a sweep is at its fullest.
    background: see `backgrounds.choose_background`; `transparent` for .png, .webm and .mov.
    Raises ConfigError for unknown names and as `require_renderable`.
    """
    require_renderable(out, frames=frames, fps=fps, size=size, amplitude=amplitude, overwrite=overwrite)
    check_background(background, out)
    if not is_path_file(path):
        require_path(path)
    behind = choose_background(avatar, background)
    still = Path(out).suffix.lower() == ".png"
    if still:
        frames, expression = 1, expression.removeprefix("sweep:")
    camera, from_file = avatar.camera, None
    if is_path_file(path):
        from_file, stored_fps = read_camera_path(Path(path), camera)
        require_in_view(from_file, head_centre(avatar), Path(path))
        fps = stored_fps or fps
    if frames is None:
        frames = len(from_file) if from_file is not None else natural_length(avatar, expression, fps)
    params = expression_frames(expression, avatar.parameters, avatar.asset, frames, fps)
    if size is not None:
        camera = at_scale(camera, size / max(camera.width, camera.height))
    if from_file is None:
        cameras = camera_path(path, camera, head_centre(avatar), frames, amplitude)
    else:
        share = camera.height / avatar.camera.height
        cameras = [at_scale(from_file[min(i, len(from_file) - 1)], share) for i in range(frames)]
    if still:
        picture = _frame(avatar, params, 0, cameras[0], behind, transparent=background == TRANSPARENT)
        return write_png(out, picture, synthetic=True)
    source = Driver(params, fps, None)
    return _write(avatar, params, cameras, out, source, "render", behind, transparent=background == TRANSPARENT)


def require_renderable(
    out: Path, *, frames: int | None, fps: float, size: int | None, amplitude: float, overwrite: bool
) -> None:
    """Raise, before any work, ConfigError for a number out of range, and as `require_writable`."""
    limits.RENDER_FRAMES.require("--frames", frames)
    limits.FPS.require("--fps", fps)
    limits.RENDER_SIZE.require("--size", size)
    limits.AMPLITUDE.require("--amplitude", amplitude)
    require_writable(out, (*VIDEO_ENDINGS, ".png"), overwrite)


def is_path_file(path: str) -> bool:
    """Whether a camera path is meant as a file."""
    return Path(path).suffix.lower() == ".json"


def natural_length(avatar: Avatar, expression: str, fps: float) -> int:
    """Frames that an expression lasts: the clip's, up to the last keyframe, or DEFAULT_FRAMES."""
    if expression == "clip":
        return avatar.parameters.expr.shape[0]
    if is_keyframe_file(expression):
        return frame_count(read_keyframes(Path(expression), avatar.asset, 1.0), fps)
    return DEFAULT_FRAMES


def at_scale(camera: Camera, scale: float) -> Camera:
    """The camera with a picture `scale` times as large, at least 2 pixels."""
    return camera.scaled(max(2, round(camera.width * scale)), max(2, round(camera.height * scale)))


def head_centre(avatar: Avatar) -> np.ndarray:
    """The middle `[3]` of the face (of the head, where the model has no region `face`) of the avatar at rest, metres,
    world: the target of camera trajectories."""
    with torch.no_grad():
        vertices = avatar.head(mean_pose(avatar.parameters)).vertices[0].double().cpu().numpy()
    face = vertices[avatar.asset.regions.get("face", slice(None))]
    return (face.min(0) + face.max(0)) / 2


def require_writable(path: Path, suffixes: tuple[str, ...], overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Raise, before any work, InputError unless the output file has one of the endings, OutputError where it is one of
    the `inputs`, belongs to a capture or a run, or exists and `overwrite` is False."""
    if Path(path).suffix.lower() not in suffixes:
        raise InputError(
            "the output file has an ending that cannot be written",
            where=path,
            expected=" or ".join(suffixes),
            fix=f"give it one of these: --out {Path(path).with_suffix(suffixes[0]) if Path(path).name else 'out.mp4'}",
        )
    refuse_inputs(path, *inputs)
    refuse_own_places(path)
    refuse_existing_file(path, overwrite)


def _frame(
    avatar: Avatar, params: HeadParameters, index: int, camera: Camera, behind: Behind, *, transparent: bool = False
) -> np.ndarray:
    """uint8 `[H, W, 3]`, or `[H, W, 4]` with straight alpha where `transparent` and `behind` is black."""
    with torch.no_grad():
        shown = avatar.render_frame(params.frame(index), camera, background=behind(camera))
        image = shown.image
        if transparent:
            alpha = shown.opacity[..., None]
            image = torch.cat([(image / alpha.clamp_min(1e-3)).clamp(max=1.0), alpha], -1)
    return to_uint8(image.float().cpu().numpy())


def _write(
    avatar: Avatar,
    params: HeadParameters,
    cameras: list[Camera],
    out: Path,
    source: Driver,
    label: str,
    behind: Behind,
    *,
    transparent: bool = False,
    driver_pictures: Iterator[np.ndarray] | None = None,
) -> Path:
    """Render the frames into `out`, at the rate and with the sound of `source`, beside the driver's pictures if any."""

    def images() -> Iterator[np.ndarray]:
        with Progress(label, len(cameras)) as bar:
            for index, camera in enumerate(cameras):
                image = _frame(avatar, params, index, camera, behind, transparent=transparent)
                if driver_pictures is not None:
                    filmed = next(driver_pictures, None)
                    if filmed is None:
                        return
                    image = beside(filmed, image)
                yield image
                bar.update(index + 1)

    return write_video(
        out, images(), source.fps, audio_from=source.audio, audio_start=source.audio_start, synthetic=True
    )
