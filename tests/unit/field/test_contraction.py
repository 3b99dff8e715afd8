"""Contraction of what stands around the person, and where rays are sampled near the person."""

import pytest
import torch

from avatar.field.contraction import FARTHEST, contract, unbounded_interval
from avatar.rendering.rays import hierarchical_samples

MIDDLE, RADIUS = torch.tensor([0.1, -0.2, 0.3]), 0.4


def test_the_box_keeps_its_shape_in_the_middle_half():
    offset = torch.tensor([[0.0, 0, 0], [0.4, -0.4, 0.2], [0.1, 0.0, -0.3]])
    expected = 0.5 + offset / (4 * RADIUS)
    torch.testing.assert_close(contract(MIDDLE + offset, MIDDLE, RADIUS), expected)


def test_contraction_follows_the_paper_outside():
    # mip-NeRF 360, equation 10: (2 - 1 / |x|) x / |x|; here |x| is the largest coordinate, and the ball of radius 2
    # becomes the unit cube
    x = torch.tensor([3.0, -1.5, 0.6])
    expected = (2 - 1 / 3) * x / 3
    torch.testing.assert_close(contract(MIDDLE + RADIUS * x, MIDDLE, RADIUS), 0.5 + expected / 4)


def test_contraction_is_continuous_rising_and_bounded():
    along = torch.tensor([0.3, 1.0, -0.6])
    place = torch.linspace(0, 400, 200_001, dtype=torch.float64)[:, None] * RADIUS * along
    seen = contract(MIDDLE + place, MIDDLE, RADIUS)
    step = (seen[1:] - seen[:-1]) * along.sign()
    assert step.min() >= -1e-12
    assert step.max() < 6e-4
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert seen[-1, 1] > 0.99


def test_rays_that_meet_the_box_keep_their_distances_and_others_pass_it():
    origins = torch.tensor([[0.1, -0.2, -2.0], [0.1, -0.2, -2.0]])
    directions = torch.nn.functional.normalize(torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]]), dim=-1)
    near, far = torch.tensor([1.9, 5.0]), torch.tensor([2.7, 4.0])
    begin, end = unbounded_interval(near, far, origins, directions, MIDDLE, RADIUS)
    passing = float(2.3 / 2**0.5)
    assert begin.tolist() == pytest.approx([1.9, passing - RADIUS])
    assert end.tolist() == pytest.approx([2.7, passing + RADIUS])


def test_a_ray_that_looks_away_starts_at_the_camera():
    begin, end = unbounded_interval(
        torch.zeros(1), torch.zeros(1), torch.tensor([[0.0, 0, 5]]), torch.tensor([[0.0, 0, 1]]), MIDDLE, RADIUS
    )
    assert [begin.item(), end.item()] == pytest.approx([0, 2 * RADIUS])


def test_half_of_the_coarse_samples_lie_behind_the_box_evenly_in_inverse_depth():
    near, far = torch.tensor([0.5, 0.8]), torch.tensor([1.0, 1.2])
    samples = hierarchical_samples(near, far, 16, 0, lambda s: s.depth, random=False, beyond=FARTHEST)
    depth = samples.depth.view(2, 16)
    assert (depth[:, :8] < far[:, None]).all()
    assert (depth[:, 8:] > far[:, None]).all()
    assert depth.max() < FARTHEST
    inverse = 1 / depth[:, 8:]
    gaps = inverse[:, :-1] - inverse[:, 1:]
    torch.testing.assert_close(gaps, gaps.mean(1, keepdim=True).expand_as(gaps), atol=1e-5, rtol=1e-4)
    # together they stand for the ray from the first of them to its end
    total = samples.deltas.view(2, 16).sum(1)
    torch.testing.assert_close(total, FARTHEST - depth[:, 0])


def test_fine_samples_find_a_wall_behind_the_box():
    near, far = torch.full((4,), 0.5), torch.full((4,), 1.0)
    wall = lambda s: 100.0 * ((s.depth > 3.0) & (s.depth < 4.5))  # noqa: E731
    samples = hierarchical_samples(near, far, 32, 32, wall, random=False, beyond=FARTHEST)
    at_wall = ((samples.depth > 2.5) & (samples.depth < 5.0)).view(4, -1).sum(1)
    assert (at_wall > 28).all()
