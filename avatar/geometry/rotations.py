"""Rotations as axis-angle vectors and matrices; batched, differentiable, safe at zero."""

from __future__ import annotations

import torch
from torch import Tensor

SMALL_ANGLE = 1e-2
"""Radians; below it power series are used, whose kept terms are exact to float64 rounding."""


def skew(v: Tensor) -> Tensor:
    """The cross-product matrices `[..., 3, 3]` of vectors `[..., 3]`: skew(a) @ b = a x b."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def axis_angle_to_matrix(v: Tensor) -> Tensor:
    """Rotation matrices `[..., 3, 3]` from axis-angle vectors `[..., 3]` in radians (Rodrigues' formula).

    Value, first and second derivatives are finite at the zero vector.
    """
    squared = (v * v).sum(-1)
    small = squared < SMALL_ANGLE**2
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6 * (1 - squared / 20 * (1 - squared / 42)), angle.sin() / angle)
    # (1 - cos a) / a^2 as half the square of sin(a/2) / (a/2): no cancellation in float32
    half = torch.sin(0.5 * angle) / angle
    cosine = torch.where(small, 0.5 - squared / 24 * (1 - squared / 30 * (1 - squared / 56)), 2 * half * half)
    k = skew(v)
    eye = torch.eye(3, dtype=v.dtype, device=v.device)
    return eye + sine[..., None, None] * k + cosine[..., None, None] * (k @ k)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Axis-angle vectors `[..., 3]`, of length 0 to pi, from rotation matrices `[..., 3, 3]`.

    The quaternion is recovered from its largest component, so the result is well conditioned from the identity up to
    an angle of pi. The gradient is finite at the identity.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    # 4 q_i^2 for i = w, x, y, z; the rows below are 4 q_i * (w, x, y, z)
    squares = torch.stack([1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], dim=-1)
    rows = torch.stack(
        [
            torch.stack([squares[..., 0], m21 - m12, m02 - m20, m10 - m01], dim=-1),
            torch.stack([m21 - m12, squares[..., 1], m10 + m01, m02 + m20], dim=-1),
            torch.stack([m02 - m20, m10 + m01, squares[..., 2], m21 + m12], dim=-1),
            torch.stack([m10 - m01, m02 + m20, m21 + m12, squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(-1, keepdim=True)
    row = rows.gather(-2, best[..., None].expand(*best.shape, 4)).squeeze(-2)
    quaternion = row / (2 * squares.gather(-1, best).sqrt())
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, axis = quaternion[..., 0], quaternion[..., 1:]
    squared = (axis * axis).sum(-1)
    small = squared < SMALL_ANGLE**2
    length = torch.where(small, torch.ones_like(squared), squared).sqrt()
    ratio = squared / (w * w).clamp_min(0.5)  # tan^2 of half the angle; only read where it is small
    series = 2 / w.clamp_min(0.5) * (1 - ratio / 3 * (1 - ratio * 3 / 5 * (1 - ratio * 5 / 7)))
    scale = torch.where(small, series, 2 * torch.atan2(length, w) / length)
    return scale[..., None] * axis


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotation `[3, 3]` nearest to a matrix `[3, 3]` (Frobenius norm, by SVD); of a sum, the mean."""
    u, _, vt = torch.linalg.svd(matrix)
    flip = torch.ones(3, dtype=u.dtype, device=u.device)
    flip[2] = torch.sign(torch.linalg.det(u @ vt))
    return u @ torch.diag(flip) @ vt


def slerp(first: Tensor, second: Tensor, share: Tensor | float) -> Tensor:
    """Interpolation between rotations `[..., 3, 3]` along the shortest arc; `share` in [0, 1], scalar or `[..., 1]`."""
    difference = matrix_to_axis_angle(second @ first.mT)
    return axis_angle_to_matrix(share * difference) @ first


def yaw_of(v: Tensor) -> Tensor:
    """Radians `[...]` by which axis-angle vectors `[..., 3]` turn a head that looks along z towards its left, +x."""
    forward = axis_angle_to_matrix(v)[..., 2]
    return torch.atan2(forward[..., 0], forward[..., 2])
