"""A run's head as glTF 2.0 with its clip as animation; `head_mesh` makes the head itself.

Pose correctives depend on joints, which glTF cannot express. Without the jaw's, an opened mouth is off by millimetres,
so where the head has the direction `jawOpen`, which opens the mouth to the same shape as joint and corrective, the
animation opens it by that. Expressions move FLAME's joints a little: the nodes' translations carry it. (Of FLAME's
files all correctives are left out.)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatar.animation.expressions import jaw_open_angle
from avatar.base.files import write_bytes
from avatar.export.gltf import glb
from avatar.export.head_mesh import FIRST_JOINT, MESH_NODE, HeadFile, base_vertices, head_file
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.rotations import matrix_to_axis_angle

if TYPE_CHECKING:
    from avatar.export.appearance import Appearance
    from avatar.export.clip import Clip
    from avatar.flame.assets import HeadAsset

SMALLEST = 1e-6
"""Metres: smaller motions of a joint in its parent are left out."""


def write_glb(path: Path, clip: Clip, identity: HeadParameters, asset: HeadAsset, appearance: Appearance) -> Path:
    """Write the head of `identity` (its `shape` and `static_offset`) with a clip's performance as `path`.

    The mesh is in metres, y up, the face towards +z; the clip moves it in the avatar's world. Raises OutputError where
    the file cannot be written.
    """
    return write_bytes(path, head_glb(clip, identity, asset, appearance))


def head_glb(clip: Clip, identity: HeadParameters, asset: HeadAsset, appearance: Appearance) -> bytes:
    """The bytes that `write_glb` writes."""
    params = clip_params(clip, identity, asset)
    head = head_file(base_vertices(params, asset), asset, appearance)
    document = head.document | {"animations": [animation(head, params, clip.times, asset)]}
    return glb(document, head.buffer)


def clip_params(clip: Clip, identity: HeadParameters, asset: HeadAsset) -> HeadParameters:
    """The clip's frames as the animation plays them, of the person `identity`."""
    params = replace(clip.params, shape=identity.shape, static_offset=identity.static_offset).detach().to("cpu")
    return opened_by_direction(params, asset)


def opened_by_direction(params: HeadParameters, asset: HeadAsset) -> HeadParameters:
    """The same frames with the jaw opened by the direction `jawOpen` instead of its joint, where the head has it."""
    if "jawOpen" not in asset.expression_names:
        return params
    expr, jaw = params.expr.clone(), params.jaw.clone()
    expr[:, asset.expression_index("jawOpen")] += jaw[:, 0] / jaw_open_angle(asset)
    jaw[:, 0] = 0
    return replace(params, expr=expr, jaw=jaw)


def animation(head: HeadFile, params: HeadParameters, times: np.ndarray, asset: HeadAsset) -> dict[str, Any]:
    """The animation `clip`: rotations and, where they move, translations of the joints, and the morph weights."""
    buffer, joints = head.buffer, head.joints
    when = buffer.accessor(times.astype(np.float32), bounds=True)
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []

    def channel(node: int, path: str, values: np.ndarray) -> None:
        samplers.append(
            {"input": when, "output": buffer.accessor(values.astype(np.float32)), "interpolation": "LINEAR"}
        )
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    local = local_transforms(params, joints, asset)
    for index in range(len(joints)):
        rotations = local[:, index, :3, :3]
        channel(FIRST_JOINT + index, "rotation", quaternions(rotations))
        places = local[:, index, :3, 3]
        if index == 0 or np.ptp(places, axis=0).max() > SMALLEST:
            channel(FIRST_JOINT + index, "translation", places)
    channel(MESH_NODE, "weights", params.expr.double().numpy().reshape(-1))
    return {"name": "clip", "samplers": samplers, "channels": channels}


def local_transforms(params: HeadParameters, joints: np.ndarray, asset: HeadAsset) -> np.ndarray:
    """Transforms `[N, J, 4, 4]` of the joints' nodes in their parents, float64; joints: `[J, 3]` at rest."""
    model = HeadModel(asset, torch.tensor([0])).double()
    with torch.no_grad():
        bound = model(params.to(torch.float64)).world_from_joint.numpy()
    rest = np.tile(np.eye(4), (len(joints), 1, 1))
    rest[:, :3, 3] = joints
    world = bound @ rest
    local = world.copy()
    for index, parent in enumerate(asset.parents):
        if parent >= 0:
            local[:, index] = np.linalg.inv(world[:, parent]) @ world[:, index]
    return local


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """Unit quaternions `[N, 4]` (x, y, z, w) of rotations `[N, 3, 3]`, each in the half-space of the one before."""
    vector = matrix_to_axis_angle(torch.as_tensor(rotations)).numpy()
    angle = np.linalg.norm(vector, axis=1, keepdims=True)
    found = np.concatenate([vector * 0.5 * np.sinc(angle / (2 * np.pi)), np.cos(angle / 2)], 1)
    flips = np.sign((found[1:] * found[:-1]).sum(1))
    found[1:] *= np.cumprod(np.where(flips < 0, -1.0, 1.0))[:, None]
    return found / np.linalg.norm(found, axis=1, keepdims=True)
