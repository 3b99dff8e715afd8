"""Losses against values by hand."""

import math

import pytest
import torch

from avatar.training import losses


def test_photometric_is_squared_near_and_linear_far():
    zero = torch.zeros(1, 3)
    assert float(losses.photometric(zero + 0.05, zero, 0.1)) == pytest.approx(0.05**2, rel=1e-5)
    assert float(losses.photometric(zero + 0.5, zero, 0.1)) == pytest.approx(2 * 0.1 * (0.5 - 0.05), rel=1e-5)


def test_entropy_is_low_at_the_ends_and_highest_in_the_middle():
    middle = float(losses.opacity_entropy(torch.tensor([0.5])))
    assert middle == pytest.approx(math.log(2), rel=1e-5)
    assert float(losses.opacity_entropy(torch.tensor([0.0, 1.0]))) < 0.002


def test_vertex_loss_is_in_centimetres():
    assert float(losses.vertex_loss(torch.tensor([[0.01, -0.02, 0.03]]))) == pytest.approx(2.0)


def test_pose_loss_is_in_degrees_and_millimetres():
    pose = torch.tensor([[math.radians(1.0), 0, 0, 0.002, 0, 0]])
    assert float(losses.pose_loss(pose)) == pytest.approx((1 + 4) / 6, rel=1e-4)


def test_opacity_loss_is_the_mean_squared_difference():
    assert float(losses.opacity_loss(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 1.0, 0.5]))) == pytest.approx(
        0.5 / 3
    )


def test_code_loss_sums_a_code_and_averages_over_codes():
    assert float(losses.code_loss(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))) == pytest.approx((1 + 4 + 9) / 2)
