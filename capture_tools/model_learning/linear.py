"""Least squares with known answers: ridge elimination, principal directions, weights on the simplex."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

TINY = 1e-9


def residual_maker(regressors: Tensor, ridge: Tensor) -> Tensor:
    """`[N, N]`: what takes out of N observations the best ridge fit by `regressors` `[N, Q]`.

    ridge: `[Q]`, the penalty on each squared coefficient. r' M r is the least value of |r - Z c|^2 + c' diag(ridge) c.
    """
    gram = regressors.T @ regressors + torch.diag(ridge)
    hat = regressors @ torch.linalg.solve(gram, regressors.T)
    return torch.eye(len(regressors), dtype=regressors.dtype) - (hat + hat.T) / 2


def ridge_fit(regressors: Tensor, ridge: Tensor, observed: Tensor) -> Tensor:
    """The coefficients `[Q, ...]` of the least |y - Z c|^2 + c' diag(ridge) c for observed `[N, ...]`."""
    gram = regressors.T @ regressors + torch.diag(ridge)
    flat = torch.linalg.solve(gram, regressors.T @ observed.flatten(1))
    return flat.reshape(-1, *observed.shape[1:])


def principal_directions(samples: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` orthogonal directions that explain most of `samples` `[N, D]` about zero.

    Returns directions `[K, D]` of one standard deviation (root mean square) each, coefficients `[N, K]`, and the
    variances `[min(N, D)]` of all directions, largest first. Directions without variance are left out: K <= count.
    """
    values, vectors = torch.linalg.eigh(samples @ samples.T / len(samples))
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    kept = min(count, int((values > 1e-10 * values[:1].clamp_min(1e-30)).sum()))
    coefficients = vectors[:, :kept] * len(samples) ** 0.5
    directions = coefficients.T @ samples / len(samples)
    largest = directions.abs().argmax(1, keepdim=True)
    signs = torch.sign(directions.gather(1, largest))  # a direction and its opposite are the same: one of them, always
    return signs * directions, coefficients * signs.T, values[: min(samples.shape)]


def count_explaining(variances: Tensor, share: float) -> int:
    """The fewest directions that explain a share of all variance `[K]`; at least one."""
    total = variances.sum()
    explained = torch.cumsum(variances, 0)
    return int((explained < share * total).sum().clamp_max(len(variances) - 1)) + 1


def simplex_least_squares(matrix: Tensor, right: Tensor) -> Tensor:
    """Weights `[V, J]`, none negative, each row of sum one, of the least w' A w / 2 - b' w.

    matrix: `[V, J, J]` positive definite; right: `[V, J]`. Exact: every set of weights above zero is tried.
    """
    count, joints = right.shape
    best = torch.full((count,), torch.inf, dtype=right.dtype)
    weights = torch.zeros_like(right)
    for size in range(1, joints + 1):
        for chosen in combinations(range(joints), size):
            at = list(chosen)
            system = torch.zeros(count, size + 1, size + 1, dtype=right.dtype)
            system[:, :size, :size] = matrix[:, at][:, :, at]
            scale = torch.diagonal(system[:, :size, :size], dim1=1, dim2=2).mean(1)
            system[:, size, :size] = scale[:, None]
            system[:, :size, size] = scale[:, None]
            wanted = torch.cat([right[:, at], scale[:, None]], 1)
            solved = torch.linalg.solve(system, wanted)[:, :size]
            full = torch.zeros_like(right)
            full[:, at] = solved
            value = 0.5 * (full * (matrix @ full[..., None])[..., 0]).sum(1) - (right * full).sum(1)
            better = (solved >= -TINY).all(1) & (value < best)
            best = torch.where(better, value, best)
            weights = torch.where(better[:, None], full, weights)
    weights = weights.clamp_min(0)
    return weights / weights.sum(1, keepdim=True)


def subspace_angles(first: Tensor, second: Tensor) -> Tensor:
    """Principal angles in radians, largest first, between the spans of `first` `[K, D]` and `second` `[L, D]`.

    min(K, L) of them (Bjorck and Golub, Mathematics of Computation 27(123), 1973); exact for small angles too.
    """
    a, b = (torch.linalg.qr(space.T)[0] for space in (first, second))
    if a.shape[1] < b.shape[1]:
        a, b = b, a
    sines = torch.linalg.svdvals(b - a @ (a.T @ b)).clamp(0, 1)
    cosines = torch.linalg.svdvals(a.T @ b).clamp(0, 1).flip(0)
    return torch.where(cosines**2 > 0.5, torch.asin(sines), torch.acos(cosines))
