"""The albedo of people in general, learned from what clips show of them, and what it says of one person.

Hair over the forehead, lashes and teeth are no skin: what is far off the others at its place counts for nothing there.
A light that was fitted a little wrong multiplies the albedo by something smooth in the skin's normal, so albedos are
compared as logarithms, apart from the first harmonics of the neutral head's normals:

    log a_i = mean + sum_k c_ik direction_k + sum_l q_il H_l(n) + error
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.base.errors import HeadModelError
from avatar.flame.assets import HeadAsset
from avatar.geometry.meshes import vertex_normals
from avatar.kernels.harmonics.op import spherical_harmonics
from avatar.kernels.mesh.types import interpolate
from capture_tools.model_learning.from_clips.albedo import SIDE, SeenAlbedo, face_samples
from capture_tools.model_learning.linear import principal_directions

HARMONICS = 4
"""Harmonics of the normals in which the light may be wrong: a constant and a side."""
DARKEST = 0.01
"""Share of a face's mean colour below which its logarithm ends."""
CUTOFF = 2.0
"""Spreads from which on a colour is none of this skin: hair, lashes, teeth."""
NORMAL = 1.4826
"""Deviation of a normal distribution over its median absolute value."""
SMALLEST_SPREAD = 0.03
"""Spread of the logarithm below which a point is not trusted to lie: noise and wrong places."""
PASSES, FIRST_PASSES = 12, 4
"""Alternations between weights, light and directions, and those of them that have no directions yet."""
COMPLETING = 6
"""Alternations between weights, light and coefficients of one person."""
INDEPENDENT = 30.0
"""Number of independent measurements that the points of a face stand for: errors are smooth over it."""
RIDGE = 1e-3
"""Ridge on the light's harmonics, as a share of the evidence."""
NAMES = ("mean", "directions", "spread", "variances")


@dataclass(frozen=True)
class AlbedoSpace:
    """Logarithms of albedos over their face's mean colour, at P points."""

    mean: Tensor
    """`[P, 3]` float64."""
    directions: Tensor
    """`[K, P, 3]`, one standard deviation each."""
    spread: Tensor
    """`[P, 3]`: how far people are off what the directions say of them."""
    variances: Tensor
    """`[N]` of all directions, largest first."""
    harmonics: Tensor
    """`[P, L]` of the neutral head's normals."""


def learn_albedo(people: Sequence[SeenAlbedo], asset: HeadAsset, count: int) -> AlbedoSpace:
    """Mean and up to `count` principal directions of people's albedos, seen in part (EM for PCA with missing data,
    Roweis, NIPS 1997) and with outliers (Tukey's weights)."""
    harmonics = normal_harmonics(asset)
    colours = torch.stack([_logarithm(person) for person in people])
    seen = torch.stack([person.seen for person in people])
    mean = weighted_median(colours, seen)
    said = torch.zeros_like(colours)
    weights = seen
    spread, directions, variances = torch.ones_like(mean), colours[:0], mean.new_zeros(0)
    for number in range(PASSES):
        away = colours - mean - said
        away = away - light_error(away, weights, harmonics)
        spread = (NORMAL * weighted_median(away.abs(), seen)).clamp_min(SMALLEST_SPREAD)
        weights = seen * _trust(away / spread)
        told = weights[..., None] * away
        shift = told.sum(0) / weights.sum(0).clamp_min(0.5)[:, None]
        mean = mean + shift
        flat, coefficients, variances = principal_directions((said + told - shift).flatten(1), count)
        directions = flat.unflatten(1, (-1, 3))
        if number >= FIRST_PASSES:
            said = torch.einsum("nk,kpc->npc", coefficients, directions)
    return AlbedoSpace(mean, directions, spread, variances, harmonics)


