"""Videos and pictures of an avatar: driven by other clips, or with a chosen expression along a camera path."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from avatar.animation.backgrounds import TRANSPARENT, check_background, choose_background, source_of
from avatar.animation.camera_paths import PathName, camera_path, parse_path
from avatar.animation.comparison import DriversBeside, require_filmed, what_is_beside
from avatar.animation.driver_files import Driver
from avatar.animation.driving import expression_frames, keep_large_changes, retarget, smooth_tracking
from avatar.animation.face_gaps import GAP_NOISE
from avatar.animation.keyframes import frame_count, is_keyframe_file, read_keyframes
from avatar.animation.options import DrivenPresentation, Presentation, Rendering, Retarget
from avatar.animation.outputs import Target, parse_layers, require_writable, target_of
from avatar.animation.path_faces import Face, face_frames, missing_performances, read_path_faces
from avatar.animation.path_files import read_camera_path, require_in_view
from avatar.animation.several import at_rate, sounds_of
from avatar.animation.transfer import gauge_of, parse_gains, transfer_expression
from avatar.animation.work import Work, is_unfinished, work_beside
from avatar.animation.writing import Look, Shots, write_shots, write_still
from avatar.base import limits
from avatar.base.errors import ConfigError, InputError
from avatar.flame.mean_pose import mean_pose
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from avatar.media.manifest import require_signing

if TYPE_CHECKING:
    from avatar.avatar import Avatar
    from avatar.flame.assets import HeadAsset

DEFAULT_FRAMES = 100
NEUTRAL = "neutral"


def reanimate(
    avatar: Avatar,
    driver: Driver | Sequence[Driver],
    out: Path,
    presentation: DrivenPresentation | None = None,
    *,
    settings: Retarget | Sequence[Retarget] | None = None,
    work: Work | None = None,
) -> Path:
    """Write the avatar performing what the driver does, with the driver's sound and the synthetic tag.

    driver: several are played one after another. out: as `outputs.target_of`. settings: how the performance is put on
    the avatar, one for all drivers or one for each. work: the work on `out`, where the caller has it open. An
    interrupted call goes on when it is repeated.

    Raises as `require_drivable`, ConfigError for settings that do not fit the driver, OutputError where `out` cannot be
    written.
    """
    drivers = [driver] if isinstance(driver, Driver) else list(driver)
    if not isinstance(settings, Sequence):
        settings = [settings or Retarget()] * len(drivers)
    presentation = presentation or DrivenPresentation()
    target = require_drivable(out, presentation)
    for each in drivers if presentation.compare else ():
        require_filmed(each)
    parts = played(avatar.parameters, drivers, avatar.asset, settings)
    params = HeadParameters.concatenate([part.params for part in parts])
    shots = Shots(params, [avatar.camera] * len(params), parts[0].fps, sounds_of(parts))
    if presentation.compare:
        panel = DriversBeside(parts, avatar.camera.height)
        shots = dataclasses.replace(shots, beside=panel, beside_of=what_is_beside(parts))
    look = _look(avatar, presentation)
    with work_beside(out) if work is None else nullcontext(work) as begun:
        return write_shots(avatar, shots, target, look, begun, "reanimate", overwrite=presentation.overwrite)


def performed(own: HeadParameters, driver: Driver, asset: HeadAsset, settings: Retarget) -> HeadParameters:
    """The driver's N frames as an avatar shows them. own: the parameters of the avatar's training clip.

    Raises ConfigError for settings that do not fit the driver.
    """
    relative = settings.transfer == "relative" or (settings.transfer == "auto" and driver.filmed is not None)
    steady = smooth_tracking(driver.params.to(own.expr.device))
    gauge, gaps = gauge_of(asset, own.expr.device), None
    if relative and gauge is not None:  # the gap is tracked more exactly than what makes it: it is smoothed less
        gaps = keep_large_changes(gauge.lips(driver.params.to(own.expr.device))[:, None], GAP_NOISE)[:, 0]
    meant = transfer_expression(own, steady, asset, settings, gauge=gauge, relative=relative, fps=driver.fps, gaps=gaps)
    return retarget(own, meant, settings.head_motion, parse_gains(settings.gain)["head"])


def played(
    own: HeadParameters, drivers: Sequence[Driver], asset: HeadAsset, settings: Sequence[Retarget]
) -> list[Driver]:
    """Each driver as the avatar shows it (`performed`), all at the highest of their rates.

    own: the parameters of the avatar's training clip. settings: one for each driver. Raises ConfigError for settings
    that do not fit a driver, InputError where all together are too long.
    """
    fps = max(driver.fps for driver in drivers)
    shown = [
        dataclasses.replace(driver, params=at_rate(performed(own, driver, asset, chosen), driver.fps, fps), fps=fps)
        for driver, chosen in zip(drivers, settings, strict=True)
    ]
    limits.DRIVER_FRAMES.require("the drivers' length", sum(len(part.params) for part in shown), error=InputError)
    return shown


def require_drivable(out: Path, presentation: DrivenPresentation, inputs: Sequence[Path] = ()) -> Target:
    """The output of `reanimate`. Raises, before any work, what `_require_presentable` raises, and ConfigError where
    drivers would stand beside a transparent avatar."""
    if presentation.compare and presentation.background == TRANSPARENT:
        raise ConfigError("--compare shows the driver's whole pictures", found="--background transparent")
    return _require_presentable(target_of(out), presentation, inputs)


def _require_presentable(target: Target, presentation: Presentation, inputs: Sequence[Path]) -> Target:
    """The target. Raises, before any work, what `require_signing`, `check_background`, `parse_layers` and
    `outputs.require_writable` raise."""
    require_signing()
    check_background(presentation.background, target)
    layers, unfinished = parse_layers(presentation.layers), is_unfinished(target.path)
    require_writable(target, layers, presentation.overwrite, inputs, unfinished=unfinished)
    return target


def render_path(
    avatar: Avatar, out: Path, rendering: Rendering | None = None, presentation: Presentation | None = None
) -> Path:
    """Write the avatar with a chosen expression along a camera path, as a video or pictures, or its first frame as
    .png. An interrupted call goes on when it is repeated.

    out: as `outputs.target_of`. Along a file of `avatar view` the head shows what its keyframes hold, unless another
    expression is asked for. The frames per second of a path's file count before those of `rendering`. Without a
    number of frames there are as many as the path's file has, else the expression's own (`clip`, keyframes), else 100;
    in a .png a sweep is at its fullest.
    Raises ConfigError for unknown names and as `require_renderable`.
    """
    rendering, presentation = rendering or Rendering(), presentation or Presentation()
    plan = require_renderable(out, rendering, presentation)
    look = _look(avatar, presentation)
    frames, fps, expression = rendering.frames, rendering.fps, rendering.expression or NEUTRAL
    if plan.target.still:
        frames, expression = 1, expression.removeprefix("sweep:")
    camera, from_file = avatar.camera, None
    if isinstance(plan.path, Path):
        from_file, stored_fps = read_camera_path(plan.path, camera)
        require_in_view(from_file, head_centre(avatar), plan.path)
        fps = stored_fps or fps
    if frames is None:
        frames = len(from_file) if from_file is not None else natural_length(avatar, expression, fps)
    if plan.faces is not None and isinstance(plan.path, Path):
        faces = [plan.faces[min(i, len(plan.faces) - 1)] for i in range(frames)]
        params = face_frames(faces, avatar.parameters, avatar.asset, plan.path)
    else:
        params = expression_frames(expression, avatar.parameters, avatar.asset, frames, fps)
    if rendering.size is not None:
        camera = at_scale(camera, rendering.size / max(camera.width, camera.height))
    if from_file is not None:
        share = camera.height / avatar.camera.height
        cameras = [at_scale(from_file[min(i, len(from_file) - 1)], share) for i in range(frames)]
    else:
        assert not isinstance(plan.path, Path)
        cameras = camera_path(plan.path, camera, head_centre(avatar), frames, rendering.amplitude)
    if plan.target.still:
        return write_still(avatar, params.frame(0), cameras[0], plan.target, look)
    shots = Shots(params, cameras, fps)
    with work_beside(out) as work:
        return write_shots(avatar, shots, plan.target, look, work, "render", overwrite=presentation.overwrite)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What `render_path` was asked for, looked at before anything is loaded."""

    target: Target
    path: Path | PathName
    """A file, or the name of a trajectory."""
    faces: Sequence[Face] | None = None
    """What the head shows along a path's file, where that holds it and no other expression was asked for."""

    @property
    def notes(self) -> list[str]:
        """What a person should be told, a sentence each."""
        return missing_performances(self.faces or ())


def require_renderable(out: Path, rendering: Rendering, presentation: Presentation) -> Plan:
    """The output and the path of `render_path`. Raises, before any work, ConfigError for a number out of range or an
    unknown path, and what `target_of`, `_require_presentable` and `read_path_faces` raise."""
    rendering.check()
    target, chosen = target_of(out, still=True), parse_path(rendering.path)
    if not isinstance(chosen, Path):
        return Plan(_require_presentable(target, presentation, ()), chosen)
    _require_presentable(target, presentation, [chosen])
    return Plan(target, chosen, read_path_faces(chosen) if rendering.expression is None else None)


def _look(avatar: Avatar, presentation: Presentation) -> Look:
    background = presentation.background
    behind = choose_background(avatar, background)
    layers = parse_layers(presentation.layers)
    return Look(behind, background, background == TRANSPARENT, layers, source_of(avatar, background))


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
