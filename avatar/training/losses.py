"""The losses of training, as pure functions. The paper does not publish its weights; ours are in `LossConfig`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def photometric(rendered: Tensor, truth: Tensor, delta: float) -> Tensor:
    """Huber loss of colours `[R, 3]`, scaled so that small errors count as the mean squared error does."""
    return 2 * F.huber_loss(rendered, truth, delta=delta)


def dssim(rendered: Tensor, truth: Tensor, side: int) -> Tensor:
    """Structural dissimilarity (1 - SSIM) / 2 of patches `[P, side * side, 3]` in [0, 1] (Wang et al. 2004).

    Windows of 5 x 5 pixels with equal weights, where they lie inside the patch.
    """
    a, b = (part.view(-1, side, side, 3).permute(0, 3, 1, 2) for part in (rendered, truth))
    mean_a, mean_b = F.avg_pool2d(a, 5, 1), F.avg_pool2d(b, 5, 1)
    variance_a = F.avg_pool2d(a * a, 5, 1) - mean_a**2
    variance_b = F.avg_pool2d(b * b, 5, 1) - mean_b**2
    covariance = F.avg_pool2d(a * b, 5, 1) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
    likeness = likeness / ((mean_a**2 + mean_b**2 + 1e-4) * (variance_a + variance_b + 9e-4))
    return (1 - likeness).mean() / 2


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
