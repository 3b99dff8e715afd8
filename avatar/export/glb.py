"""A run's head as glTF 2.0: skin, joints, the head's expressions as morph targets, texture, the clip as animation.

The person's identity is baked into the mesh: base = template + shape + static offset, joints likewise. Morph targets
are the head's expression directions, added before skinning as in FLAME. Pose correctives depend on joints, which glTF
cannot express. Without the jaw's, an opened mouth is off by millimetres, so where the head has the direction `jawOpen`,
which opens the mouth to the same shape as joint and corrective, the animation opens it by that. Expressions move
FLAME's joints a little: the nodes' translations carry it. (Of FLAME's files all correctives are left out.)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from avatar.animation.expressions import jaw_open_angle
from avatar.base.files import write_bytes
from avatar.base.provenance import PROGRAM, provenance
from avatar.export.appearance import SKIN, Appearance
from avatar.export.gltf import INDICES, VERTICES, Buffer, glb
from avatar.flame.assets import JOINT_NAMES
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.meshes import vertex_normals
from avatar.geometry.rotations import matrix_to_axis_angle
from avatar.media.images import png_bytes

if TYPE_CHECKING:
    from avatar.export.clip import Clip
    from avatar.flame.assets import HeadAsset

SMALLEST = 1e-6
"""Metres: smaller motions of a joint in its parent are left out."""
LINEAR_FILTER, MIPMAPS, CLAMP = 9729, 9987, 33071
ROUGHNESS = 0.7
MOST_WEIGHTS = 4


class Layout(NamedTuple):
    """The mesh as glTF needs it: a vertex for each pair of position and place in the texture that a face uses."""

    vertex: np.ndarray
    """`[P]` index of the head's vertex."""
    uv: np.ndarray | None
    """`[P, 2]` float32, v downwards."""
    faces: np.ndarray
    """`[F, 3]` into P."""


def write_glb(path: Path, clip: Clip, identity: HeadParameters, asset: HeadAsset, appearance: Appearance) -> Path:
    """Write the head of `identity` (its `shape` and `static_offset`) with a clip's performance as `path`.

    The mesh is in metres, y up, the face towards +z; the clip moves it in the avatar's world. Raises OutputError where
    the file cannot be written.
    """
    return write_bytes(path, head_glb(clip, identity, asset, appearance))


def head_glb(clip: Clip, identity: HeadParameters, asset: HeadAsset, appearance: Appearance) -> bytes:
    """The bytes that `write_glb` writes."""
    params = replace(clip.params, shape=identity.shape, static_offset=identity.static_offset).detach().to("cpu")
    params = opened_by_direction(params, asset)
    base = base_vertices(params, asset)
    joints = (asset.joint_regressor.astype(np.float64) @ base).astype(np.float32)
    names, directions = list(asset.expression_names), asset.exprdirs.transpose(2, 0, 1).astype(np.float32)
    layout = split_at_seams(asset)
    buffer = Buffer()
    attributes = _attributes(buffer, base, layout, asset, appearance)
    targets = _targets(buffer, base, directions, layout, asset)
    faces = layout.faces.astype(np.uint16 if len(layout.vertex) < 2**16 - 1 else np.uint32)
    primitive = {"attributes": attributes, "indices": buffer.accessor(faces.reshape(-1), INDICES)}
    primitive |= {"material": 0, "targets": targets, "mode": 4}
    mesh = {"name": asset.name, "primitives": [primitive], "weights": [0.0] * len(names)}
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    inverse[:, :3, 3] = -joints
    first = 1  # node 0 carries the mesh, the joints follow
    skin = {"name": "head", "joints": [first + i for i in range(len(joints))], "skeleton": first}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": f"{PROGRAM} {provenance()['version']}", "extras": provenance()},
        "scene": 0,
        "scenes": [{"name": "avatar", "nodes": [0, first]}],
        "nodes": [{"name": "head", "mesh": 0, "skin": 0}, *joint_nodes(joints, asset.parents, first)],
        "meshes": [mesh | {"extras": {"targetNames": names}}],
        "skins": [skin | {"inverseBindMatrices": buffer.accessor(inverse)}],
        "animations": [animation(buffer, params, clip.times, joints, asset, first)],
    }
    return glb(document | _material(buffer, appearance), buffer)


def base_vertices(params: HeadParameters, asset: HeadAsset) -> np.ndarray:
    """The person's vertices `[V, 3]` at rest, metres, float64."""
    shaped = asset.template + asset.shapedirs.astype(np.float64) @ params.shape.double().numpy()
    return shaped if params.static_offset is None else shaped + params.static_offset.double().numpy()


def opened_by_direction(params: HeadParameters, asset: HeadAsset) -> HeadParameters:
    """The same frames with the jaw opened by the direction `jawOpen` instead of its joint, where the head has it."""
    if "jawOpen" not in asset.expression_names:
        return params
    expr, jaw = params.expr.clone(), params.jaw.clone()
    expr[:, asset.expression_index("jawOpen")] += jaw[:, 0] / jaw_open_angle(asset)
    jaw[:, 0] = 0
    return replace(params, expr=expr, jaw=jaw)


