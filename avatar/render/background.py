"""The still background behind the person, seen from any camera.

For the camera that captured it, at any image size, it is the captured image itself. For others it is taken as painted
on a plane behind the head, square to the captured camera and mirrored at its edges: the room's true depth is unknown,
and a plane moves believably for the few degrees that a free view turns.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.geometry.cameras import Camera, image_rays, project

PLANE_BEHIND = 0.8
"""How far behind the world's origin, where the head is, the plane stands; metres."""


def background_view(background: Tensor, captured: Camera, camera: Camera) -> Tensor:
    """The background `[H, W, 3]` in [0, 1] of the camera `captured`, as `camera` sees it, in that camera's size."""
    if same_view(captured, camera) and (camera.width, camera.height) == (background.shape[1], background.shape[0]):
        return background
    origins, directions = image_rays(camera, device=background.device)
    forward = torch.as_tensor(captured.world_from_cam[:3, 2].copy(), dtype=background.dtype, device=background.device)
    position = torch.as_tensor(captured.position.copy(), dtype=background.dtype, device=background.device)
    distance = float(np.linalg.norm(captured.position)) + PLANE_BEHIND
    ahead = (directions * forward).sum(-1)
    # a ray that never meets the plane looks at its horizon
    along = (distance - ((origins - position) * forward).sum(-1)) / ahead.clamp_min(1e-2)
    pixels, _ = project(origins + directions * along.unsqueeze(-1), captured)
    size = torch.tensor([captured.width, captured.height], dtype=background.dtype, device=background.device)
    grid = (2 * pixels / size - 1).unsqueeze(0)
    image = background.permute(2, 0, 1).unsqueeze(0)
    seen = F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return seen[0].permute(1, 2, 0)


def same_view(a: Camera, b: Camera) -> bool:
    """Whether two cameras see the same picture, at whatever size."""
    lens_a = np.array([a.fl_x / a.width, a.fl_y / a.height, a.cx / a.width, a.cy / a.height])
    lens_b = np.array([b.fl_x / b.width, b.fl_y / b.height, b.cx / b.width, b.cy / b.height])
    return bool(np.allclose(lens_a, lens_b, atol=1e-5) and np.allclose(a.world_from_cam, b.world_from_cam, atol=1e-6))


def mean_background(images: Tensor, masks: Tensor) -> Tensor:
    """A background `[H, W, 3]` uint8 from frames `[N, H, W, 3]` and masks `[N, H, W]`: the mean of where no person is.

    Where the person always is, the value is that of the nearest seen pixels (rings growing inwards).
    """
    total = torch.zeros(images.shape[1:], dtype=torch.float32, device=images.device)
    weight = torch.zeros(images.shape[1:3], dtype=torch.float32, device=images.device)
    for image, matte in zip(images, masks, strict=True):
        empty = (matte < 13).float()
        total += empty.unsqueeze(-1) * image.float()
        weight += empty
    known = weight > 0
    if not known.any():
        return images.float().mean(0).round().to(torch.uint8)
    background = (total / weight.clamp_min(1).unsqueeze(-1)).permute(2, 0, 1).unsqueeze(0)
    mask = known[None, None].float()
    kernel = torch.ones(1, 1, 3, 3, device=images.device)
    while not bool(mask.all()):
        near = F.conv2d(mask, kernel, padding=1)
        spread = F.conv2d((background * mask).transpose(0, 1), kernel, padding=1).transpose(0, 1) / near.clamp_min(1)
        background = torch.where((mask > 0).expand_as(background), background, spread)
        mask = (near > 0).float()
    return background[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)
