"""The bias of MediaPipe's landmarks: their mean displacement off the surface point of the embedding.

Seen from the side, a detected landmark moves as if it lay some millimetres before or behind the skin, because the
detector's shape prior pulls it. A tracker without this bias explains the difference by shape and pose. It is measured
here on many heads of known geometry, as one translation per landmark in the head's rest pose; the tracker adds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from avatar.base.conventions import LANDMARK_COUNT
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters, landmark_vertices
from avatar.geometry.cameras import Camera

EXTRA = "mediapipe_bias"
"""Name of the array among a head's extras."""
PRIOR = 0.007
"""Metres: standard deviation of a bias; few views constrain its depth."""
NOISE = 0.001
"""Metres: noise of a single detection."""
ROBUST = 0.0025
"""Metres: errors well above this count linearly, not squared."""
ROUNDS = 5


def bias_of(asset: HeadAsset) -> Tensor:
    """`[478, 3]` metres in the rest pose; zeros for a head whose bias was never measured."""
    stored = asset.extras.get(EXTRA)
    return torch.zeros(LANDMARK_COUNT, 3) if stored is None else torch.as_tensor(stored, dtype=torch.float32)


def with_bias(asset: HeadAsset, bias: np.ndarray) -> HeadAsset:
    """A copy of `asset` that carries the bias `[478, 3]`."""
    return replace(asset, extras=asset.extras | {EXTRA: np.asarray(bias, np.float32)})


@torch.no_grad()
def measure_bias(
    asset: HeadAsset, params: Sequence[HeadParameters], cameras: Sequence[Camera], pixels: np.ndarray
) -> np.ndarray:
    """The bias `[478, 3]` (metres, rest pose) that brings embedded landmarks of known heads closest to detections.

    Args:
        asset: a head with a landmark embedding.
        params: one frame each, K of them.
        cameras: K cameras, in the world of the heads.
        pixels: `[K, 478, 2]` detections.

    Reweighted linear least squares on the projections (Huber), with a Gaussian prior on the bias.
    """
    model = HeadModel(asset, landmark_vertices(asset))
    corners = torch.as_tensor(asset.faces[asset.mediapipe_faces]).long()
    weights = (torch.as_tensor(asset.weights)[corners] * torch.as_tensor(asset.mediapipe_barycentrics)[..., None]).sum(
        1
    )
    slopes, residuals = [], []
    for frame, camera, found in zip(params, cameras, pixels, strict=True):
        posed = model(frame)
        rotation = torch.einsum("kj,jab->kab", weights, posed.world_from_joint[0, :, :3, :3]).double().numpy()
        points = model.landmarks(posed.vertices)[0].double().numpy()
        projection = camera.intrinsics() @ camera.cam_from_world[:3]
        seen = points @ projection[:, :3].T + projection[:, 3]
        pixel = seen[:, :2] / seen[:, 2:]
        slope = (projection[:2, :3] - pixel[..., None] * projection[2, :3]) / seen[:, 2, None, None]
        scale = seen[:, 2].mean() / camera.fl_x  # metres per pixel
        slopes.append(scale * slope @ rotation)
        residuals.append(scale * (found - pixel))
    slope, residual = np.stack(slopes), np.stack(residuals)
    weight = np.ones(residual.shape[:2])
    for _ in range(ROUNDS):
        normal = np.einsum("nk,nkia,nkib->kab", weight, slope, slope) + (NOISE / PRIOR) ** 2 * np.eye(3)
        right = np.einsum("nk,nkia,nki->ka", weight, slope, residual)
        bias = np.linalg.solve(normal, right[..., None])[..., 0]
        left = np.linalg.norm(residual - np.einsum("nkia,ka->nki", slope, bias), axis=-1)
        weight = 1 / np.maximum(1, left / ROBUST)
    return bias.astype(np.float32)
