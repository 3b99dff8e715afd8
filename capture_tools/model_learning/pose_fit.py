"""The other half of the alternation: poses of all registrations and joints of all people, the linear part held.

Poses: Gauss-Newton for each registration with its coefficients of the expressions. Where the starting model's
expressions move nothing (scalp, neck) the learned ones may not explain motion either, or they would take a share of the
head's turning. Joints: linear in the poses as they stand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from capture_tools.model_learning.linear import residual_maker
from capture_tools.model_learning.pose_space import Priors, regressors_of, without_start
from capture_tools.model_learning.posing import (
    JOINTS,
    PARTS,
    POSE_SIZE,
    blended,
    inverses,
    joint_influence,
    pose_slopes,
    transforms_of,
)
from capture_tools.model_learning.state import ModelState, PoseSpace, Registrations

SAMPLED = 700
"""Vertices that decide on poses and joints."""
DOUBLED = ("jaw", "eyeLook")
"""Beginnings of the names of expressions that the joints make too."""
OF_EACH_JOINT = 60
"""Among them, of those that a joint holds most."""
MOST_ITERATIONS = 60
TOLERANCE = 1e-4
DEVIATIONS = (0.003, 0.0005, 0.1, 0.1, 0.1)
"""Radians and metres about the first poses: rotation, translation, neck, jaw, eyes."""
FIXED = 1e12
"""Precision of what is not to move."""
MOVING = 0.0003
"""Metres of an expression of the starting model from which on a vertex counts as moved by expressions."""


def sampled_vertices(weights: Tensor, count: int = SAMPLED, seed: int = 0) -> Tensor:
    """Indices `[C]` of vertices all over the head, the same for a seed, with some that each joint holds most."""
    generator = torch.Generator().manual_seed(seed)
    anywhere = torch.randperm(len(weights), generator=generator)
    per_joint = [anywhere[weights[anywhere, j].argsort(descending=True)[:OF_EACH_JOINT]] for j in range(JOINTS)]
    return torch.unique(torch.cat([*per_joint, anywhere[:count]]))


def moved_by_expressions(asset: HeadAsset) -> np.ndarray:
    """`[V]` from 0 to 1: how far a head's expressions move the vertices, without those that do what the joints do."""
    own = [i for i, name in enumerate(asset.expression_names) if not name.startswith(DOUBLED)]
    squared = np.square(asset.exprdirs[..., own]).sum(1).max(1, initial=0.0)
    return squared / (squared + MOVING**2)


def fit_poses(
    state: ModelState,
    data: Registrations,
    first: Tensor,
    priors: Priors,
    moving: np.ndarray,
    *,
    seed: int = 0,
) -> ModelState:
    """The state after one Gauss-Newton step of the poses and coefficients of registrations that are not neutral.

    first: poses `[N, 18]` that new ones stay near; moving: `[V]`, see `moved_by_expressions`.
    """
    at = sampled_vertices(state.space.weights, seed=seed)
    scene = _Sample.of(state, data, at)
    weights, correctives = state.space.weights[at], state.space.correctives[:, at]
    slopes = pose_slopes(state.poses, state.joints(data), weights, scene.rest, correctives)
    slopes = -(scene.back @ slopes).flatten(1, 2)
    held = torch.as_tensor(moving, dtype=state.directions.dtype)[at, None]
    directions = (held * state.directions[:, at]).flatten(1)
    along = -(slopes.mT @ directions.T)
    gram = (directions @ directions.T).expand(len(slopes), -1, -1)
    matrix = torch.cat([torch.cat([slopes.mT @ slopes, along], 2), torch.cat([along.mT, gram], 2)], 1)
    residual = (scene.at_rest - state.bends()[:, at] - scene.rest).flatten(1)
    residual = residual + state.coefficients @ (state.directions[:, at].flatten(1) - directions)
    right = torch.cat([(slopes.mT @ residual[..., None])[..., 0], -residual @ directions.T], 1)
    deviations = torch.tensor(DEVIATIONS, dtype=slopes.dtype).repeat_interleave(torch.tensor([*PARTS.values()]))
    tie = torch.cat([1 / deviations**2, torch.ones(len(directions), dtype=slopes.dtype)])
    off = torch.cat([state.poses - first, state.coefficients], 1)
    scale = 1 / priors.noise**2
    step = torch.linalg.solve(scale * matrix + torch.diag(tie), (-scale * right - tie * off)[..., None])[..., 0]
    step[data.neutral] = 0
    return replace(
        state, poses=state.poses + step[:, :POSE_SIZE], coefficients=state.coefficients + step[:, POSE_SIZE:]
    )


