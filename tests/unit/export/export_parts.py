"""A performance of the open head with known contents, and a reader of .glb files that poses them as a viewer does."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.flame.model import HeadParameters

FRAMES = 8


def performance(asset, frames: int = FRAMES, *, jaw: float = 0.0) -> HeadParameters:
    """A person with a shape and an offset of its own who moves everything but, unless asked, the jaw."""
    generator = torch.Generator().manual_seed(3)

    def noise(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator)

    params = HeadParameters.neutral(asset, frames)
    params.shape[:] = 0.5 * noise(asset.shape_count)
    params.static_offset = 1e-3 * noise(asset.vertex_count, 3)
    params.expr[:] = torch.rand(params.expr.shape, generator=generator) * 0.5
    for name, size in (("rotation", 0.3), ("translation", 0.05), ("neck", 0.1), ("eyes", 0.2)):
        getattr(params, name)[:] = size * noise(*getattr(params, name).shape)
    params.jaw[:, 0] = jaw * torch.linspace(0, 1, frames)
    return params


class Glb:
    """A parsed .glb: its document and the arrays of its accessors."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        self.magic, self.version, self.length = struct.unpack_from("<4sII", data)
        self.size = len(data)
        self.chunks = []
        at = 12
        while at < len(data):
            length, kind = struct.unpack_from("<I4s", data, at)
            self.chunks.append((kind, data[at + 8 : at + 8 + length]))
            at += 8 + length
        self.document = json.loads(self.chunks[0][1])
        self.binary = self.chunks[1][1]

    def array(self, index: int) -> np.ndarray:
        accessor = self.document["accessors"][index]
        view = self.document["bufferViews"][accessor["bufferView"]]
        kind = {5126: "<f4", 5121: "u1", 5123: "<u2", 5125: "<u4"}[accessor["componentType"]]
        shape = {"SCALAR": (), "VEC2": (2,), "VEC3": (3,), "VEC4": (4,), "MAT4": (4, 4)}[accessor["type"]]
        count = accessor["count"] * int(np.prod(shape))
        found = np.frombuffer(self.binary, kind, count, view["byteOffset"]).reshape(accessor["count"], *shape)
        return found.transpose(0, 2, 1) if shape == (4, 4) else found

    @property
    def primitive(self) -> dict[str, Any]:
        return self.document["meshes"][0]["primitives"][0]

    def posed(self, frame: int) -> np.ndarray:
        """Vertices `[P, 3]` of a frame of the animation, as any viewer computes them."""
        nodes = [dict(node) for node in self.document["nodes"]]
        weights = np.zeros(len(self.primitive["targets"]))
        clip = self.document["animations"][0]
        for channel in clip["channels"]:
            values = self.array(clip["samplers"][channel["sampler"]]["output"])
            node, path = channel["target"]["node"], channel["target"]["path"]
            if path == "weights":
                weights = values.reshape(-1, len(weights))[frame]
            else:
                nodes[node][path] = values[frame]
        vertices = self.array(self.primitive["attributes"]["POSITION"]).astype(np.float64)
        for weight, target in zip(weights, self.primitive["targets"], strict=True):
            vertices = vertices + weight * self.array(target["POSITION"])
        world = {}

        def visit(index: int, above: np.ndarray) -> None:
            local = np.eye(4)
            local[:3, :3] = quaternion_matrix(np.asarray(nodes[index].get("rotation", (0, 0, 0, 1)), np.float64))
            local[:3, 3] = nodes[index].get("translation", (0, 0, 0))
            world[index] = above @ local
            for child in nodes[index].get("children", ()):
                visit(child, world[index])

        for root in self.document["scenes"][self.document["scene"]]["nodes"]:
            visit(root, np.eye(4))
        skin = self.document["skins"][0]
        inverse = self.array(skin["inverseBindMatrices"])
        moves = np.stack([world[joint] @ inverse[i] for i, joint in enumerate(skin["joints"])])
        joints = self.array(self.primitive["attributes"]["JOINTS_0"])
        shares = self.array(self.primitive["attributes"]["WEIGHTS_0"])
        blended = (shares[..., None, None] * moves[joints]).sum(1)
        return np.einsum("pij,pj->pi", blended[:, :3, :3], vertices) + blended[:, :3, 3]


def quaternion_matrix(q: np.ndarray) -> np.ndarray:
    x, y, z, w = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
