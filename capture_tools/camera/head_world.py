"""A world for a moving camera: the tracked head stands upright in it and hardly moves, and its lengths are metres.

Structure from motion gives the camera's way up to place, turn and scale; tracking gives the head before each camera in
metres. Together they fix all three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avatar.base.errors import InputError
from avatar.geometry.rotations import nearest_rotation

DEPTH_NOISE = 4.0
"""Standard deviation of a tracked head's distance over that of its place across the picture."""
ROUNDS = 20
HEAD_MOTION = 0.01
"""Metres of a head's own motion below which residuals count in full."""
MINIMAL_SCALE_WAY = 0.02
"""Metres that the camera has to move for its way to be measured by the head."""


@dataclass(frozen=True)
class HeadWorld:
    """Cameras and heads of N frames in FLAME's world: metres, the mean head upright (y up, looking along +z)."""

    world_from_cam: np.ndarray
    """`[N, 4, 4]` float64, OpenCV axes."""
    world_from_head: np.ndarray
    """`[N, 4, 4]` float64: heads as the same cameras saw them before."""
    scale: float
    """Metres per unit of the camera's way as it was given."""


def align_to_head(path: np.ndarray, cam_from_head: np.ndarray) -> HeadWorld:
    """Carry cameras and tracked heads into a world in which the head stands almost still.

    path: `[N, 4, 4]` `world_from_cam` of any scale. cam_from_head: `[N, 4, 4]` rigid poses of the head before each
    camera (OpenCV axes, metres), the origin of the head's own axes being a point about which it turns.

    The scale is the one at which the head's places agree best over the clip. A head moves by itself and its distance
    is tracked worst, so residuals are weighed by direction, and frames in which the head is elsewhere count less
    (Cauchy's weights). The head's mean rotation becomes the identity and its mean place the origin.
    Raises InputError where the shapes differ or the camera moves too little to be measured.
    """
    path, cam_from_head = np.asarray(path, np.float64), np.asarray(cam_from_head, np.float64)
    if path.shape != cam_from_head.shape or path.shape[1:] != (4, 4) or len(path) < 2:
        raise InputError(
            "a camera's way and the heads before it do not fit each other",
            expected="[N, 4, 4] each, N >= 2",
            found=f"{path.shape} and {cam_from_head.shape}",
        )
    turns, centres = path[:, :3, :3], path[:, :3, 3]
    places = cam_from_head[:, :3, 3]
    scale = _scale(turns, centres - centres.mean(0), places)
    if scale * np.linalg.norm(np.ptp(centres, axis=0)) < MINIMAL_SCALE_WAY:
        raise InputError("the head does not tell how far the camera moved", found=f"a scale of {scale:.2g}")
    rotations = turns @ cam_from_head[:, :3, :3]
    upright = nearest_rotation(torch.from_numpy(rotations.sum(0))).numpy().T
    heads = scale * centres + np.einsum("nij,nj->ni", turns, places)
    world_from_cam, world_from_head = np.tile(np.eye(4), (2, len(path), 1, 1))
    world_from_cam[:, :3, :3] = upright @ turns
    world_from_head[:, :3, :3] = upright @ rotations
    middle = heads.mean(0)
    world_from_cam[:, :3, 3] = (scale * centres - middle) @ upright.T
    world_from_head[:, :3, 3] = (heads - middle) @ upright.T
    return HeadWorld(world_from_cam, world_from_head, scale)


def _scale(turns: np.ndarray, centres: np.ndarray, places: np.ndarray) -> float:
    """Metres per unit: least squares over scale and the head's one place, reweighted.

    In the camera's own axes `places + turns^T (s centres - head)` is zero for a head that stands still.
    """
    back = np.swapaxes(turns, 1, 2)
    # Across the picture and along the view; both in units of how far tracked heads are off.
    sight = places / np.linalg.norm(places, axis=1, keepdims=True)
    along = sight[:, :, None] * sight[:, None, :]
    sharpen = np.eye(3) - (1 - 1 / DEPTH_NOISE) * along
    design = sharpen @ np.concatenate([(back @ centres[:, :, None]), -back], axis=2)
    target = -(sharpen @ places[:, :, None])[..., 0]
    weights = np.ones(len(places))
    for _ in range(ROUNDS):
        root = np.sqrt(weights)[:, None]
        answer, *_ = np.linalg.lstsq((design * root[..., None]).reshape(-1, 4), (target * root).reshape(-1), rcond=None)
        residual = np.linalg.norm(np.einsum("nij,j->ni", design, answer) - target, axis=1)
        spread = max(float(np.median(residual)), HEAD_MOTION)
        weights = 1 / (1 + (residual / spread) ** 2)
    return float(answer[0])
