"""What a rendered frame holds besides its colours, as pictures for a compositing program: depth and alpha."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar.geometry.cameras import Camera, image_rays
from avatar.media.images import to_uint8

MILLIMETRES = 1000.0
FARTHEST = 65535
"""Millimetres that 16 bits hold."""
SEEN = 0.5
"""Steps of 8-bit alpha below which nobody is there."""


def depth_picture(distance: Tensor, opacity: Tensor, camera: Camera) -> np.ndarray:
    """uint16 `[H, W]`: millimetres along the camera's optical axis, 0 where nobody is (alpha 0).

    distance: `[H, W]` metres along each pixel's ray. opacity: `[H, W]` of the person.
    """
    _, directions = image_rays(camera, device=distance.device)
    pose = torch.as_tensor(camera.world_from_cam.copy(), dtype=directions.dtype, device=directions.device)
    ahead = directions @ pose[:3, 2]
    depth = (MILLIMETRES * distance.float() * ahead).round().clamp(1, FARTHEST)
    return torch.where(255 * opacity > SEEN, depth, 0).cpu().numpy().astype(np.uint16)


def alpha_picture(opacity: Tensor) -> np.ndarray:
    """uint8 `[H, W]`: the person's opacity `[H, W]`, 255 where nothing is seen behind."""
    return to_uint8(opacity.float().cpu().numpy())
