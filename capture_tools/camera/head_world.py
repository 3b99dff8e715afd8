"""The world frame of a moving camera: metric, with the tracked head upright and almost still in it.

Structure from motion gives the camera trajectory up to a similarity transform; tracking gives the head's pose before
each camera in metres. Together they fix rotation, translation and scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avatar.base.errors import InputError
from avatar.geometry.rotations import nearest_rotation

DEPTH_NOISE = 4.0
"""Standard deviation of a tracked head's depth over that of its position across the picture."""
ROUNDS = 20
HEAD_MOTION = 0.01
"""Metres of a head's own motion below which residuals count in full."""
MINIMAL_TRAVEL = 0.02
"""Metres that the camera must move for the head to tell the scale."""


@dataclass(frozen=True)
class HeadWorld:
    """Cameras and heads of N frames in FLAME's world: metres, the mean head upright (y up, looking along +z)."""

    world_from_cam: np.ndarray
    """`[N, 4, 4]` float64, OpenCV axes."""
    world_from_head: np.ndarray
    """`[N, 4, 4]` float64: the heads, unchanged as seen by these cameras."""
    scale: float
    """Metres per unit of the trajectory that was given."""


def align_to_head(path: np.ndarray, cam_from_head: np.ndarray) -> HeadWorld:
    """Carry cameras and tracked heads into a metric world in which the head stands almost still.

    path: `[N, 4, 4]` `world_from_cam`, the camera trajectory at any scale. cam_from_head: `[N, 4, 4]` rigid poses of
    the head in each camera's frame (OpenCV axes, metres); the head rotates about the origin of its own axes.

    The scale is the one at which the head's positions agree best over the clip. Depth is tracked worst, so residuals
    along the view count less, and so do frames in which the head has moved (Cauchy's weights). The head's mean
    rotation becomes the identity and its mean position the origin.
    Raises InputError where the shapes differ or the camera moves too little to be measured.
    """
    path, cam_from_head = np.asarray(path, np.float64), np.asarray(cam_from_head, np.float64)
    if path.shape != cam_from_head.shape or path.shape[1:] != (4, 4) or len(path) < 2:
        raise InputError(
            "the camera trajectory and the heads before it do not fit each other",
            expected="[N, 4, 4] each, N >= 2",
            found=f"{path.shape} and {cam_from_head.shape}",
        )
    camera_rotations, centres = path[:, :3, :3], path[:, :3, 3]
    positions = cam_from_head[:, :3, 3]
    scale = _scale(camera_rotations, centres - centres.mean(0), positions)
    if scale * np.linalg.norm(np.ptp(centres, axis=0)) < MINIMAL_TRAVEL:
        raise InputError("the head does not tell how far the camera moved", found=f"a scale of {scale:.2g}")
    head_rotations = camera_rotations @ cam_from_head[:, :3, :3]
    upright = nearest_rotation(torch.from_numpy(head_rotations.sum(0))).numpy().T
    heads = scale * centres + np.einsum("nij,nj->ni", camera_rotations, positions)
    world_from_cam, world_from_head = np.tile(np.eye(4), (2, len(path), 1, 1))
    world_from_cam[:, :3, :3] = upright @ camera_rotations
    world_from_head[:, :3, :3] = upright @ head_rotations
    mean = heads.mean(0)
    world_from_cam[:, :3, 3] = (scale * centres - mean) @ upright.T
    world_from_head[:, :3, 3] = (heads - mean) @ upright.T
    return HeadWorld(world_from_cam, world_from_head, scale)


def _scale(camera_rotations: np.ndarray, centres: np.ndarray, positions: np.ndarray) -> float:
    """Metres per unit: reweighted least squares over the scale s and the head's one position.

    In the camera's frame, `positions + camera_rotations^T (s centres - head)` is zero for a head that stands still.
    """
    back = np.swapaxes(camera_rotations, 1, 2)
    # Whitens the residuals: along the view they are DEPTH_NOISE times as noisy as across the picture.
    view = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    along = view[:, :, None] * view[:, None, :]
    sharpen = np.eye(3) - (1 - 1 / DEPTH_NOISE) * along
    design = sharpen @ np.concatenate([(back @ centres[:, :, None]), -back], axis=2)
    target = -(sharpen @ positions[:, :, None])[..., 0]
    weights = np.ones(len(positions))
    for _ in range(ROUNDS):
        root = np.sqrt(weights)[:, None]
        answer, *_ = np.linalg.lstsq((design * root[..., None]).reshape(-1, 4), (target * root).reshape(-1), rcond=None)
        residual = np.linalg.norm(np.einsum("nij,j->ni", design, answer) - target, axis=1)
        spread = max(float(np.median(residual)), HEAD_MOTION)
        weights = 1 / (1 + (residual / spread) ** 2)
    return float(answer[0])
