"""How far the torso follows is read off the masks: painted shoulders that follow by known shares are recognised."""

import numpy as np
import pytest
import torch

from avatar.field.bounds import FrameViews
from avatar.field.torso import TorsoMotion
from avatar.field.torso_fit import disagreement, gaussian_blur, start_follow, torso_sheet
from avatar.field.warp import NeckBlend, carry
from avatar.geometry.cameras import Camera, image_rays

SIZE, COUNT = 96, 16
BLEND = NeckBlend(top=-0.10, bottom=-0.20)


def painted(beside: float, deep: float) -> tuple[TorsoMotion, FrameViews]:
    """Frames of a head that sways and leans, over an upright board of shoulders that goes along by the given shares."""
    generator = torch.Generator().manual_seed(0)
    shift = (torch.rand(COUNT, 3, generator=generator) - 0.5) * torch.tensor([0.12, 0.04, 0.3])
    shift[0] = 0
    poses = torch.eye(4).repeat(COUNT, 1, 1)
    poses[:, :3, 3] = shift
    torso = TorsoMotion(poses[0], BLEND)
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[2, 3] = 0.7  # before the face, which looks along z
    camera = Camera(SIZE, SIZE, 1.1 * SIZE, 1.1 * SIZE, SIZE / 2, SIZE / 2, world_from_cam=pose)
    origins, directions = (part.reshape(-1, 3) for part in image_rays(camera))
    moved = torch.eye(4).repeat(COUNT, 1, 1)
    moved[:, :3, 3] = shift * torch.tensor([beside, beside, deep])
    masks = []
    for i in range(COUNT):
        board = carry(moved[i : i + 1], torso.pivot[None])[0, 0]
        points = origins + directions * ((board[2] - origins[:, 2]) / directions[:, 2]).unsqueeze(1) - board
        masks.append(255 * ((points[:, 0].abs() < 0.17) & (points[:, 1] < -0.02 - 0.3 * points[:, 0].abs())))
    masks = torch.stack(masks).view(COUNT, SIZE, SIZE).to(torch.uint8)
    return torso, FrameViews(poses, [camera] * COUNT, masks, torch.zeros_like(masks, dtype=torch.bool))


def left_over(torso: TorsoMotion, views: FrameViews, beside: float, deep: float) -> float:
    """Mean distance (metres) between where `torso` puts the foot of the neck and where the board's was painted."""
    shift = views.world_from_skull[:, :3, 3]
    torso_transforms = torso.torso_transforms(views.world_from_skull).detach()
    return float((torso_transforms[:, 3:] - shift * torch.tensor([beside, beside, deep])).norm(dim=-1).mean())


@pytest.mark.parametrize(("beside", "deep"), [(0.0, 0.0), (0.5, 0.75), (1.0, 1.0), (0.0, 1.0)])
def test_painted_shoulders_are_followed(beside, deep):
    torso, views = painted(beside, deep)
    if deep:
        assert left_over(torso, views, beside, deep) > 0.04
    start_follow(torso, views)
    assert left_over(torso, views, beside, deep) < 0.01


def test_a_clip_without_a_torso_leaves_it_still():
    torso, views = painted(0.5, 0.5)
    views.masks = torch.zeros_like(views.masks)
    start_follow(torso, views)
    assert torso.follow.abs().max() == 0


@torch.no_grad()
def test_what_is_behind_the_head_or_outside_the_picture_says_nothing():
    torso, views = painted(0.5, 0.75)
    masks = views.masks.float()[:, None] / 255
    assert float(disagreement(torso_sheet(torso), torso, views, masks)) > 0.005
    outside = torso.pivot + torch.tensor([[5.0, 0.0, 0.0], [0.0, -7.0, 0.0]])
    assert float(disagreement(outside, torso, views, masks)) == 0
    views.silhouettes = torch.ones_like(views.silhouettes)
    assert float(disagreement(torso_sheet(torso), torso, views, masks)) == 0


def test_the_blur_keeps_the_light_and_spreads_it():
    picture = torch.zeros(1, 1, 41, 41)
    picture[0, 0, 20, 20] = 1
    blurred = gaussian_blur(picture, 3.0)[0, 0]
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    spread = ((torch.arange(41.0) - 20) ** 2 * blurred.sum(0)).sum()
    assert float(spread) ** 0.5 == pytest.approx(3.0, abs=0.4)  # cut off at two standard deviations
    torch.testing.assert_close(gaussian_blur(torch.ones(2, 1, 9, 9), 2.0), torch.ones(2, 1, 9, 9))
