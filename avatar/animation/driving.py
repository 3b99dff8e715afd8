"""Head parameters of each output frame: from a driver, a named expression or the training clip itself."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from avatar.animation.expressions import ExpressionVector, expression_vector, jaw_share_of, parse_amounts
from avatar.animation.keyframes import expression_at, is_keyframe_file, read_keyframes
from avatar.animation.options import HeadMotion
from avatar.base.errors import ConfigError
from avatar.flame.mean_pose import mean_pose, mean_rotation
from avatar.flame.model import HeadParameters
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

if TYPE_CHECKING:
    from avatar.flame.assets import HeadAsset

POSE_QUANTILE = 0.98
POSE_SLACK = 1.25
"""A driven head pose may exceed the training clip's range by this factor, with a soft limit."""
LEAST_ROTATION = 0.06
LEAST_TRANSLATION = 0.008
"""Least limits, radians and metres, however still the training clip was."""
SMOOTHING = {"rotation": 0.01, "translation": 0.002, "neck": 0.01, "expr": 0.05, "jaw": 0.012, "eyes": 0.04}
"""Size of frame-to-frame changes taken for tracking noise: radians, metres, expression units."""


@dataclass(frozen=True)
class PoseRange:
    """Where a clip's head is on average, and how far it goes from there."""

    rest: HeadParameters
    """The mean pose, N = 1, without expression."""
    rotation: torch.Tensor
    """`[3]` largest rotation about each axis, radians."""
    translation: torch.Tensor
    """`[3]` metres."""

    @staticmethod
    def of(clip: HeadParameters) -> PoseRange:
        """The range of N frames: what the largest 2 % exceed, and the least limits at least."""
        rotation, translation = _relative_pose(clip, MeanPose.of(clip))
        limits = _range_of(rotation, LEAST_ROTATION), _range_of(translation, LEAST_TRANSLATION)
        return PoseRange(mean_pose(clip), *limits)


@dataclass(frozen=True)
class MeanPose:
    """A head's mean pose: rotations `[3, 3]` of head and neck, translation `[3]` in metres."""

    rotation: torch.Tensor
    neck: torch.Tensor
    translation: torch.Tensor

    @staticmethod
    def of(frames: HeadParameters) -> MeanPose:
        return MeanPose(mean_rotation(frames.rotation), mean_rotation(frames.neck), frames.translation.mean(0))


def retarget(
    avatar: HeadParameters,
    driver: HeadParameters,
    head_motion: HeadMotion = "driver",
    gain: float = 1.0,
    *,
    seen: PoseRange | None = None,
    reference: MeanPose | None = None,
) -> HeadParameters:
    """The driver's performance on the avatar's identity. Shapes follow the driver's N frames.

    avatar: the parameters of the avatar's training clip; its shape and static offset are kept. driver: tracked with the
    same head model. Expression, jaw and eyes are taken as they are. Head rotation and translation are taken relative to
    the driver's mean pose, put on the avatar's mean pose, and limited to a little beyond what the training clip showed;
    `head_motion` "still" leaves the avatar's mean pose, "avatar" takes the training clip's own poses, to and fro. gain:
    factor on the driver's head motion. seen: the avatar's range, where it is known already. reference: the driver's
    pose at rest, in place of the mean of the N frames.
    """
    frames = driver.expr.shape[0]
    seen = seen or PoseRange.of(avatar)
    rest = seen.rest
    rotation, neck, translation = (
        getattr(rest, name).repeat(frames, 1) for name in ("rotation", "neck", "translation")
    )
    if head_motion == "driver":
        reference = reference or MeanPose.of(driver)
        relative, offset = (gain * part for part in _relative_pose(driver, reference))
        relative = soft_limit(relative, seen.rotation)
        offset = soft_limit(offset, seen.translation)
        rotation = matrix_to_axis_angle(axis_angle_to_matrix(relative) @ axis_angle_to_matrix(rest.rotation))
        translation = translation + offset
        neck_rotation = axis_angle_to_matrix(driver.neck) @ reference.neck.T
        neck = matrix_to_axis_angle(neck_rotation @ axis_angle_to_matrix(rest.neck))
    elif head_motion == "avatar":
        there_and_back = torch.cat([torch.arange(len(avatar)), torch.arange(len(avatar) - 2, 0, -1)])
        row = there_and_back[torch.arange(frames) % len(there_and_back)].to(avatar.rotation.device)
        rotation, neck, translation = avatar.rotation[row], avatar.neck[row], avatar.translation[row]
    return dataclasses.replace(
        driver,
        shape=avatar.shape,
        static_offset=avatar.static_offset,
        rotation=rotation,
        neck=neck,
        translation=translation,
    )


