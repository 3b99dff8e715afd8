"""The static background behind the person, seen from any camera.

For the captured camera, at any image size, it is the captured image itself. For other cameras the image stands as a
plane behind the head, perpendicular to the captured camera's optical axis; beyond its edges it goes on smoothly. The
room's true depth is unknown; a plane gives plausible parallax for the few degrees by which a free viewpoint moves.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.geometry.cameras import Camera, image_rays, project

PLANE_BEHIND = 0.8
"""Metres from the world origin, where the head is, back to the plane."""
MARGIN = 0.5
"""Width of the strip beyond each edge into which the image is continued, in sides of the image."""
EDGE_SOFTNESS = 0.03
"""Width of the strip inside the edges over which detail fades into the continuation, in sides of the image."""


class Background:
    """A picture behind the person, as one captured camera saw it."""

    def __init__(self, image: Tensor, captured: Camera) -> None:
        """image: `[H, W, 3]` sRGB in [0, 1]. captured: the camera that saw it, at any image size."""
        self.image, self.captured = image, captured

    @cached_property
    def canvas(self) -> Tensor:
        """`[1, 3, (1 + 2 m) H, (1 + 2 m) W]`: the image in the middle, continued beyond its edges (`continued`)."""
        return continued(self.image, MARGIN)

    def seen_by(self, camera: Camera) -> Tensor:
        """`[H, W, 3]` in [0, 1] as `camera` sees it, at the size of `camera`."""
        captured = same_view(self.captured, camera)
        if captured and (camera.height, camera.width) == self.image.shape[:2]:
            return self.image
        origins, directions = image_rays(camera, device=self.image.device)
        pose = torch.as_tensor(self.captured.world_from_cam.copy(), dtype=self.image.dtype, device=self.image.device)
        forward, position = pose[:3, 2], pose[:3, 3]
        distance = float(np.linalg.norm(self.captured.position)) + PLANE_BEHIND
        ahead = (directions * forward).sum(-1)
        # a ray that never meets the plane sees its horizon
        along = (distance - ((origins - position) * forward).sum(-1)) / ahead.clamp_min(1e-2)
        pixels, _ = project(origins + directions * along.unsqueeze(-1), self.captured)
        size = torch.tensor(
            [self.captured.width, self.captured.height], dtype=self.image.dtype, device=self.image.device
        )
        # the captured view has no edges to soften
        source = self.image.permute(2, 0, 1)[None] if captured else self.canvas
        grid = (2 * pixels / size - 1) / (1.0 if captured else 1 + 2 * MARGIN)
        seen = F.grid_sample(source, grid[None], mode="bilinear", padding_mode="border", align_corners=False)
        return seen[0].permute(1, 2, 0)


def continued(image: Tensor, margin: float) -> Tensor:
    """An image `[H, W, 3]` continued by `margin` sides beyond each edge (`pull_push`): `[1, 3, (1 + 2 m) H, ...]`.

    Inside the image detail fades towards the edge, so that none ends in a line.
    """
    height, width = image.shape[:2]
    above, beside = round(margin * height), round(margin * width)
    border = (beside, beside, above, above)
    inside = torch.ones(1, 1, height, width, dtype=image.dtype, device=image.device)
    full = F.pad(image.permute(2, 0, 1)[None], border)
    smooth = blurred(pull_push(full, F.pad(inside, border)), max(1.0, EDGE_SOFTNESS * max(height, width)))
    across = edge_distance(width, image) / max(EDGE_SOFTNESS * width, 1e-6)
    down = edge_distance(height, image) / max(EDGE_SOFTNESS * height, 1e-6)
    detail = torch.minimum(across[None, :], down[:, None]).clamp(max=1.0)
    detail = F.pad((detail * detail * (3 - 2 * detail))[None, None], border)
    return full * detail + smooth * (1 - detail)


def pull_push(image: Tensor, known: Tensor) -> Tensor:
    """An image `[1, C, H, W]` with its unknown parts filled over a pyramid (Gortler et al., "The lumigraph", 1996,
    section 3.4); `known` `[1, 1, H, W]` in [0, 1] is how far a pixel is known.

    Close to what is known the filling has its colours, further away the means of larger and larger neighbourhoods, so
    that it has no mirrored or smeared detail. Where nothing is known it is black.
    """
    levels = [(image, known)]
    while min(levels[-1][1].shape[-2:]) > 2:
        colour, weight = levels[-1]
        share = F.avg_pool2d(weight, 2, ceil_mode=True)
        mean = F.avg_pool2d(colour * weight, 2, ceil_mode=True) / share.clamp_min(1e-6)
        levels.append((mean, (4 * share).clamp(max=1.0) * (share > 0)))
    colour, weight = levels.pop()
    filled = colour * weight + (colour * weight).sum((2, 3), keepdim=True) / weight.sum().clamp_min(1e-6) * (1 - weight)
    for colour, weight in reversed(levels):
        up = F.interpolate(filled, size=weight.shape[-2:], mode="bilinear", align_corners=False)
        filled = colour * weight + up * (1 - weight)
    return filled


def edge_distance(length: int, like: Tensor) -> Tensor:
    """`[length]`: distance in pixels of each pixel's centre from the nearer end of a row."""
    centres = torch.arange(length, dtype=like.dtype, device=like.device) + 0.5
    return torch.minimum(centres, length - centres)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """`[1, C, H, W]` under a Gaussian of `sigma` pixels, its edges repeated."""
    radius = max(1, round(3 * sigma))
    at = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (at / sigma).square())
    kernel = (kernel / kernel.sum()).expand(image.shape[1], 1, 1, -1)
    rows = F.conv2d(F.pad(image, (radius, radius, 0, 0), mode="replicate"), kernel, groups=image.shape[1])
    columns = F.pad(rows, (0, 0, radius, radius), mode="replicate")
    return F.conv2d(columns, kernel.transpose(2, 3), groups=image.shape[1])


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
