"""Training losses as pure functions, unweighted. Weights are in `LossConfig`; the paper does not publish its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def photometric(rendered: Tensor, truth: Tensor, delta: float) -> Tensor:
    """Twice the Huber loss of colours `[R, 3]`: squared error up to `delta`, linear beyond; mean over all values."""
    return 2 * F.huber_loss(rendered, truth, delta=delta)


def opacity_loss(opacity: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of rendered opacities `[R]` and mask values `[R]`, both in [0, 1]."""
    return F.mse_loss(opacity, mask)


def opacity_entropy(opacity: Tensor) -> Tensor:
    """Mean binary entropy of opacities `[R]` in nats, smallest for rays that are empty or opaque; clamped at 1e-4."""
    p = opacity.clamp(1e-4, 1 - 1e-4)
    return -(p * p.log() + (1 - p) * (1 - p).log()).mean()


def vertex_loss(translations: Tensor) -> Tensor:
    """L1 of translations `[P, 3]` (metres) of FLAME's vertices: mean absolute component, in centimetres."""
    return 100 * translations.abs().mean()


def code_loss(codes: Tensor) -> Tensor:
    """Mean squared norm of codes `[B, C]`."""
    return codes.square().sum(-1).mean()


def pose_loss(pose: Tensor) -> Tensor:
    """Mean square of the components of pose corrections `[B, 6]` (axis-angle in radians, translation in metres).

    Components count in degrees and millimetres. An offset common to all frames costs as much as any other correction;
    nothing else removes it.
    """
    units = pose.new_tensor([180 / torch.pi] * 3 + [1000.0] * 3)
    return (pose * units).square().mean()
