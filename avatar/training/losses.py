"""The losses of training, as pure functions. The paper does not publish its weights; ours are in `LossConfig`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def photometric(rendered: Tensor, truth: Tensor, delta: float) -> Tensor:
    """Huber loss of colours `[R, 3]`, scaled so that small errors count as the mean squared error does."""
    return 2 * F.huber_loss(rendered, truth, delta=delta)


def opacity_loss(opacity: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of rendered opacities `[R]` and the person's mask `[R]`, both in [0, 1]."""
    return F.mse_loss(opacity, mask)


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
