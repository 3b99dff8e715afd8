"""Identity and albedo directions from clips alone, by turns: every clip's person by the present directions plus a free
smooth displacement, then directions from all people.

After FML (Tewari et al., "FML: Face Model Learning from Videos", CVPR 2019): one identity and one albedo for all frames
of a clip, pose, expression and light for each; identity kept off the expressions. The fits are optimised and the
directions principal components, where FML trains a network on all frames of all clips; docs/learning.md says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.base.progress import Progress
from avatar.flame.assets import GEOMETRY, LANDMARKS, HeadAsset, make_head
from capture_tools.model_learning.from_clips.albedo_space import AlbedoSpace, albedo_arrays, learn_albedo
from capture_tools.model_learning.from_clips.bases import (
    expression_span,
    largest_cosine,
    off_span,
    vertex_areas,
    without_similarity,
)
from capture_tools.model_learning.from_clips.person_fit import PersonFit, fit_person
from capture_tools.model_learning.from_clips.reading import Clip
from capture_tools.model_learning.from_clips.settings import ClipLearnSettings
from capture_tools.model_learning.linear import principal_directions
from capture_tools.track.offset_space import offset_space

OFFSET_WEIGHTS = (0.06, 0.3)
"""Weight of the free displacement's squared latents in the first round and in later ones, when the model knows more."""
UNTOLD = 1e-4
"""Weight of a vertex that no landmark tells anything about."""
SHAPE_WEIGHT = 0.1
"""Weight of the squared identity coefficients: the energy is a mean over frames, and many frames tell more than one."""


@dataclass(frozen=True)
class Basis:
    """Directions of identity."""

    directions: Tensor
    """`[K, 3 V]` metres, one standard deviation each."""
    variances: Tensor
    """`[min(N, 3 V)]` of all directions, largest first."""


@dataclass(frozen=True)
class LearnedBases:
    """What clips tell of people."""

    head: HeadAsset
    """The starting head with the learned identity directions in place of its own."""
    shape: Basis
    albedo: AlbedoSpace
    people: Tensor
    """`[N, 3 V]` metres: displacements that the shape directions were learned from."""
    cosines: tuple[float, float]
    """Of the smallest angle between an identity direction and the expressions' principal span, and their whole span."""
    landmark_errors: list[float]
    """Mean landmark distance of every round, over the eye distance."""
    changes: list[float]
    """Root mean square in millimetres of what every round's directions leave of the people's displacements."""


def learn(clips: Sequence[Clip], asset: HeadAsset, settings: ClipLearnSettings, name: str) -> LearnedBases:
    """Learn a head called `name` from clips, from the head `asset` on."""
    head: HeadAsset = asset
    people: list[PersonFit] = []
    errors, left = [], []
    with Progress("clips", settings.rounds * len(clips), "fit") as bar:
        for number in range(settings.rounds):
            weight = OFFSET_WEIGHTS[min(number, len(OFFSET_WEIGHTS) - 1)]
            starts = [person.state for person in people] or [None] * len(clips)
            people = []
            for clip, start in zip(clips, starts, strict=True):
                people.append(fit_person(clip, head, offset_weight=weight, shape_weight=SHAPE_WEIGHT, start=start))
                bar.update(number * len(clips) + len(people), note=clip.name)
            shape, samples = learn_shape(people, asset, settings)
            rows = [shape.directions, beside(asset, shape)] if settings.keep_start else [shape.directions]
            head = with_directions(asset, torch.cat(rows), name)
            errors.append(sum(fit.landmark_error for fit in people) / len(people))
            rest = shape.variances[len(shape.directions) :].sum()
            left.append(1000 * float(rest.sqrt()))
    albedo = learn_albedo([fit.albedo for fit in people], asset, settings.albedo_directions)
    areas = vertex_areas(asset)
    directions = shape.directions.unflatten(1, (-1, 3))
    spans = (expression_span(asset, areas, settings.expression_span), expression_span(asset, areas, 1.0))
    cosines = (largest_cosine(directions, spans[0], areas), largest_cosine(directions, spans[1], areas))
    return LearnedBases(with_albedo(head, albedo, name), shape, albedo, samples, cosines, errors, left)


