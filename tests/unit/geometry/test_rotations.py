"""Rotations against scipy and by their gradients at the hard places: zero and half a turn."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from avatar.geometry import rotations


def random_vectors(count: int, longest: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.double), dim=-1)
    return direction * torch.rand(count, 1, generator=generator, dtype=torch.double) * longest


@pytest.mark.parametrize("longest", [1e-7, 1e-2, 0.02, 3.1, math.pi])
def test_axis_angle_agrees_with_scipy(longest):
    v = random_vectors(200, longest)
    expected = torch.from_numpy(Rotation.from_rotvec(v.numpy()).as_matrix())
    assert (rotations.axis_angle_to_matrix(v) - expected).abs().max() < 1e-14
    single = rotations.axis_angle_to_matrix(v.float()).double()
    assert (single - expected).abs().max() < 5e-7


@pytest.mark.parametrize("longest", [1e-7, 1e-2, 0.02, 3.1, math.pi - 1e-6])
def test_matrix_to_axis_angle_is_the_inverse(longest):
    v = random_vectors(200, longest)
    assert (rotations.matrix_to_axis_angle(rotations.axis_angle_to_matrix(v)) - v).abs().max() < 1e-9


def test_half_turns_come_back_as_the_same_rotation():
    v = torch.tensor([[math.pi, 0, 0], [0, math.pi, 0], [0, 0, -math.pi], [2.0, -2.0, 1.0]], dtype=torch.double)
    v[3] *= math.pi / 3
    matrix = rotations.axis_angle_to_matrix(v)
    back = rotations.matrix_to_axis_angle(matrix)
    assert torch.allclose(back.norm(dim=-1), torch.full((4,), math.pi, dtype=torch.double))
    assert torch.allclose(rotations.axis_angle_to_matrix(back), matrix, atol=1e-12)


def test_gradients_at_zero_are_the_generators():
    v = torch.zeros(3, dtype=torch.double, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(rotations.axis_angle_to_matrix, v)
    generators = rotations.skew(torch.eye(3, dtype=torch.double)).permute(1, 2, 0)
    assert torch.allclose(jacobian, generators, atol=1e-15)
    matrix = torch.eye(3, dtype=torch.double)
    back = torch.autograd.functional.jacobian(rotations.matrix_to_axis_angle, matrix)
    assert torch.isfinite(back).all()
    assert torch.allclose(torch.einsum("kij,ijl->kl", back, generators), torch.eye(3, dtype=torch.double), atol=1e-12)


@pytest.mark.parametrize("longest", [1e-3, 0.011, 2.5])
def test_gradients_are_right(longest):
    v = random_vectors(6, longest).requires_grad_()
    assert torch.autograd.gradcheck(rotations.axis_angle_to_matrix, (v,), atol=1e-6)
    assert torch.autograd.gradcheck(
        lambda x: rotations.matrix_to_axis_angle(rotations.axis_angle_to_matrix(x)), (v,), atol=1e-6
    )


def test_shapes_batch():
    assert rotations.axis_angle_to_matrix(torch.zeros(2, 5, 3)).shape == (2, 5, 3, 3)
    assert rotations.matrix_to_axis_angle(torch.eye(3).expand(2, 5, 3, 3)).shape == (2, 5, 3)
    assert rotations.axis_angle_to_matrix(torch.zeros(0, 3)).shape == (0, 3, 3)


def test_yaw_is_the_first_of_the_angles_about_y_x_and_z():
    angles = torch.tensor([[40.0, 0.0, 0.0], [-75.0, 20.0, -10.0], [0.0, 30.0, 50.0], [120.0, -15.0, 5.0]])
    v = torch.from_numpy(Rotation.from_euler("YXZ", angles.double().numpy(), degrees=True).as_rotvec())
    assert torch.rad2deg(rotations.yaw_of(v)).tolist() == pytest.approx(angles[:, 0].tolist())
