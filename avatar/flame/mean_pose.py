"""A person at rest: the mean head pose of a clip, without expression."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from avatar.flame.model import HeadParameters
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, nearest_rotation


def mean_pose(params: HeadParameters) -> HeadParameters:
    """One frame (N = 1) with the mean head pose and the median gaze of N frames, and no expression."""
    rest = params.select(torch.tensor([0]))
    return replace(
        rest,
        expr=torch.zeros_like(rest.expr),
        jaw=torch.zeros_like(rest.jaw),
        rotation=matrix_to_axis_angle(mean_rotation(params.rotation))[None],
        neck=matrix_to_axis_angle(mean_rotation(params.neck))[None],
        translation=params.translation.mean(0, keepdim=True),
        eyes=params.eyes.median(0, keepdim=True).values,
    )


def mean_rotation(axis_angles: Tensor) -> Tensor:
    """Chordal mean of axis-angles `[N, 3]`: the rotation `[3, 3]` nearest to the mean of their matrices, by SVD."""
    return nearest_rotation(axis_angle_to_matrix(axis_angles).mean(0))