def learn_shape(people: Sequence[PersonFit], asset: HeadAsset, settings: ClipLearnSettings) -> tuple[Basis, Tensor]:
    """Identity directions from fitted people, and the displacements `[N, 3 V]` that they were learned from.

    The mean of the displacements is taken away and not learned: on it lies what the detector does to everybody.
    Vertices count as much as landmarks tell of them, and directions are as long as they are beyond the noise (Tipping
    and Bishop, "Probabilistic principal component analysis", 1999).
    """
    areas = vertex_areas(asset)
    known = areas * (told_by_landmarks(asset) + UNTOLD)
    template, face = torch.as_tensor(asset.template).double(), areas * torch.as_tensor(asset.region("face"))
    displaced = torch.stack([person.displaced for person in people])
    displaced = without_similarity(displaced, template, face)
    displaced = off_span(displaced, expression_span(asset, areas, settings.expression_span), areas)
    displaced = displaced - displaced.mean(0)
    # Principal components by the metric: scaled by its root, and back.
    root = known.sqrt()[:, None].clamp_min(1e-12)
    scaled = (displaced * root).flatten(1)
    found, _, variances = principal_directions(scaled, settings.directions)
    beyond = variances[: len(found)] - variances[len(found) :].sum() / max(len(people) - 1 - len(found), 1)
    found = found * (beyond.clamp_min(0) / variances[: len(found)]).sqrt()[:, None]
    directions = (found.unflatten(1, (-1, 3)) / root).flatten(1)
    return Basis(directions, variances / known.sum()), displaced.flatten(1)


def told_by_landmarks(asset: HeadAsset) -> Tensor:
    """`[V]` float64 in [0, 1]: the share of a free displacement's variance that landmarks determine at each vertex."""
    variance = offset_space(asset).basis.double().square().sum(1)
    return (variance / variance.max()).square()


def beside(asset: HeadAsset, shape: Basis) -> Tensor:
    """The starting head's identity directions without what learned ones say of them: `[S, 3 V]`."""
    areas = vertex_areas(asset)
    template, face = torch.as_tensor(asset.template).double(), areas * torch.as_tensor(asset.region("face"))
    own = without_similarity(torch.as_tensor(asset.shapedirs).double().permute(2, 0, 1), template, face)
    root = (areas * (told_by_landmarks(asset) + UNTOLD)).sqrt()[:, None]
    learned = (shape.directions.unflatten(1, (-1, 3)) * root).flatten(1)
    learned = learned[learned.norm(dim=1) > 0]
    said = torch.linalg.lstsq(learned.T, (own * root).flatten(1).T).solution
    kept = shape.directions[shape.directions.norm(dim=1) > 0]
    return own.flatten(1) - said.T @ kept


def with_directions(asset: HeadAsset, directions: Tensor, name: str) -> HeadAsset:
    """The head `asset` with other identity directions `[K, 3 V]`."""
    return _remade(asset, name, {"shapedirs": directions.unflatten(1, (-1, 3)).permute(1, 2, 0).numpy()}, {})


def with_albedo(asset: HeadAsset, albedo: AlbedoSpace, name: str) -> HeadAsset:
    """The head `asset` with the albedo of people among its extras."""
    return _remade(asset, name, {}, albedo_arrays(albedo, asset))


def _remade(asset: HeadAsset, name: str, arrays: dict[str, np.ndarray], extras: dict[str, np.ndarray]) -> HeadAsset:
    """The head `asset` as `name`, with other arrays and further extras."""
    kept = {key: getattr(asset, key) for key in (*GEOMETRY, *LANDMARKS)}
    if asset.uv is not None and asset.uv_faces is not None:
        kept |= {"uv": asset.uv, "uv_faces": asset.uv_faces}
    return make_head(
        name,
        kept | arrays,
        expression_names=asset.expression_names,
        regions=asset.regions,
        extras=asset.extras | extras,
    )
