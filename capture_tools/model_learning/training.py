"""A head model from registrations: the alternation, and its result as a head.

Pose space, expressions and people are found by turns (`pose_space`, `pose_fit`, `joints`), from the starting model on;
the people then make the shape space, by principal components (Li et al., ACM TOG 36(6), 2017, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar.base.progress import Progress
from avatar.flame.assets import LANDMARKS, HeadAsset, make_head
from capture_tools.model_learning.joints import fit_regressor
from capture_tools.model_learning.linear import principal_directions
from capture_tools.model_learning.pose_fit import DOUBLED, fit_joints, fit_poses, moved_by_expressions
from capture_tools.model_learning.pose_space import Priors, learn_spaces, learn_weights
from capture_tools.model_learning.state import ModelState, PoseSpace, Registrations

FIRST_STEPS = 4
"""Gauss-Newton steps with the starting model."""
MUCH_BETTER = 0.5
"""Share of the distance with a registration's own pose that another pose has to reach."""
ROUGH_NOISE, FIRST_NOISE, LEAST_NOISE = 0.002, 0.001, 0.0002
"""Metres: of the starting model, of the first round, and in the end, where the registrations are as good as that."""
MOST_ROUNDS = 25
PATIENCE = ((2, 0.1), (4, 0.05))
"""Poses are released, and in the end the alternation ends, when so many rounds make the distance smaller by less than
that share."""
NOTHING_LEFT = 0.01
"""Millimetres of mean distance at which nothing is left for poses to explain, and they stay as they are."""
NAMED_DEVIATION = 0.3
"""Standard deviation of expressions that are actions in [0, 1]."""
EXPLAINED = 0.999
"""Share of the expressions' variance that is kept where no number is asked for."""


@dataclass(frozen=True)
class TrainedModel:
    """What training makes."""

    state: ModelState
    template: Tensor
    """`[V, 3]` metres: the mean person."""
    shapes: Tensor
    """`[S', V, 3]` metres, of one standard deviation each."""
    shape_variances: Tensor
    """Of all directions, square metres, largest first."""
    history: list[float]
    """Mean distance in millimetres between registrations and model after each round."""


def train_model(
    data: Registrations,
    asset: HeadAsset,
    *,
    first: HeadAsset | None = None,
    expressions: int | None = None,
    shapes: int | None = None,
) -> TrainedModel:
    """Learn a head model from registrations.

    asset: the starting model, from which nothing departs without reason. first: the head that poses and expressions are
    first found with, by default the same. expressions, shapes: how many directions; None for as many as the
    registrations hold.
    """
    start, known = PoseSpace.of(asset), asset if first is None else first
    state = best = first_state(data, known)
    moving, poses = moved_by_expressions(known), state.poses
    noise, history, released = FIRST_NOISE, [], 0
    with Progress("head model", MOST_ROUNDS, "round") as bar:
        for index in range(MOST_ROUNDS):
            priors = Priors(noise=noise)
            if released:
                state = fit_poses(state, data, poses, priors, moving, seed=index)
            if index:
                state = _moved(state, data, start, priors, index)
            state = learn_spaces(state, data, start, priors, expressions, EXPLAINED)
            away = state.predicted(data) - data.vertices
            history.append(1000 * float(away.norm(dim=-1).mean()))
            bar.update(index + 1, note=f"{history[-1]:.3f} mm")
            noise = max(LEAST_NOISE, float(away.square().mean().sqrt()))
            since = history[released:]
            patience, enough = PATIENCE[bool(released)]
            if history[-1] <= min(since):
                best = state
            if len(since) > patience and since[-1] > (1 - enough) * since[-1 - patience]:
                if released or history[-1] < NOTHING_LEFT:
                    break
                released = len(history)
    return with_shapes(best, history, shapes)


def with_shapes(state: ModelState, history: list[float], count: int | None) -> TrainedModel:
    """The trained model: principal components of its people about their mean, `count` or as many as there are."""
    template, most = state.neutrals.mean(0), len(state.neutrals) - 1
    off = (state.neutrals - template).flatten(1)
    directions, _, variances = principal_directions(off, most if count is None else count)
    return TrainedModel(state, template, directions.reshape(-1, *template.shape), variances[:most], history)