def fit_joints(state: ModelState, data: Registrations, start: PoseSpace, priors: Priors, *, seed: int = 0) -> Tensor:
    """Where each person's joints are, `[S, 5, 3]` metres at rest, by the poses as they stand.

    Correctives and expressions are eliminated, not held: correctives could do what a joint does.
    """
    at = sampled_vertices(start.weights, seed=seed)
    scene = _Sample.of(state, data, at)
    influence = joint_influence(state.poses)
    mixed = (state.space.weights[at] @ influence.flatten(2)).reshape(len(data.names), len(at), JOINTS, 3, 3)
    slopes = -(scene.back @ mixed.permute(0, 1, 3, 2, 4).flatten(3)).flatten(1, 2)  # [N, 3 C, 15]
    columns, ridge = regressors_of(state, data, priors)
    keep = residual_maker(columns, ridge) / priors.noise**2
    tie = torch.full((3 * JOINTS,), 1 / priors.joints**2, dtype=slopes.dtype)
    tie[:3] = FIXED  # nothing tells where the root joint is: a translation does the same
    count = data.subject_count

    def backward(rows: Tensor) -> Tensor:
        each = (slopes.mT @ rows.unsqueeze(-1)).squeeze(-1)
        return torch.zeros(count, 3 * JOINTS, dtype=rows.dtype).index_add(0, data.subjects, each)

    def normal(joints: Tensor) -> Tensor:
        return backward(keep @ (slopes @ joints[data.subjects].unsqueeze(-1)).squeeze(-1)) + tie * joints

    own = torch.diagonal(keep)[:, None, None] * (slopes.mT @ slopes)
    blocks = torch.zeros(count, 3 * JOINTS, 3 * JOINTS, dtype=own.dtype).index_add(0, data.subjects, own)
    inverse = torch.linalg.inv(blocks + torch.diag(tie))
    left = without_start(scene.at_rest, state.poses, replace(start, correctives=start.correctives[:, at]))
    left = (left - state.neutrals[data.subjects][:, at]).flatten(1)
    away = ((state.space.regressor - start.regressor) @ state.neutrals).flatten(1)
    step = conjugate_gradients(
        normal, lambda joints: (inverse @ joints[..., None])[..., 0], -backward(keep @ left) - tie * away
    )
    return state.space.regressor @ state.neutrals + step.reshape(-1, JOINTS, 3)


@dataclass(frozen=True)
class _Sample:
    """The registrations at some vertices."""

    rest: Tensor
    """`[N, C, 3]` of the model, without correctives."""
    back: Tensor
    """`[N, C, 3, 3]`: inverses of the maps' linear parts."""
    at_rest: Tensor
    """`[N, C, 3]`: the registrations unposed."""

    @staticmethod
    def of(state: ModelState, data: Registrations, at: Tensor) -> _Sample:
        maps = blended(transforms_of(state.poses, state.joints(data)), state.space.weights[at])
        back = inverses(maps)
        at_rest = (back @ (data.vertices[:, at] - maps[..., 3]).unsqueeze(-1)).squeeze(-1)
        return _Sample(state.rest(data)[:, at], back, at_rest)


def conjugate_gradients(
    normal: Callable[[Tensor], Tensor], preconditioned: Callable[[Tensor], Tensor], right: Tensor
) -> Tensor:
    """The solution of a positive definite system: `normal(x) = right`."""
    solution = torch.zeros_like(right)
    residual = right
    aside = preconditioned(residual)
    along = aside
    before = first = float((residual * aside).sum())
    for _ in range(MOST_ITERATIONS):
        if before <= TOLERANCE**2 * first or before <= 0:
            break
        pushed = normal(along)
        length = before / float((along * pushed).sum())
        solution = solution + length * along
        residual = residual - length * pushed
        aside = preconditioned(residual)
        now = float((residual * aside).sum())
        along = aside + now / before * along
        before = now
    return solution