def split_at_seams(asset: HeadAsset) -> Layout:
    """The vertices that faces use, one for each place in the texture."""
    faces = asset.faces.astype(np.int64)
    if asset.uv is None or asset.uv_faces is None:
        used, corners = np.unique(faces, return_inverse=True)
        return Layout(used, None, corners.reshape(faces.shape))
    pairs = np.stack([faces.ravel(), asset.uv_faces.ravel().astype(np.int64)], 1)
    unique, corners = np.unique(pairs, axis=0, return_inverse=True)
    uv = asset.uv[unique[:, 1]].astype(np.float32)
    return Layout(unique[:, 0], np.stack([uv[:, 0], 1 - uv[:, 1]], 1), corners.reshape(faces.shape))


def top_weights(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The four largest of skinning weights `[P, J]`: joints `[P, 4]` uint8 and weights `[P, 4]` float32 that sum to
    one; a joint without weight is 0."""
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :MOST_WEIGHTS]
    chosen = np.take_along_axis(weights, joints, 1).astype(np.float64)
    chosen = (chosen / chosen.sum(1, keepdims=True)).astype(np.float32)
    return np.where(chosen > 0, joints, 0).astype(np.uint8), chosen


def joint_nodes(joints: np.ndarray, parents: tuple[int, ...], first: int) -> list[dict[str, Any]]:
    """Nodes of the joints at rest positions `[J, 3]`; the node of joint i has the index `first` + i."""
    nodes: list[dict[str, Any]] = []
    for index, parent in enumerate(parents):
        offset = joints[index] - (joints[parent] if parent >= 0 else 0)
        node: dict[str, Any] = {"name": JOINT_NAMES[index], "translation": offset.astype(np.float32).tolist()}
        children = [first + child for child, above in enumerate(parents) if above == index]
        nodes.append(node | ({"children": children} if children else {}))
    return nodes


def animation(
    buffer: Buffer,
    params: HeadParameters,
    times: np.ndarray,
    joints: np.ndarray,
    asset: HeadAsset,
    first: int,
) -> dict[str, Any]:
    """The animation `clip`: rotations and, where they move, translations of the joints, and the morph weights."""
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
        channel(first + index, "rotation", quaternions(rotations))
        places = local[:, index, :3, 3]
        if index == 0 or np.ptp(places, axis=0).max() > SMALLEST:
            channel(first + index, "translation", places)
    channel(0, "weights", params.expr.double().numpy().reshape(-1))
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


def _attributes(
    buffer: Buffer, base: np.ndarray, layout: Layout, asset: HeadAsset, appearance: Appearance
) -> dict[str, int]:
    normals = vertex_normals(torch.as_tensor(base), torch.as_tensor(asset.faces)).numpy()
    normals = np.where(np.linalg.norm(normals, axis=1, keepdims=True) > 0.5, normals, [0.0, 0.0, 1.0])
    joints, weights = top_weights(asset.weights[layout.vertex])
    attributes = {
        "POSITION": buffer.accessor(base[layout.vertex].astype(np.float32), VERTICES, bounds=True),
        "NORMAL": buffer.accessor(normals[layout.vertex].astype(np.float32), VERTICES),
        "JOINTS_0": buffer.accessor(joints, VERTICES),
        "WEIGHTS_0": buffer.accessor(weights, VERTICES),
    }
    if layout.uv is not None:
        attributes["TEXCOORD_0"] = buffer.accessor(layout.uv, VERTICES)
    if appearance.colours is not None:
        attributes["COLOR_0"] = buffer.accessor(appearance.colours[layout.vertex].astype(np.float32), VERTICES)
    return attributes


def _targets(
    buffer: Buffer, base: np.ndarray, directions: np.ndarray, layout: Layout, asset: HeadAsset
) -> list[dict[str, int]]:
    faces = torch.as_tensor(asset.faces)
    rest = vertex_normals(torch.as_tensor(base), faces)
    targets = []
    for offset in directions:
        change = (vertex_normals(torch.as_tensor(base + offset), faces) - rest).numpy()
        targets.append(
            {
                "POSITION": buffer.accessor(offset[layout.vertex], VERTICES, bounds=True),
                "NORMAL": buffer.accessor(change[layout.vertex].astype(np.float32), VERTICES),
            }
        )
    return targets


def _material(buffer: Buffer, appearance: Appearance) -> dict[str, Any]:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": ROUGHNESS}
    parts: dict[str, Any] = {}
    if appearance.texture is not None:
        data = buffer.view(png_bytes(appearance.texture, synthetic=True))
        surface["baseColorTexture"] = {"index": 0}
        parts["images"] = [{"name": "albedo", "bufferView": data, "mimeType": "image/png"}]
        parts["samplers"] = [{"magFilter": LINEAR_FILTER, "minFilter": MIPMAPS, "wrapS": CLAMP, "wrapT": CLAMP}]
        parts["textures"] = [{"source": 0, "sampler": 0}]
    elif appearance.colours is None:
        surface["baseColorFactor"] = [*SKIN, 1.0]
    material = {"name": "skin", "pbrMetallicRoughness": surface, "doubleSided": True}
    return parts | {"materials": [material]}