def _moved(state: ModelState, data: Registrations, start: PoseSpace, priors: Priors, seed: int) -> ModelState:
    """The state with new joints and weights, for the poses as they stand."""
    joints = fit_joints(state, data, start, priors, seed=seed)
    regressor = fit_regressor(start.regressor, state.neutrals, joints)
    state = replace(state, space=replace(state.space, regressor=regressor))
    return learn_weights(state, data, start, priors)


def first_state(data: Registrations, asset: HeadAsset) -> ModelState:
    """People from their neutral registrations, poses and expressions by a head model.

    Poses are those that the registrations were made with, but for registrations that others fit much better.
    """
    start, priors = PoseSpace.of(asset), Priors(noise=ROUGH_NOISE)
    only = data.select(torch.nonzero(data.neutral).squeeze(1))
    neutrals = torch.empty(data.subject_count, *data.vertices.shape[1:], dtype=torch.float64)
    neutrals[only.subjects] = only.vertices
    full, moving = directions_of(asset), moved_by_expressions(asset)
    deviations = torch.as_tensor(first_deviations(asset), dtype=torch.float64)
    nothing = torch.zeros(len(data.names), asset.expression_count, dtype=torch.float64)
    state = ModelState(start, neutrals, full * deviations[:, None, None], nothing, data.poses)
    for _ in range(3):  # the joints follow the people
        people = torch.empty_like(neutrals)
        people[only.subjects] = (state.unposed(data) - state.bends())[data.neutral]
        state = replace(state, neutrals=people)
    state = with_coefficients(state, data, priors.noise)
    moved = state
    for _ in range(FIRST_STEPS):
        moved = fit_poses(moved, data, data.poses, priors, moving)
        moved = with_coefficients(moved, data, priors.noise)
    better = moved.distances(data).mean(1) < MUCH_BETTER * state.distances(data).mean(1)
    return replace(
        state,
        poses=torch.where(better[:, None], moved.poses, state.poses),
        coefficients=torch.where(better[:, None], moved.coefficients, state.coefficients),
    )


def directions_of(asset: HeadAsset) -> Tensor:
    """The expressions `[E, V, 3]` of a head model, float64."""
    return torch.as_tensor(asset.exprdirs, dtype=torch.float64).permute(2, 0, 1).contiguous()


def first_deviations(asset: HeadAsset) -> np.ndarray:
    """Standard deviations `[E]` of the starting model's expressions."""
    named = "jawOpen" in asset.expression_names
    deviations = np.full(asset.expression_count, NAMED_DEVIATION if named else 1.0, np.float32)
    for index, name in enumerate(asset.expression_names):
        if name.startswith(DOUBLED):
            deviations[index] *= 0.2
    return deviations


def with_coefficients(state: ModelState, data: Registrations, noise: float) -> ModelState:
    """The state with the most likely coefficients of its expressions, whose prior is of unit variance."""
    residual = (state.unposed(data) - state.bends() - state.neutrals[data.subjects]).flatten(1)
    directions = state.directions.flatten(1)
    gram = directions @ directions.T + noise**2 * torch.eye(len(directions), dtype=directions.dtype)
    found = torch.linalg.solve(gram, directions @ residual.T).T
    found[data.neutral] = 0
    return replace(state, coefficients=found)


def head_of(trained: TrainedModel, asset: HeadAsset, name: str) -> HeadAsset:
    """The trained model as a head: topology, landmarks, regions, texture map and extras are the starting model's."""
    space = trained.state.space

    def last(directions: Tensor) -> np.ndarray:
        return directions.permute(1, 2, 0).numpy()

    arrays = {
        "template": trained.template.numpy(),
        "faces": asset.faces,
        "shapedirs": last(trained.shapes),
        "exprdirs": last(trained.state.directions),
        "posedirs": last(space.correctives),
        "joint_regressor": space.regressor.numpy(),
        "weights": space.weights.numpy(),
    }
    arrays |= {key: getattr(asset, key) for key in LANDMARKS}
    if asset.uv is not None and asset.uv_faces is not None:
        arrays |= {"uv": asset.uv, "uv_faces": asset.uv_faces}
    return make_head(name, arrays, regions=asset.regions, extras=asset.extras)
