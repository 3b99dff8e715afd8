"""The losses of training, as pure functions. The paper does not publish its weights; ours are in `LossConfig`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def photometric(rendered: Tensor, truth: Tensor, delta: float) -> Tensor:
    """Huber loss of colours `[R, 3]`, scaled so that small errors count as the mean squared error does."""
    return 2 * F.huber_loss(rendered, truth, delta=delta)


def opacity_loss(opacity: Tensor, matte: Tensor) -> Tensor:
    """Mean squared difference of rendered opacity `[R]` and matte `[R]`: keeps the plate's colours out of the field."""
    return F.mse_loss(opacity, matte)


def opacity_entropy(opacity: Tensor) -> Tensor:
    """Binary entropy of opacities `[R]` in nats: low where rays are either empty or full."""
    p = opacity.clamp(1e-4, 1 - 1e-4)
    return -(p * p.log() + (1 - p) * (1 - p).log()).mean()


def vertex_loss(translations: Tensor) -> Tensor:
    """L1 of the deformation field at FLAME's vertices: `[P, 3]` metres, mean length per axis in centimetres."""
    return 100 * translations.abs().mean()


def code_loss(codes: Tensor) -> Tensor:
    """Mean squared length of codes `[B, C]`."""
    return codes.square().sum(-1).mean()


def pose_loss(pose: Tensor) -> Tensor:
    """Squared size of pose corrections `[B, 6]` (axis-angle in radians, metres) in degrees and millimetres.

    Their mean over the frames is punished as well: it belongs to the canonical space, not to the frames.
    """
    units = pose.new_tensor([180 / torch.pi] * 3 + [1000.0] * 3)
    return (pose * units).square().mean()


def distortion(weights: Tensor, depth: Tensor, spacing: Tensor, ray: Tensor, rays: int) -> Tensor:
    """Mean distortion of mip-NeRF 360 (Barron et al. 2022, equation 15) of packed samples, in centimetres.

    sum_ij w_i w_j |z_i - z_j| + 1/3 sum_i w_i^2 d_i per ray, in O(M): with samples sorted by depth the double sum is
    2 sum_i w_i (z_i W_i - Z_i), where W_i and Z_i are the sums of w_j and w_j z_j over j < i on the ray.
    """
    w, z = weights.double(), depth.double()
    counts = torch.bincount(ray, minlength=rays)
    first = (torch.cumsum(counts, 0) - counts)[ray]

    def before(values: Tensor) -> Tensor:
        exclusive = torch.cumsum(values, 0) - values
        return exclusive - exclusive[first]

    pairs = 2 * w * (z * before(w) - before(w * z))
    own = w.square() * spacing.double() / 3
    return (100 * (pairs + own).sum() / max(rays, 1)).to(weights.dtype)
