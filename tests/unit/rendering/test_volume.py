"""Packed volume rendering against a loop written from the formula."""

import math

import pytest
import torch

from avatar.rendering.rays import INVISIBLE, hierarchical_samples, render_samples, render_visible
from avatar.rendering.sampling import Samples, dense_samples, importance, ray_box, stratified
from avatar.rendering.volume import accumulate, opacity_of, over, render_weights


@pytest.fixture
def packed():
    generator = torch.Generator().manual_seed(1)
    ray = torch.tensor([0, 0, 0, 2, 2, 5, 5, 5, 5])  # rays 1, 3 and 4 have no samples
    depth = torch.tensor([0.5, 0.6, 0.8, 0.1, 0.9, 0.2, 0.3, 0.4, 0.5])
    deltas = torch.rand(9, generator=generator) * 0.05
    density = torch.rand(9, generator=generator, dtype=torch.float32) * 2
    colour = torch.rand(9, 3, generator=generator)
    return Samples(ray, depth, deltas, 6), density, colour


def by_loop(samples, density, colour):
    colours, opacities = torch.zeros(samples.rays, 3), torch.zeros(samples.rays)
    weights = []
    for ray in range(samples.rays):
        transmittance = 1.0
        for i in (samples.ray == ray).nonzero().flatten().tolist():
            alpha = 1 - math.exp(-float(density[i]) * 100 * float(samples.deltas[i]))
            weights.append(transmittance * alpha)
            colours[ray] += transmittance * alpha * colour[i]
            opacities[ray] += transmittance * alpha
            transmittance *= 1 - alpha
    return torch.tensor(weights), colours, opacities


def test_weights_match_the_loop(packed):
    samples, density, colour = packed
    weights, colours, opacities = by_loop(samples, density, colour)
    found, transmittance = render_weights(density, samples)
    torch.testing.assert_close(found, weights, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(accumulate(found, samples, colour), colours, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(accumulate(found, samples), opacities, atol=1e-6, rtol=1e-5)
    assert transmittance[0] == transmittance[3] == transmittance[5] == 1
    background = torch.rand(6, 3)
    expected = colours + (1 - opacities)[:, None] * background
    torch.testing.assert_close(over(colours, opacities, background), expected)


def test_a_long_pack_keeps_its_precision():
    """The running sum over all rays grows large; the last ray must not feel it."""
    rays = 20_000
    ray = torch.arange(rays).repeat_interleave(4)
    samples = Samples(ray, torch.rand(4 * rays), torch.full((4 * rays,), 0.01), rays)
    density = torch.full((4 * rays,), 3.0)
    density[-4:] = torch.tensor([0.001, 0.002, 0.001, 0.003])
    weights, _ = render_weights(density, samples)
    expected = 1 - math.exp(-0.007)
    assert float(weights[-4:].sum()) == pytest.approx(expected, rel=1e-4)


def test_gradients_match_finite_differences(packed):
    samples, density, colour = packed
    density = density.double().requires_grad_()
    samples = Samples(samples.ray, samples.depth.double(), samples.deltas.double(), samples.rays)

    def total(values):
        return accumulate(render_weights(values, samples)[0], samples, colour.double())

    assert torch.autograd.gradcheck(total, (density,))


def test_render_visible_equals_render_samples(packed):
    samples, density, colour = packed
    density = density.clone()
    density[0] = 1e4  # hides what is behind it

    def functions(calls):
        def coloured(part, state, wanted):
            calls.append(None if wanted is None else len(wanted))
            return colour if wanted is None else colour[wanted]

        return (lambda s: (density, None)), coloured

    all_calls, seen_calls = [], []
    full = render_samples(samples, *functions(all_calls))
    seen = render_visible(samples, *functions(seen_calls))
    torch.testing.assert_close(seen.colour, full.colour, atol=4 * INVISIBLE, rtol=0)  # a ray has up to 4 left out
    torch.testing.assert_close(seen.opacity, full.opacity)
    torch.testing.assert_close(seen.depth, full.depth)
    assert all_calls == [None]
    assert seen_calls[0] <= 7


def test_nothing_to_render():
    samples = Samples(torch.empty(0, dtype=torch.int64), torch.empty(0), torch.empty(0), 3)
    shown = render_samples(samples, lambda s: (torch.empty(0), None), lambda s, state, wanted: torch.empty(0, 3))
    assert shown.colour.tolist() == [[0.0] * 3] * 3
    assert shown.opacity.tolist() == [0.0] * 3


def test_ray_box_by_hand():
    low, high = torch.tensor([-1.0, -1.0, -1.0]), torch.tensor([1.0, 1.0, 1.0])
    origins = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [5.0, 0.0, 3.0]])
    directions = torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    near, far = ray_box(origins, directions, low, high)
    assert near[:2].tolist() == [2.0, 0.0]
    assert far[:2].tolist() == [4.0, 1.0]
    assert far[2] < near[2] or far[2] == 0


