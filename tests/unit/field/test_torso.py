"""The torso goes along with the head in proportion to its turn and shift; the head itself is left alone."""

import pytest
import torch

from avatar.field.torso import TorsoMotion
from avatar.field.warp import NeckBlend, carry, rigid_inverse
from avatar.geometry.rotations import axis_angle_to_matrix

BLEND = NeckBlend(top=-0.10, bottom=-0.20)


def pose(turn, shift) -> torch.Tensor:
    matrix = torch.eye(4)
    matrix[:3, :3] = axis_angle_to_matrix(torch.tensor(turn))
    matrix[:3, 3] = torch.tensor(shift)
    return matrix


REFERENCE = pose([0.1, 0.3, -0.05], [0.02, 0.01, -0.03])


@pytest.fixture
def torso() -> TorsoMotion:
    made = TorsoMotion(REFERENCE, BLEND)
    with torch.no_grad():
        made.follow.copy_(torch.diag(torch.tensor([0.1, 0.2, 0.3, 0.8, 0.7, 0.6])))
    return made


def in_world(skull_points) -> torch.Tensor:
    return torch.tensor(skull_points) @ REFERENCE[:3, :3].T + REFERENCE[:3, 3]


def test_nothing_moves_at_first_and_in_the_reference_pose(torso):
    fresh = TorsoMotion(REFERENCE, BLEND)
    assert fresh.torso_transforms(pose([0.2, 0.0, 0.1], [0.1, 0.0, 0.0])[None]).abs().max() == 0
    assert torso.torso_transforms(REFERENCE[None]).abs().max() < 1e-6


def carried(torso: TorsoMotion, torso_transforms, points) -> torch.Tensor:
    """Points `[P, 3]` of the reference pose where the torso's motion takes them, for each of the frames."""
    return carry(torso.world_from_torso(torso_transforms), points)


def test_a_shifted_head_takes_its_share_of_the_shoulders_along(torso):
    moved = REFERENCE.clone()
    moved[:3, 3] += torch.tensor([0.01, -0.005, 0.02])
    twist = torso.torso_transforms(moved[None])
    torch.testing.assert_close(twist[0], torch.tensor([0, 0, 0, 0.008, -0.0035, 0.012]), atol=1e-6, rtol=0)
    points = in_world([[0.15, -0.3, 0.0], [0.0, 0.05, 0.1]])
    torch.testing.assert_close(carried(torso, twist, points)[0], points + twist[0, 3:], atol=1e-6, rtol=0)


def test_a_turned_head_turns_the_shoulders_about_the_foot_of_the_neck(torso):
    turn = torch.tensor([0.0, 0.5, 0.0])
    foot = in_world([[0.0, BLEND.bottom, 0.0]])[0]
    about_foot = torch.eye(4)
    about_foot[:3, :3] = axis_angle_to_matrix(turn)
    about_foot[:3, 3] = foot - about_foot[:3, :3] @ foot
    twist = torso.torso_transforms((about_foot @ REFERENCE)[None])
    torch.testing.assert_close(twist[0], torch.tensor([0.0, 0.1, 0.0, 0, 0, 0]), atol=1e-5, rtol=0)
    there = foot + torch.tensor([[0.2, -0.1, 0.0]])
    exact = (there - foot) @ axis_angle_to_matrix(twist[0, :3]).T + foot
    torch.testing.assert_close(carried(torso, twist, there)[0], exact, atol=1e-6, rtol=0)


def test_the_torsos_share_fades_along_the_neck(torso):
    points = in_world([[0.15, -0.3, 0.0], [0.0, -0.15, 0.05], [0.0, 0.05, 0.1]])
    torch.testing.assert_close(torso.share(points), torch.tensor([1.0, 0.5, 0.0]), atol=1e-6, rtol=0)


def test_the_gradient_is_that_of_undoing_the_motion(torso):
    """Against finite differences of the motion itself, at a torso that has turned and shifted a little."""
    torso_transforms = torch.tensor([[0.0] * 6, [0.01, 0.03, -0.02, 0.02, -0.01, 0.05]])
    world = in_world([[0.1, -0.4, 0.0], [0.0, 0.05, 0.1], [-0.2, -0.3, 0.05]])
    frame, weights = torch.tensor([1, 1, 1]), torch.tensor([[0.3, -1.0, 0.5], [1.0, 1.0, 1.0], [0.2, 0.4, -0.8]])

    def still(values) -> torch.Tensor:
        return carry(rigid_inverse(torso.world_from_torso(values))[1:], world)[0]

    changing = torso_transforms.clone().requires_grad_()
    points = torso.with_gradient(still(torso_transforms).detach(), changing, frame)
    torch.testing.assert_close(points, still(torso_transforms), atol=0, rtol=0)
    (points * weights).sum().backward()
    assert changing.grad[0].abs().max() == 0, "no sample is of this frame"
    for index in range(6):
        step = torch.zeros_like(torso_transforms)
        step[1, index] = 1e-3
        change = still(torso_transforms + step) - still(torso_transforms - step)
        expected = float((change * weights)[[0, 2]].sum()) / 2e-3  # the second point is the head's
        assert float(changing.grad[1, index]) == pytest.approx(expected, abs=0.03), index


def test_gradients_reach_the_matrix_and_the_pose(torso):
    moved = REFERENCE.clone().requires_grad_()
    shifted = moved + torch.tensor([[0, 0, 0, 0.01]] * 3 + [[0, 0, 0, 0.0]])
    torso_transforms = torso.torso_transforms(shifted[None])
    torso.with_gradient(
        in_world([[0.1, -0.4, 0.0]]), torso_transforms, torch.zeros(1, dtype=torch.int64)
    ).sum().backward()
    assert torso.follow.grad.abs().sum() > 0
    assert moved.grad[:3].abs().sum() > 0
