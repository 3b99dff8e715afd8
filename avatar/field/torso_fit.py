"""Initial fit of the torso's motion to the masks, before training.

A person who leans back moves the shoulders, one who nods does not. Points of a plane below the chin, moved correctly,
lie inside the mask in all frames or in none; moved wrongly, in some. The matrix therefore minimises the variance of the
masks at these points over the frames, coarse to fine: first on strongly blurred masks, whose gradients reach further.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from avatar.field.bounds import FrameViews
from avatar.field.torso import TorsoMotion
from avatar.field.warp import carry
from avatar.geometry.cameras import project_points

SHEET_STEP = 0.008
"""Metres between the points of the plane."""
SHEET_SIDE, SHEET_DOWN = 0.30, 0.25
"""Extent of the plane beside the neck and below its base, metres."""
BLURS = (0.024, 0.012, 0.004)
"""Standard deviations of the blur, coarse to fine, as shares of the image height."""
STEPS, RATE = 40, 0.04
"""Adam steps per blur, and the learning rate of the first blur; it is proportional to the blur."""
RIDGE = 1e-4
"""Weight of the squared matrix: motion that the masks do not constrain stays zero."""


def start_follow(torso: TorsoMotion, views: FrameViews) -> None:
    """Fit `torso.follow`, initially zero, to the masks of `views`, frames spread over the clip."""
    points = torso_sheet(torso)
    masks = views.masks.float()[:, None] / 255
    for blur in BLURS:
        blurred = gaussian_blur(masks, blur * masks.shape[2])
        optimizer = torch.optim.Adam([torso.follow], lr=RATE * blur / BLURS[0])
        for _ in range(STEPS):
            optimizer.zero_grad()
            (disagreement(points, torso, views, blurred) + RIDGE * torso.follow.square().sum()).backward()
            optimizer.step()


def torso_sheet(torso: TorsoMotion) -> Tensor:
    """Canonical points `[P, 3]` of an upright plane through the base of the neck, from the chin down, metres."""
    beside = torch.arange(-SHEET_SIDE, SHEET_SIDE, SHEET_STEP, device=torso.pivot.device)
    rise = torso.blend.top - torso.blend.bottom
    upright = torch.arange(-SHEET_DOWN, rise, SHEET_STEP, device=torso.pivot.device)
    x, y = torch.meshgrid(beside, upright, indexing="ij")
    return torso.pivot + torch.stack([x, y, torch.zeros_like(x)], -1).view(-1, 3)


def disagreement(points: Tensor, torso: TorsoMotion, views: FrameViews, masks: Tensor) -> Tensor:
    """Mean variance over F frames of the masks `[F, 1, H, W]` at canonical points `[P, 3]` moved by `torso`.

    Frames in which a point lies outside the image or behind the head's silhouette do not count for it.
    """
    moved = torso.world_from_torso(torso.torso_transforms(views.world_from_skull))
    size = points.new_tensor([masks.shape[3], masks.shape[2]])
    pixels, _ = project_points(carry(moved, points), *views.lenses)
    at = (2 * pixels / size - 1).unsqueeze(1)
    with torch.no_grad():
        head = functional.grid_sample(views.silhouettes.float()[:, None], at, mode="nearest", align_corners=False)
        counts = ((at.abs() < 1).all(-1) & (head[:, 0] < 0.5)).squeeze(1).float()
    values = functional.grid_sample(masks, at, padding_mode="border", align_corners=False)[:, 0, 0]
    mean = (values * counts).sum(0) / counts.sum(0).clamp_min(1)
    return ((values - mean).square() * counts).sum() / counts.sum().clamp_min(1)


def gaussian_blur(pictures: Tensor, sigma: float) -> Tensor:
    """Images `[F, 1, H, W]` blurred with a standard deviation of `sigma` pixels and replicated borders."""
    reach = max(1, round(2 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=pictures.device) / sigma) ** 2)
    weights = weights / weights.sum()
    wide = functional.pad(pictures, (reach, reach, reach, reach), mode="replicate")
    return functional.conv2d(functional.conv2d(wide, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))
