"""The torso goes along with the head in proportion to its turn and shift; the head itself is left alone."""

import pytest
import torch

from avatar.field.flame_warp import NeckBlend
from avatar.field.torso import TorsoMotion
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
    assert fresh.twists(pose([0.2, 0.0, 0.1], [0.1, 0.0, 0.0])[None]).abs().max() == 0
    assert torso.twists(REFERENCE[None]).abs().max() < 1e-6


def test_a_shifted_head_takes_its_share_of_the_shoulders_along(torso):
    moved = REFERENCE.clone()
    moved[:3, 3] += torch.tensor([0.01, -0.005, 0.02])
    twist = torso.twists(moved[None])
    torch.testing.assert_close(twist[0], torch.tensor([0, 0, 0, 0.008, -0.0035, 0.012]), atol=1e-6, rtol=0)
    points = in_world([[0.15, -0.3, 0.0], [0.0, 0.05, 0.1], [0.0, -0.15, 0.05]])
    back = torso.undo(points, twist, torch.zeros(3, dtype=torch.int64))
    shift = points - back
    torch.testing.assert_close(shift[0], twist[0, 3:], atol=1e-6, rtol=0)
    assert shift[1].abs().max() == 0, "the head is the rigid warp's"
    torch.testing.assert_close(shift[2], 0.5 * twist[0, 3:], atol=1e-6, rtol=0)  # halfway down the neck


def test_a_turned_head_turns_the_shoulders_about_the_foot_of_the_neck(torso):
    turn = torch.tensor([0.0, 0.05, 0.0])
    foot = in_world([[0.0, BLEND.bottom, 0.0]])[0]
    about_foot = torch.eye(4)
    about_foot[:3, :3] = axis_angle_to_matrix(turn)
    about_foot[:3, 3] = foot - about_foot[:3, :3] @ foot
    twist = torso.twists((about_foot @ REFERENCE)[None])
    torch.testing.assert_close(twist[0], torch.tensor([0.0, 0.01, 0.0, 0, 0, 0]), atol=1e-5, rtol=0)
    there = foot + torch.tensor([0.2, -0.1, 0.0])
    exact = axis_angle_to_matrix(-twist[0, :3]) @ (there - foot) + foot
    frame = torch.zeros(1, dtype=torch.int64)
    torch.testing.assert_close(torso.undo(there[None], twist, frame)[0], exact, atol=2e-5, rtol=0)


def test_each_sample_moves_with_its_own_frame(torso):
    moved = torch.stack([REFERENCE, REFERENCE])
    moved[1, 0, 3] += 0.01
    point = in_world([[0.1, -0.4, 0.0]]).expand(2, 3)
    back = torso.undo(point, torso.twists(moved), torch.tensor([1, 0])).detach()
    assert float((back[0] - point[0]).norm()) == pytest.approx(0.008, abs=1e-6)
    assert float((back[1] - point[1]).norm()) < 1e-6


def test_gradients_reach_the_matrix_and_the_pose(torso):
    moved = REFERENCE.clone().requires_grad_()
    shifted = moved + torch.tensor([[0, 0, 0, 0.01]] * 3 + [[0, 0, 0, 0.0]])
    back = torso.undo(in_world([[0.1, -0.4, 0.0]]), torso.twists(shifted[None]), torch.zeros(1, dtype=torch.int64))
    back.sum().backward()
    assert torso.follow.grad.abs().sum() > 0
    assert moved.grad[:3].abs().sum() > 0
