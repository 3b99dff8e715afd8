"""Expressions and heads in a camera path's file, which `avatar view` keeps with its keyframes.

`keyframes` is a list of moments, each with `time` (seconds), `expression` (amounts by name), `head_turn` (radians),
`head_shift` (metres), `performance` and its `frame`. nerfstudio's keyframes have a camera alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.animation.driving import posed_by
from avatar.animation.expressions import expression_vector, jaw_share_of
from avatar.animation.keyframes import gently
from avatar.animation.options import DEFAULT_FPS
from avatar.base.errors import AvatarError, InputError
from avatar.base.files import read_json
from avatar.base.limits import RENDER_FRAMES
from avatar.flame.mean_pose import mean_pose
from avatar.flame.model import HeadParameters

if TYPE_CHECKING:
    from avatar.flame.assets import HeadAsset

Vector = tuple[float, float, float]
AT_REST = "at rest"
"""The performance of a person who does nothing: the mean pose of the clip, without expression."""
OWN_CLIP = "this person's clip"
"""The performance of the clip that the avatar was made from."""


@dataclass(frozen=True)
class Face:
    """What the head shows at a moment: a frame of a performance, and what the sliders add."""

    amounts: Mapping[str, float]
    """Of named expressions."""
    turn: Vector = (0.0, 0.0, 0.0)
    """Rotation of the head about the world's y, x and z axis, radians."""
    shift: Vector = (0.0, 0.0, 0.0)
    """Metres, world."""
    performance: str = AT_REST
    frame: int = 0


def face_entry(face: Face) -> dict[str, Any]:
    """What `read_face` reads of a keyframe."""
    return {
        "expression": dict(face.amounts),
        "head_turn": list(face.turn),
        "head_shift": list(face.shift),
        "performance": face.performance,
        "frame": face.frame,
    }


def read_face(entry: Mapping[str, Any]) -> Face:
    """The face of a keyframe. Raises KeyError, TypeError, ValueError or AttributeError where it is none."""
    turn, shift = (tuple(map(float, entry[key])) for key in ("head_turn", "head_shift"))
    amounts = {str(name): float(amount) for name, amount in entry["expression"].items()}
    if len(turn) != 3 or len(shift) != 3 or not np.isfinite([*turn, *shift, *amounts.values()]).all():
        raise ValueError("numbers that are missing or not finite")
    performance = str(entry.get("performance", AT_REST))
    return Face(
        amounts, (turn[0], turn[1], turn[2]), (shift[0], shift[1], shift[2]), performance, int(entry.get("frame", 0))
    )


def blend_faces(first: Face, second: Face, share: float) -> Face:
    """The face at `share` in [0, 1] of the way between two. The performance is the earlier one's."""

    def mixed(a: float, b: float) -> float:
        return (1 - share) * a + share * b

    def moved(a: Vector, b: Vector) -> Vector:
        return mixed(a[0], b[0]), mixed(a[1], b[1]), mixed(a[2], b[2])

    names = sorted({*first.amounts, *second.amounts})
    together = first.performance == second.performance
    return Face(
        {name: mixed(first.amounts.get(name, 0.0), second.amounts.get(name, 0.0)) for name in names},
        moved(first.turn, second.turn),
        moved(first.shift, second.shift),
        first.performance,
        round(mixed(first.frame, second.frame)) if together else first.frame,
    )


def steps_between(times: Sequence[float], fps: float) -> list[tuple[int, float]]:
    """The frames from the first keyframe to the last: the keyframe before each, and the share in [0, 1) of the way to
    the next one, which is left and reached gently.

    times: of the keyframes, seconds, rising. Every keyframe is met: the steps from each to the next are as many as come
    nearest to the rate.
    """
    frames: list[tuple[int, float]] = []
    for index, (begin, end) in enumerate(pairwise(times)):
        steps = max(1, round((end - begin) * fps))
        frames += [(index, gently(step / steps)) for step in range(steps)]
    return [*frames, (len(times) - 1, 0.0)]


def read_path_faces(path: Path) -> list[Face] | None:
    """The faces of a camera path's frames; None where its file holds none, as nerfstudio's.

    Raises InputError for a file that is missing or damaged.
    """
    content = read_json(path, InputError)
    entries = content.get("keyframes") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not any(isinstance(entry, dict) and "expression" in entry for entry in entries):
        return None
    try:
        fps = float(content.get("fps") or DEFAULT_FPS)
        moments = zip(keyframe_times(content), map(read_face, entries), strict=True)
        times, faces = zip(*sorted(moments, key=lambda moment: moment[0]), strict=True)
        length = round((times[-1] - times[0]) * fps) + 1
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as cause:
        raise InputError(
            "the expressions of a camera path cannot be read",
            where=path,
            expected="a file saved by avatar view",
            found=cause,
            fix="save it anew, or name another by --expression",
        ) from cause
    RENDER_FRAMES.require("the path's length", length, error=InputError, where=path)
    return [
        faces[index] if share == 0 else blend_faces(faces[index], faces[index + 1], share)
        for index, share in steps_between(times, fps)
    ]


def keyframe_times(content: Mapping[str, Any]) -> list[float]:
    """The seconds of the keyframes in a file; older ones have a spacing instead. Raises as `read_face`."""
    spacing = float(content.get("seconds_between_keyframes", 0.0))
    return [float(entry.get("time", index * spacing)) for index, entry in enumerate(content["keyframes"])]


def face_frames(faces: Sequence[Face], own: HeadParameters, asset: HeadAsset, path: Path) -> HeadParameters:
    """The head of N faces as the viewer shows it; of performances that are not in the file, at rest.

    own: the parameters of the avatar's clip. Raises InputError, naming `path`, for an expression that the head does
    not have.
    """
    rest, share = mean_pose(own), jaw_share_of(own, asset)
    frames = []
    for face in faces:
        base = own.frame(min(max(face.frame, 0), len(own) - 1)) if face.performance == OWN_CLIP else rest
        try:
            added = expression_vector(face.amounts, asset, jaw_share=share)
        except AvatarError as error:
            raise InputError(f"a keyframe: {error.what}", where=path, found=error.found, fix=error.fix) from error
        frames.append(posed_by(base, added, face.turn, face.shift))
    return HeadParameters.concatenate(frames)


def missing_performances(faces: Sequence[Face]) -> list[str]:
    """What a person should be told of performances that a path's file names and does not hold: one sentence at most."""
    names = sorted({face.performance for face in faces} - {AT_REST, OWN_CLIP})
    if not names:
        return []
    return [
        f"the path was made with the performance {', '.join(names)}, which its file does not hold: the head shows the "
        "sliders' expression alone there; avatar reanimate shows a driver"
    ]