def test_stratified_samples_lie_one_in_each_part():
    near, far = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 6.0])
    assert stratified(near, far, 4)[0].tolist() == [1.125, 1.375, 1.625, 1.875]
    drawn = stratified(near, far, 8, torch.rand(2, 8))
    part = ((drawn - near[:, None]) / (far - near)[:, None] * 8).floor()
    assert (part == torch.arange(8)).all()


def test_importance_follows_the_weights():
    depths = torch.linspace(0, 1, 11).expand(2, -1)
    weights = torch.zeros(2, 11)
    weights[0, 3] = 1.0  # between the midpoints 0.25 and 0.35
    weights[1, 1:-1] = 1.0
    drawn = importance(depths, weights, 200, torch.rand(2, 200, generator=torch.Generator().manual_seed(0)))
    assert ((drawn[0] > 0.249) & (drawn[0] < 0.351)).float().mean() > 0.98
    assert abs(float(drawn[1].mean()) - 0.5) < 0.05


def test_importance_draws_one_depth_from_each_quantile():
    depths, weights = torch.linspace(0, 1, 11).expand(3, -1), torch.linspace(0.2, 1, 11).expand(3, -1)
    count = 7
    middles = importance(depths, weights, count)
    jitter = torch.stack([torch.zeros(count), torch.rand(count), torch.full((count,), 0.999)])
    drawn = importance(depths, weights, count, jitter)
    assert (drawn.diff(dim=1) > 0).all(), "so they need no sorting"
    assert (drawn[0] < middles[0]).all()
    assert (middles[2] < drawn[2]).all()
    assert torch.allclose(drawn[0, 1:], drawn[2, :-1], atol=1e-3), "a quantile ends where the next begins"


def test_hierarchical_samples_gather_at_a_surface():
    near, far = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 0.5])
    surface = 0.6

    def density(samples):
        return torch.where(samples.depth > surface, 5.0, 0.0)

    samples = hierarchical_samples(near, far, 16, 16, density, random=False)
    assert torch.bincount(samples.ray, minlength=3).tolist() == [32, 32, 0]
    assert (samples.depth[samples.ray == 0].diff() >= 0).all()
    # the coarse samples know the surface to the bin of one of them: 16 fine and 3 coarse ones lie around it
    close = (samples.depth - surface).abs() < 1.5 / 16
    assert close.float().mean() > 0.55
    assert float(samples.deltas[samples.ray == 0].sum()) == pytest.approx(1 - float(samples.depth[0]), abs=1e-5)


def test_dense_samples_skip_rays_that_miss():
    samples = dense_samples(
        torch.tensor([[0.1, 0.4], [0.2, 0.3]]), torch.tensor([0.5, 0.9]), torch.tensor([False, True])
    )
    assert samples.ray.tolist() == [1, 1]
    torch.testing.assert_close(samples.deltas, torch.tensor([0.1, 0.6]))


def test_opacity_is_in_centimetres():
    assert float(opacity_of(torch.tensor(2.0), torch.tensor(0.005))) == pytest.approx(1 - math.exp(-1.0))
