"""Held-out sets of a synthetic clip: expressions and views that the clip does not show, with their ground truth.

Every set is a capture folder of its own below `truth/held_out/`, over plain grey: only the person is scored. Where the
camera moves, `room_15` shows the room as well, from cameras off the camera's trajectory. A frame
has the head pose of a frame of the clip, whose time is its `timestamp`. `held_out.json` says what a set is and how its
cameras stand to those of the clip, so that an avatar whose world is not the truth's can be judged too
(`avatar.training.held_out`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from avatar.base.files import write_json
from avatar.data.capture import PLAIN_GREY, write_capture
from avatar.data.capture_schema import HELD_OUT
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters, head_middle
from avatar.geometry.cameras import Camera, turn_camera
from avatar.media.images import to_linear
from avatar.synthetic.motion import add_weights
from avatar.synthetic.render import SyntheticScene, render_synthetic_frame

FOLDER = "held_out"
EXPRESSIONS: dict[str, tuple[float, dict[str, float]]] = {
    # jaw rotation in radians and ARKit weights ("name*": both sides), each beyond what `synthetic.motion` shows
    "wide open": (0.36, {}),
    "laugh": (0.24, {"mouthSmile*": 0.95, "cheekSquint*": 0.80, "mouthUpperUp*": 0.30}),
    "surprise": (0.28, {"browInnerUp": 1.0, "browOuterUp*": 1.0, "eyeWide*": 0.70}),
    "kiss": (0.0, {"mouthPucker": 1.0, "mouthFunnel": 0.20}),
    "oh": (0.24, {"mouthFunnel": 0.90}),
    "to the right": (0.0, {"mouthRight": 0.60}),
    "wink": (0.0, {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.90, "mouthSmileLeft": 0.50}),
    "bared teeth": (0.06, {"mouthStretch*": 0.60, "mouthLowerDown*": 0.75, "mouthUpperUp*": 0.75}),
    "scowl": (0.0, {"browDown*": 1.0, "noseSneer*": 0.90, "mouthFrown*": 0.70}),
    "puffed cheeks": (0.0, {"cheekPuff": 0.80}),
}
VIEW_DEGREES = (15, 30, 45)
ROOM_DEGREES = 15
VIEW_FRAMES = 6
"""Frames of the clip that are seen from each of two sides."""
SHARE_OF_CLIP = 0.85
"""Frames are taken from this first part of the clip: its end is another split."""


@dataclass
class HeldOutFrame:
    """One frame to render: frame `index` of the clip with another camera or another expression."""

    index: int
    name: str
    camera: Camera
    params: HeadParameters
    """N = 1."""


def write_held_out(folder: Path, scene: SyntheticScene) -> list[Path]:
    """Write the sets `expressions`, `view_15`, `view_30` and `view_45` below `folder` and return their folders.

    A scene with a room in three dimensions has `room_15` as well.

    Raises OutputError where a file cannot be written.
    """
    sets = {"expressions": ("expression", 0, expression_frames(scene))}
    for degrees in VIEW_DEGREES:
        sets[f"view_{degrees}"] = ("view", degrees, view_frames(scene, degrees))
    if scene.room is not None:
        sets[f"room_{ROOM_DEGREES}"] = ("room", ROOM_DEGREES, room_frames(scene, ROOM_DEGREES))
    return [
        write_set(Path(folder) / name, scene, kind, degrees, frames) for name, (kind, degrees, frames) in sets.items()
    ]


def spread_over_clip(scene: SyntheticScene, count: int) -> list[int]:
    """`count` frame indices, rising, evenly over the part of the clip they are taken from."""
    last = max(math.floor(SHARE_OF_CLIP * scene.frame_count) - 1, 0)
    return np.linspace(0, last, count + 1).round().astype(int)[1:].tolist()


def expression_frames(scene: SyntheticScene) -> list[HeldOutFrame]:
    """Each of `EXPRESSIONS` once, the head and the gaze as in frames spread over the clip."""
    frames = []
    for index, (name, (jaw, weights)) in zip(
        spread_over_clip(scene, len(EXPRESSIONS)), EXPRESSIONS.items(), strict=True
    ):
        params = scene.person.parameters.frame(index)
        params = replace(
            params,
            expr=expression_weights(weights, scene.person.asset)[None],
            jaw=torch.tensor([[jaw, 0.0, 0.0]], dtype=params.jaw.dtype),
        )
        frames.append(HeldOutFrame(index, name, scene.camera_at(index), params))
    return frames


def expression_weights(weights: dict[str, float], asset: HeadAsset) -> torch.Tensor:
    """Coefficients `[E]` of named weights; names that the head does not have are left out."""
    curves: dict[str, np.ndarray] = {}
    add_weights(curves, weights, np.ones(1))
    named = [float(curves[name][0]) if name in curves else 0.0 for name in asset.expression_names]
    return torch.tensor(named, dtype=torch.float32)


def view_frames(scene: SyntheticScene, degrees: float) -> list[HeldOutFrame]:
    """Frames spread over the clip, from cameras rotated by `degrees` about the head's middle to either side."""
    frames = []
    for index in spread_over_clip(scene, VIEW_FRAMES):
        params = scene.person.parameters.frame(index)
        middle = head_middle(scene.person.model, params)
        for side in (-1, 1):
            camera = turn_camera(scene.camera_at(index), middle, math.radians(side * degrees), 0.0)
            frames.append(HeldOutFrame(index, "left" if side > 0 else "right", camera, params))
    return frames


