"""The static background behind the person, seen from any camera.

For the captured camera, at any image size, it is the captured image itself. For other cameras the image is projected
onto a plane behind the head, perpendicular to the captured camera's optical axis and mirrored at its edges. The room's
true depth is unknown; a plane gives plausible parallax for the few degrees by which a free viewpoint moves.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.geometry.cameras import Camera, image_rays, project

PLANE_BEHIND = 0.8
"""Metres from the world origin, where the head is, back to the plane."""


def background_view(background: Tensor, captured: Camera, camera: Camera) -> Tensor:
    """The background `[H, W, 3]` in [0, 1], captured by `captured`, as `camera` sees it, at the size of `camera`."""
    if same_view(captured, camera) and (camera.width, camera.height) == (background.shape[1], background.shape[0]):
        return background
    origins, directions = image_rays(camera, device=background.device)
    forward = torch.as_tensor(captured.world_from_cam[:3, 2].copy(), dtype=background.dtype, device=background.device)
    position = torch.as_tensor(captured.position.copy(), dtype=background.dtype, device=background.device)
    distance = float(np.linalg.norm(captured.position)) + PLANE_BEHIND
    ahead = (directions * forward).sum(-1)
    # a ray that never meets the plane sees its horizon
    along = (distance - ((origins - position) * forward).sum(-1)) / ahead.clamp_min(1e-2)
    pixels, _ = project(origins + directions * along.unsqueeze(-1), captured)
    size = torch.tensor([captured.width, captured.height], dtype=background.dtype, device=background.device)
    grid = (2 * pixels / size - 1).unsqueeze(0)
    image = background.permute(2, 0, 1).unsqueeze(0)
    seen = F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return seen[0].permute(1, 2, 0)


def same_view(a: Camera, b: Camera) -> bool:
    """Whether two cameras have the same pose and the same intrinsics up to image size."""
    lens_a = np.array([a.fl_x / a.width, a.fl_y / a.height, a.cx / a.width, a.cy / a.height])
    lens_b = np.array([b.fl_x / b.width, b.fl_y / b.height, b.cx / b.width, b.cy / b.height])
    return bool(np.allclose(lens_a, lens_b, atol=1e-5) and np.allclose(a.world_from_cam, b.world_from_cam, atol=1e-6))


def mean_background(images: Tensor, masks: Tensor) -> Tensor:
    """The background `[H, W, 3]` uint8: the mean of frames `[N, H, W, 3]` where masks `[N, H, W]` show no person.

    Images and masks are uint8. Pixels that the person always covers are filled from the nearest visible ones, ring by
    ring inwards. Where every pixel is always covered, it is the mean of the frames.
    """
    total = torch.zeros(images.shape[1:], dtype=torch.float32, device=images.device)
    weight = torch.zeros(images.shape[1:3], dtype=torch.float32, device=images.device)
    for image, mask in zip(images, masks, strict=True):
        empty = (mask < 13).float()
        total += empty.unsqueeze(-1) * image.float()
        weight += empty
    known = weight > 0
    if not known.any():
        return images.float().mean(0).round().to(torch.uint8)
    background = (total / weight.clamp_min(1).unsqueeze(-1)).permute(2, 0, 1).unsqueeze(0)
    filled = known[None, None].float()
    kernel = torch.ones(1, 1, 3, 3, device=images.device)
    while not bool(filled.all()):
        near = F.conv2d(filled, kernel, padding=1)
        spread = F.conv2d((background * filled).transpose(0, 1), kernel, padding=1).transpose(0, 1) / near.clamp_min(1)
        background = torch.where((filled > 0).expand_as(background), background, spread)
        filled = (near > 0).float()
    return background[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)
