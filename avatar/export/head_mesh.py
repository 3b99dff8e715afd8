"""A person's head at rest as the parts of a glTF file: mesh, skin, joints, morph targets, material.

The person's identity is baked into the mesh: base = template + shape + static offset, joints likewise. Morph targets
are the head's expression directions, added before skinning as in FLAME.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from avatar.base.provenance import PROGRAM, provenance
from avatar.export.appearance import SKIN, Appearance
from avatar.export.gltf import INDICES, VERTICES, Buffer
from avatar.flame.assets import JOINT_NAMES
from avatar.geometry.meshes import vertex_normals
from avatar.media.images import png_bytes

if TYPE_CHECKING:
    from avatar.flame.assets import HeadAsset
    from avatar.flame.model import HeadParameters

LINEAR_FILTER, MIPMAPS, CLAMP = 9729, 9987, 33071
ROUGHNESS = 0.7
MOST_WEIGHTS = 4
MESH_NODE, FIRST_JOINT = 0, 1
"""The node that carries the mesh; the joints follow it."""


class HeadFile(NamedTuple):
    """A head that waits for what a format adds."""

    document: dict[str, Any]
    """glTF without `buffers`, `bufferViews` and `accessors`."""
    buffer: Buffer
    joints: np.ndarray
    """`[J, 3]` float32, metres, at rest; joint i is node `FIRST_JOINT` + i."""


class Layout(NamedTuple):
    """The mesh as glTF needs it: a vertex for each pair of position and place in the texture that a face uses."""

    vertex: np.ndarray
    """`[P]` index of the head's vertex."""
    uv: np.ndarray | None
    """`[P, 2]` float32, v downwards."""
    faces: np.ndarray
    """`[F, 3]` into P."""


def head_file(base: np.ndarray, asset: HeadAsset, appearance: Appearance) -> HeadFile:
    """The head whose vertices at rest are `base` `[V, 3]`, metres, y up, the face towards +z."""
    joints = joints_of(base, asset)
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
    skin = {"name": "head", "joints": [FIRST_JOINT + i for i in range(len(joints))], "skeleton": FIRST_JOINT}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": f"{PROGRAM} {provenance()['version']}", "extras": provenance()},
        "scene": 0,
        "scenes": [{"name": "avatar", "nodes": [MESH_NODE, FIRST_JOINT]}],
        "nodes": [{"name": "head", "mesh": 0, "skin": 0}, *joint_nodes(joints, asset.parents)],
        "meshes": [mesh | {"extras": {"targetNames": names}}],
        "skins": [skin | {"inverseBindMatrices": buffer.accessor(inverse)}],
    }
    return HeadFile(document | _material(buffer, appearance), buffer, joints)


def joints_of(base: np.ndarray, asset: HeadAsset) -> np.ndarray:
    """The joints `[J, 3]` float32 of a person with vertices `base` `[V, 3]`, metres."""
    return (asset.joint_regressor.astype(np.float64) @ base).astype(np.float32)


def base_vertices(params: HeadParameters, asset: HeadAsset) -> np.ndarray:
    """The person's vertices `[V, 3]` at rest, metres, float64."""
    shaped = asset.template + asset.shapedirs.astype(np.float64) @ params.shape.double().numpy()
    return shaped if params.static_offset is None else shaped + params.static_offset.double().numpy()


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


def joint_nodes(joints: np.ndarray, parents: tuple[int, ...]) -> list[dict[str, Any]]:
    """Nodes of the joints at rest positions `[J, 3]`."""
    nodes: list[dict[str, Any]] = []
    for index, parent in enumerate(parents):
        offset = joints[index] - (joints[parent] if parent >= 0 else 0)
        node: dict[str, Any] = {"name": JOINT_NAMES[index], "translation": offset.astype(np.float32).tolist()}
        children = [FIRST_JOINT + child for child, above in enumerate(parents) if above == index]
        nodes.append(node | ({"children": children} if children else {}))
    return nodes


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
