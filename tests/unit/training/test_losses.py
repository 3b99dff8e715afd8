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


def test_dssim_by_hand():
    """Equal patches differ in nothing; the mean over 5 x 5 windows inside 6 x 6 pixels, by the definition."""
    generator = torch.Generator().manual_seed(5)
    a, b = torch.rand(2, 36, 3, generator=generator), torch.rand(2, 36, 3, generator=generator)
    assert float(losses.dssim(a, a, 6)) == pytest.approx(0.0, abs=1e-6)
    values = []
    for patch in range(2):
        for channel in range(3):
            x, y = (part[patch, :, channel].view(6, 6) for part in (a, b))
            for row in range(2):
                for column in range(2):
                    u, v = (part[row : row + 5, column : column + 5].reshape(-1) for part in (x, y))
                    mean = (2 * u.mean() * v.mean() + 0.01**2) / (u.mean() ** 2 + v.mean() ** 2 + 0.01**2)
                    covariance = ((u - u.mean()) * (v - v.mean())).mean()
                    spread = u.var(correction=0) + v.var(correction=0)
                    values.append(float(mean * (2 * covariance + 0.03**2) / (spread + 0.03**2)))
    assert float(losses.dssim(a, b, 6)) == pytest.approx((1 - sum(values) / len(values)) / 2, rel=1e-4)


def test_dssim_sees_blur_that_brightness_hides():
    sharp = torch.zeros(1, 81, 3)
    sharp[:, ::2] = 1.0
    assert float(losses.dssim(sharp.mean(1, keepdim=True).expand_as(sharp), sharp, 9)) > 0.4