def room_frames(scene: SyntheticScene, degrees: float) -> list[HeldOutFrame]:
    """Frames spread over the clip, from cameras rotated about the head's middle by `degrees` off the trajectory: away
    from its middle, and upwards."""
    frames = []
    for index in spread_over_clip(scene, VIEW_FRAMES):
        params = scene.person.parameters.frame(index)
        middle = head_middle(scene.person.model, params)
        camera = scene.camera_at(index)
        outwards = math.copysign(1.0, camera.position[0] - middle[0])
        for name, azimuth, elevation in (("outwards", outwards * degrees, 0.0), ("up", 0.0, degrees)):
            turned = turn_camera(camera, middle, math.radians(azimuth), math.radians(elevation))
            frames.append(HeldOutFrame(index, name, turned, params))
    return frames


def write_set(folder: Path, scene: SyntheticScene, kind: str, degrees: int, frames: list[HeldOutFrame]) -> Path:
    """Render frames and write them as a capture folder with `held_out.json` beside; returns the folder."""
    grey = np.full((scene.camera.height, scene.camera.width, 3), to_linear(PLAIN_GREY / 255), np.float32)
    rendered = []
    for frame in frames:
        rows = scene.person.parameters
        changed = {name: getattr(rows, name).clone() for name in ("expr", "jaw")}
        for name, values in changed.items():
            values[frame.index] = getattr(frame.params, name)[0]
        person = replace(scene.person, parameters=replace(rows, **changed))
        view = replace(scene, person=person, camera=frame.camera, path=None)
        if kind != "room":
            view = replace(view, room=None, background=grey)
        rendered.append(render_synthetic_frame(view, frame.index))
    every = scene.person.parameters.select(torch.tensor([frame.index for frame in frames]))
    params = replace(
        every, **{name: torch.cat([getattr(frame.params, name) for frame in frames]) for name in ("expr", "jaw")}
    )
    write_capture(
        folder,
        images=[frame.image for frame in rendered],
        masks=[frame.mask for frame in rendered],
        cameras=[frame.camera for frame in frames],
        params=params,
        asset=scene.person.asset,
        fps=scene.fps,
        timestamps=[frame.index / scene.fps for frame in frames],
        landmarks=np.stack([frame.landmarks for frame in rendered]),
        visible=np.stack([frame.visible for frame in rendered]),
        background=None,
        report={"warnings": ["synthetic: parameters, cameras, masks and landmarks are the truth, not estimates"]},
        camera_mode="moving",
    )
    transforms = [frame.camera.cam_from_world @ scene.camera_at(frame.index).world_from_cam for frame in frames]
    described = [
        {"name": frame.name, "cam_from_clip_cam": matrix.tolist()}
        for frame, matrix in zip(frames, transforms, strict=True)
    ]
    write_json(folder / HELD_OUT, {"kind": kind, "degrees": degrees, "frames": described})
    return folder