def complete(person: SeenAlbedo, space: AlbedoSpace) -> Tensor:
    """The linear albedo `[P, 3]` that a space says of a person, seen or not, times the tone that was seen."""
    away = _logarithm(person) - space.mean
    count = len(space.directions)
    evidence = INDEPENDENT / away.numel() / space.spread.square()
    # As long as the coefficients are unknown, what the directions could say is no reason for distrust.
    possible = (space.spread.square() + space.directions.square().sum(0)).sqrt()
    said, weights = torch.zeros_like(away), person.seen
    for number in range(COMPLETING):
        left = away - said
        light = light_error(left[None], weights[None], space.harmonics)[0]
        weights = person.seen * _trust((left - light) / (possible if number < COMPLETING // 2 else space.spread))
        scaled = (space.directions * weights[:, None] * evidence).flatten(1)
        system = scaled @ space.directions.flatten(1).T + torch.eye(count, dtype=away.dtype)
        coefficients = torch.linalg.solve(system, scaled @ (away - light).flatten())
        said = torch.einsum("k,kpc->pc", coefficients, space.directions)
    return (space.mean + said).exp() * person.tone


def light_error(away: Tensor, weights: Tensor, harmonics: Tensor) -> Tensor:
    """The part of logarithms `[N, P, 3]` that harmonics `[P, L]` say of each person and channel, weights `[N, P]`."""
    ridge = RIDGE * torch.eye(harmonics.shape[1], dtype=away.dtype)
    system = torch.einsum("np,pa,pb->nab", weights, harmonics, harmonics) + ridge * (
        weights.sum(1)[:, None, None] + torch.finfo(away.dtype).eps
    )
    right = torch.einsum("np,pa,npc->nac", weights, harmonics, away)
    return torch.einsum("pa,nac->npc", harmonics, torch.linalg.solve(system, right))


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """`[P, C]`: the median over N of values `[N, P, C]` with weights `[N, P]`; the smallest where all weigh nothing."""
    ordered, order = values.sort(0)
    reached = weights[..., None].expand_as(values).gather(0, order).cumsum(0)
    place = (reached < reached[-1] / 2).sum(0, keepdim=True)
    return ordered.gather(0, place)[0]


def normal_harmonics(asset: HeadAsset) -> Tensor:
    """`[P, L]` float64 at the normals of the neutral head's `face_samples`."""
    samples, faces = face_samples(asset), torch.as_tensor(asset.faces)
    normals = vertex_normals(torch.as_tensor(asset.template).float(), faces.long())
    normals = torch.nn.functional.normalize(interpolate(normals, faces, samples.face, samples.barycentrics), dim=-1)
    return spherical_harmonics(normals)[:, :HARMONICS].double()


def albedo_arrays(space: AlbedoSpace, asset: HeadAsset) -> dict[str, np.ndarray]:
    """Extras of a head that carries the albedo of people (docs/learning.md says what they hold)."""
    arrays = {f"albedo_{name}": getattr(space, name).float().numpy() for name in NAMES}
    arrays["albedo_place"] = face_samples(asset).place.int().numpy()
    if asset.uv is not None:
        arrays |= {"albedo_side": np.array(SIDE), "albedo_uv_fingerprint": np.array(asset.uv_fingerprint)}
    return arrays


def albedo_from_head(asset: HeadAsset) -> AlbedoSpace:
    """The albedo that a learned head carries. Raises HeadModelError for a head without one."""
    if any(f"albedo_{name}" not in asset.extras for name in NAMES):
        raise HeadModelError(
            f"the head model {asset.name} has no albedo",
            expected="a head made by avatar model learn",
            fix="avatar model learn CAPTURES... --out MODEL.npz",
        )
    mean, directions, spread, variances = (
        torch.as_tensor(np.asarray(asset.extras[f"albedo_{name}"])).double() for name in NAMES
    )
    return AlbedoSpace(mean, directions, spread, variances, normal_harmonics(asset))


def _logarithm(person: SeenAlbedo) -> Tensor:
    return person.linear.clamp_min(DARKEST).log()


def _trust(deviations: Tensor) -> Tensor:
    """Tukey's weights `[..., P]` of deviations `[..., P, 3]` in spreads."""
    return (1 - (deviations / CUTOFF).square().mean(-1)).clamp_min(0).square()
