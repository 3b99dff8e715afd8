"""Scans whose answer is known: the open head with a shape of its own, in another unit and turned."""

from __future__ import annotations

import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from capture_tools.scan.scan import Scan, apply

OUTSIDE = ("mouth_interior", "teeth", "tongue", "eye_sockets")


def known_head(asset: HeadAsset, seed: int = 3) -> tuple[HeadParameters, np.ndarray]:
    """Parameters and vertices `[V, 3]` of a person, mouth a little open."""
    params = HeadParameters.neutral(asset)
    shape = np.random.default_rng(seed).normal(0, 0.8, asset.shape_count) * (np.arange(asset.shape_count) < 30)
    params.shape = torch.tensor(shape, dtype=torch.float32)
    params.jaw[0, 0] = 0.06
    with torch.no_grad():
        return params, HeadModel(asset)(params).vertices[0].double().numpy()


def scan_of(asset: HeadAsset, vertices: np.ndarray) -> Scan:
    """The head's outer surface as a scan: finer triangles than the head's own, without the inside of the mouth."""
    inside = np.any([asset.regions[name] for name in OUTSIDE], axis=0)
    faces = asset.faces[~inside[asset.faces].any(1)].astype(np.int64)
    corners = vertices[faces]
    middle = (corners + np.roll(corners, -1, axis=1)) / 2  # of ab, bc, ca
    points = np.concatenate([corners, middle], 1).reshape(-1, 3)
    pattern = np.array([[0, 3, 5], [3, 1, 4], [5, 4, 2], [3, 4, 5]])
    return Scan("known", points, (6 * np.arange(len(faces))[:, None, None] + pattern).reshape(-1, 3))


def similarity(scale: float, seed: int = 0) -> np.ndarray:
    """A similarity `[4, 4]` with some rotation and offset."""
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    transform = np.eye(4)
    transform[:3, :3] = scale * rotation * np.sign(np.linalg.det(rotation))
    transform[:3, 3] = [3 * scale, -scale, 2 * scale]
    return transform


def ibug_of(asset: HeadAsset, vertices: np.ndarray) -> np.ndarray:
    """iBUG's landmarks `[68, 3]` on vertices."""
    corners = asset.faces[asset.ibug_faces]
    return (vertices[corners] * asset.ibug_barycentrics[..., None]).sum(1)


__all__ = ["apply", "ibug_of", "known_head", "scan_of", "similarity"]
