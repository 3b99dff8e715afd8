"""The linear half of the alternation: with poses and joints held, weights, correctives, people and expressions.

Li et al., ACM TOG 36(6), 2017, section 4, after Loper et al., "SMPL", ACM TOG 34(6), 2015. A registration r of person s
with pose p, taken back to rest by the blended maps, is

    B(p)^-1 (r - b(p))  =  T_s + P f(p) + E e + noise

with the neutral person T_s, correctives P for the pose features f and expressions E of rank K. Weights w enter by B
and b: to first order a change of w by d adds the columns -B^-1 (G_k(rest) - r) d_k. The deviations from the starting
model are paid for (`Priors`), so that what a weight can explain is not left to correctives, and what the registrations
do not show stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from capture_tools.model_learning.linear import (
    count_explaining,
    principal_directions,
    residual_maker,
    ridge_fit,
    simplex_least_squares,
)
from capture_tools.model_learning.posing import FEATURES, features_of, inverses, transforms_of
from capture_tools.model_learning.state import ModelState, PoseSpace, Registrations

CHUNK = 600
"""Vertices whose equations are in memory together."""
TINY = 1e-9


@dataclass(frozen=True)
class Priors:
    """Standard deviations of what is learned from the starting model, and of the noise."""

    noise: float = 0.0005
    """Metres of each vertex's coordinate."""
    weights: float = 0.1
    correctives: float = 0.0015
    """Metres per unit of the pose features."""
    joints: float = 0.005
    """Metres."""
    expressions: float = 0.01
    """Metres, of a change of the expressions while their coefficients are held."""


def regressors_of(state: ModelState, data: Registrations, priors: Priors) -> tuple[Tensor, Tensor]:
    """What correctives and expressions are the coefficients of, `[N, 36 + E]`, and their ridge."""
    columns = torch.cat([features_of(state.poses), state.coefficients], 1)
    ridge = torch.full((columns.shape[1],), (priors.noise / priors.expressions) ** 2, dtype=columns.dtype)
    ridge[:FEATURES] = (priors.noise / priors.correctives) ** 2
    return columns, ridge


def without_start(at_rest: Tensor, poses: Tensor, start: PoseSpace) -> Tensor:
    """Vertices `[N, V, 3]` at rest without the starting model's correctives."""
    bends = features_of(poses) @ start.correctives.reshape(FEATURES, -1)
    return at_rest - bends.reshape(at_rest.shape)


def learn_weights(state: ModelState, data: Registrations, start: PoseSpace, priors: Priors) -> ModelState:
    """New skinning weights; correctives, people and expressions are eliminated, not held."""
    columns, ridge = regressors_of(state, data, priors)
    keep = residual_maker(columns, ridge) / priors.noise**2
    transforms = transforms_of(state.poses, state.joints(data))
    maps = state.maps(data)
    back = inverses(maps)
    at_rest = (back @ (data.vertices - maps[..., 3]).unsqueeze(-1)).squeeze(-1)
    left = without_start(at_rest, state.poses, start) - state.neutrals[data.subjects]
    identity = torch.eye(start.weights.shape[1], dtype=left.dtype) / priors.weights**2
    made = []
    for at in torch.arange(left.shape[1]).split(CHUNK):
        each = torch.einsum("nkab,nvb->nvak", transforms[..., :3], at_rest[:, at]) + transforms[..., 3].mT[:, None]
        slopes = back[:, at] @ (each - data.vertices[:, at, :, None])  # [N, C, 3, 5], of minus the vertices at rest
        kept = torch.tensordot(keep, slopes, 1)
        matrix = torch.einsum("ncak,ncal->ckl", slopes, kept) + identity
        pull = torch.einsum("ncak,nca->ck", kept, left[:, at])
        now = state.space.weights[at]
        right = pull + ((matrix - identity) @ now[..., None])[..., 0] + start.weights[at] / priors.weights**2
        made.append(simplex_least_squares(matrix, right))
    return replace(state, space=replace(state.space, weights=torch.cat(made)))


def learn_spaces(
    state: ModelState, data: Registrations, start: PoseSpace, priors: Priors, count: int | None, share: float
) -> ModelState:
    """New people, correctives and expressions: the best there are for the weights, joints and poses.

    count: of the expressions; None for as many as explain `share` of their variance. With the correctives eliminated by
    M (`residual_maker`) what is left to expressions of rank K is the least |M^(1/2) (D - e E)|^2: a singular value
    decomposition of M^(1/2) D.
    """
    at_rest = state.unposed(data)
    left = without_start(at_rest, state.poses, start)
    features, expressive = features_of(state.poses), data.expressive
    neutral = torch.nonzero(data.neutral).squeeze(1)
    bent = left - torch.tensordot(features, state.space.correctives - start.correctives, 1)
    neutrals = torch.empty_like(state.neutrals).index_copy(0, data.subjects[neutral], bent[neutral])
    moved = (left - neutrals[data.subjects])[expressive]
    seen = features[expressive]
    ridge = torch.full((FEATURES,), (priors.noise / priors.correctives) ** 2, dtype=left.dtype)
    values, vectors = torch.linalg.eigh(residual_maker(seen, ridge))
    root, inverse_root = ((vectors * values.clamp_min(TINY) ** power) @ vectors.T for power in (0.5, -0.5))
    samples = (root @ moved.flatten(1)).reshape(moved.shape).flatten(1)
    directions, found, variances = principal_directions(samples, len(samples) if count is None else count)
    if count is None:
        kept = min(count_explaining(variances, share), len(directions))
        directions, found = directions[:kept], found[:, :kept]
    explained = (inverse_root @ found) @ directions
    change = ridge_fit(seen, ridge, moved - explained.reshape(moved.shape))
    directions, found, _ = principal_directions(explained, len(directions))
    coefficients = torch.zeros(len(left), len(directions), dtype=left.dtype).index_copy(0, expressive, found)
    space = replace(state.space, correctives=start.correctives + change)
    return replace(
        state,
        space=space,
        neutrals=neutrals,
        directions=directions.reshape(-1, *left.shape[1:]),
        coefficients=coefficients,
    )