def _relative_pose(params: HeadParameters, reference: MeanPose) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotations `[N, 3]` (axis-angle, world) and translations `[N, 3]` (metres) relative to a mean pose."""
    relative = axis_angle_to_matrix(params.rotation) @ reference.rotation.T
    return matrix_to_axis_angle(relative), params.translation - reference.translation


def _range_of(values: torch.Tensor, smallest: float) -> torch.Tensor:
    """Per component `[3]`, the 98 % quantile of the absolute values, at least `smallest`."""
    return torch.quantile(values.abs(), POSE_QUANTILE, dim=0).clamp(min=smallest)


def soft_limit(values: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """Values up to `limit` in size stay; beyond, they bend smoothly towards `POSE_SLACK * limit`. Shapes broadcast."""
    room = (POSE_SLACK - 1.0) * limit
    beyond = (values.abs() - limit).clamp(min=0)
    return torch.sign(values) * (torch.minimum(values.abs(), limit) + room * torch.tanh(beyond / room))


def smooth_tracking(params: HeadParameters) -> HeadParameters:
    """Reduce tracking jitter of a clip; large changes, blinks above all, are kept.

    Each coefficient is split into a local mean over five frames and the rest; the rest is kept where it is larger
    than noise of that kind is (a Wiener-like weight r^2 / (r^2 + noise^2)). No delay: the filter looks both ways.
    Rotations are filtered as axis-angle vectors, which holds for rotations below 180 degrees.
    """
    return dataclasses.replace(
        params, **{name: keep_large_changes(getattr(params, name), noise) for name, noise in SMOOTHING.items()}
    )


def keep_large_changes(values: torch.Tensor, noise: float) -> torch.Tensor:
    """Values `[N, C]` with deviations from the local mean shrunk where they are about `noise` or smaller."""
    if values.shape[0] < 3:
        return values
    weights = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=values.dtype, device=values.device) / 16.0
    padded = torch.cat([values[:1], values[:1], values, values[-1:], values[-1:]])
    local = sum(weight * padded[k : k + values.shape[0]] for k, weight in enumerate(weights))
    rest = values - local
    return local + rest * rest.square() / (rest.square() + noise**2)


def expression_frames(
    text: str, avatar: HeadParameters, asset: HeadAsset, frames: int, fps: float = 25.0
) -> HeadParameters:
    """`frames` frames of the avatar at its mean pose with the expressions that `text` names.

    text: `neutral`; an expression such as `smile` or `smile=0.7,jawOpen=0.3`, held throughout; `sweep:A` or
    `sweep:A,B`, each from nothing to full and back, one after the other; `clip`, the training clip's own frames; a file
    of keyframes (`animation.keyframes`), at `fps` frames per second.
    avatar: the parameters of the training clip. Raises ConfigError for unknown names, InputError for a file that cannot
    be read.
    """
    if is_keyframe_file(text):
        keyframes = read_keyframes(Path(text), asset, jaw_share_of(avatar, asset))
        return posed(mean_pose(avatar), [expression_at(keyframes, frame / fps) for frame in range(frames)])
    if text == "clip":
        return avatar.select(torch.arange(frames) % len(avatar))
    kind, colon, rest = text.partition(":")
    if colon and kind != "sweep":
        raise ConfigError(
            "an expression cannot be read", expected="NAME, NAME=AMOUNT, sweep:NAME, neutral or clip", found=text
        )
    share = jaw_share_of(avatar, asset)
    if not colon:
        held = expression_vector(parse_amounts(text), asset, jaw_share=share)
        return posed(mean_pose(avatar), [held] * frames)
    swept = [expression_vector({name: amount}, asset, jaw_share=share) for name, amount in parse_amounts(rest).items()]
    return posed(mean_pose(avatar), [sweep(swept, frame / frames) for frame in range(frames)])


def sweep(vectors: list[ExpressionVector], time: float) -> ExpressionVector:
    """The expression at `time` in [0, 1) of a tour that raises and lowers each of `vectors` in turn."""
    position = time * len(vectors)
    which = min(int(position), len(vectors) - 1)
    return vectors[which].scaled(0.5 - 0.5 * math.cos(2 * math.pi * (position - which)))


def posed(rest: HeadParameters, vectors: list[ExpressionVector]) -> HeadParameters:
    """The rest pose (N = 1) repeated with each of the expressions: N = len(vectors)."""
    frames = rest.select(torch.zeros(len(vectors), dtype=torch.long))
    like = {"dtype": rest.expr.dtype, "device": rest.expr.device}
    return dataclasses.replace(
        frames,
        expr=torch.stack([vector.expr for vector in vectors]).to(**like),
        jaw=torch.stack([vector.jaw for vector in vectors]).to(**like),
        eyes=frames.eyes + torch.stack([vector.eyes for vector in vectors]).to(**like),
    )


def posed_by(
    frame: HeadParameters,
    added: ExpressionVector,
    turn: tuple[float, float, float],
    shift: tuple[float, float, float],
) -> HeadParameters:
    """One frame (N = 1) with an expression added, and its head rotated (turn, nod, tilt: radians about world y, x and
    z) and moved (metres, world)."""
    like = {"dtype": frame.expr.dtype, "device": frame.expr.device}
    rotation = frame.rotation
    if any(turn):
        about_y, about_x, about_z = (torch.tensor(angle, **like) for angle in turn)
        zero = torch.zeros((), **like)
        axes = [(zero, about_y, zero), (about_x, zero, zero), (zero, zero, about_z)]
        yaw, pitch, roll = (axis_angle_to_matrix(torch.stack(axis)) for axis in axes)
        rotation = matrix_to_axis_angle(yaw @ pitch @ roll @ axis_angle_to_matrix(frame.rotation))
    return dataclasses.replace(
        frame,
        expr=frame.expr + added.expr.to(**like),
        jaw=frame.jaw + added.jaw.to(**like),
        eyes=frame.eyes + added.eyes.to(**like),
        rotation=rotation,
        translation=frame.translation + torch.tensor(shift, **like),
    )
