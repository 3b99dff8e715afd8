"""Linear algebra of model learning, on problems whose answer is known."""

from __future__ import annotations

import itertools

import pytest
import torch

from capture_tools.model_learning.joints import fit_regressor
from capture_tools.model_learning.linear import (
    count_explaining,
    principal_directions,
    residual_maker,
    ridge_fit,
    simplex_least_squares,
    subspace_angles,
)


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_a_ridge_fit_without_a_ridge_finds_what_was_mixed(random):
    regressors, coefficients = normal(random, 20, 4), normal(random, 4, 7, 3)
    observed = torch.einsum("nq,qvd->nvd", regressors, coefficients)
    found = ridge_fit(regressors, torch.full((4,), 1e-14, dtype=torch.float64), observed)
    assert torch.allclose(found, coefficients, atol=1e-9)


def test_the_residual_maker_gives_the_least_value(random):
    regressors, observed = normal(random, 15, 3), normal(random, 15)
    ridge = torch.tensor([0.5, 2.0, 1e-6], dtype=torch.float64)
    best = ridge_fit(regressors, ridge, observed[:, None])[:, 0]
    value = (observed - regressors @ best).square().sum() + (ridge * best.square()).sum()
    assert observed @ residual_maker(regressors, ridge) @ observed == pytest.approx(float(value))


def test_principal_directions_of_a_known_spread(random):
    basis = torch.linalg.qr(normal(random, 30, 2))[0].T
    scores = normal(random, 50, 2)
    scores = torch.linalg.qr(scores)[0] * 50**0.5  # uncorrelated, of unit variance about zero
    samples = scores @ (torch.tensor([[3.0], [0.5]], dtype=torch.float64) * basis)
    directions, coefficients, variances = principal_directions(samples, 5)
    assert directions.shape == (2, 30)  # there are no more
    assert torch.allclose(directions.norm(dim=1), torch.tensor([3.0, 0.5], dtype=torch.float64))
    assert torch.allclose(variances[:2], torch.tensor([9.0, 0.25], dtype=torch.float64))
    assert torch.allclose(coefficients @ directions, samples, atol=1e-12)
    assert torch.allclose(coefficients.square().mean(0), torch.ones(2, dtype=torch.float64))
    again, _, _ = principal_directions(-samples, 5)
    assert torch.allclose(again, directions, atol=1e-12)  # signs do not depend on the samples' signs


def test_how_many_directions_explain_a_share():
    variances = torch.tensor([6.0, 3.0, 0.9, 0.1])
    assert [count_explaining(variances, share) for share in (0.5, 0.6, 0.9, 0.95, 0.999)] == [1, 1, 2, 3, 4]


def test_weights_on_the_simplex_are_the_best_there_are(random):
    slopes = normal(random, 6, 40, 4)
    true = torch.tensor([[0.2, 0.3, 0.5, 0.0]] * 6, dtype=torch.float64)
    observed = (slopes @ true[..., None])[..., 0]
    matrix, right = slopes.mT @ slopes, (slopes.mT @ observed[..., None])[..., 0]
    assert torch.allclose(simplex_least_squares(matrix, right), true, atol=1e-9)
    # an answer that would leave the simplex: no point of a fine grid over it is better
    right = right + 30 * normal(random, 6, 4)
    found = simplex_least_squares(matrix, right)
    assert torch.allclose(found.sum(1), torch.ones(6, dtype=torch.float64))
    assert (found >= 0).all()
    grid = [point for point in itertools.product(range(13), repeat=4) if sum(point) == 12]
    points = torch.tensor(grid, dtype=torch.float64) / 12

    def value(w):
        return 0.5 * torch.einsum("...i,vij,...j->v...", w, matrix, w) - right @ w.T

    mine = 0.5 * torch.einsum("vi,vij,vj->v", found, matrix, found) - (right * found).sum(1)
    assert (mine[:, None] <= value(points) + 1e-9).all()
    assert (found < 1e-12).any()


def test_angles_between_known_spaces():
    angle = 0.3
    first = torch.eye(5, dtype=torch.float64)[:2]
    second = first.clone()
    second[1, 1:3] = torch.tensor([torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))])
    assert torch.allclose(
        subspace_angles(first, 7 * second), torch.tensor([angle, 0.0], dtype=torch.float64), atol=1e-6
    )
    tilted = first.clone()
    tilted[0, 4] = 1e-7  # cosines cannot tell
    assert float(subspace_angles(first, tilted)[0]) == pytest.approx(1e-7, rel=1e-3)
    larger = torch.eye(5, dtype=torch.float64)[:4]
    assert subspace_angles(first, larger).shape == (2,)
    assert float(subspace_angles(first, torch.eye(5, dtype=torch.float64)[3:]).min()) == pytest.approx(torch.pi / 2)


def test_a_regressor_follows_its_joints(random):
    people = 0.1 * normal(random, 40, 3) + 0.003 * normal(random, 6, 40, 3)
    start = torch.zeros(5, 40, dtype=torch.float64)
    for joint in range(5):
        start[joint, 8 * joint : 8 * joint + 8] = 1 / 8
    moved = start @ people
    moved[:, 2] += torch.tensor([0.002, -0.001, 0.003])
    fitted = fit_regressor(start, people, moved)
    assert (start @ people - moved).norm(dim=-1).max() > 0.003
    assert (fitted @ people - moved).norm(dim=-1).mean() < 3e-4
    assert torch.allclose(fitted.sum(1), torch.ones(5, dtype=torch.float64))
    assert torch.equal(fitted != 0, start != 0)
    assert torch.allclose(fitted[[0, 1, 3, 4]], start[[0, 1, 3, 4]], atol=1e-12)
