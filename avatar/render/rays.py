"""Rendering rays with functions: what is drawn is given as closures, never as a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from avatar.render.sampling import Samples, dense_samples, importance, stratified
from avatar.render.volume import accumulate, render_weights

QueryDensity = Callable[[Samples], tuple[Tensor, Any]]
"""From samples to densities `[M]` per centimetre, and a state that is handed on to the colours."""
QueryColour = Callable[[Samples, Any, Tensor | None], Tensor]
"""From samples, the state of their densities and the indices `[P]` wanted (None for all) to colours `[P, 3]`."""
INVISIBLE = 1e-4
"""A sample with a smaller weight is not coloured when a picture is rendered."""


@dataclass
class Rendered:
    """What R rays show."""

    colour: Tensor
    """`[R, 3]`, weighted by the opacity: nothing behind is included."""
    opacity: Tensor
    """`[R]`."""
    weights: Tensor
    """`[M]` of the samples."""
    samples: Samples
    density: Tensor
    """`[M]` per centimetre."""
    transmittance: Tensor
    """`[M]` share of the light that reaches the samples."""
    state: Any
    """What `query_density` returned beside the densities."""
    backend: str
    """Who composed them."""

    @cached_property
    def depth(self) -> Tensor:
        """`[R]` mean distance along the ray of what is seen, metres, without gradient; zero where nothing is."""
        parts = self.weights.detach() * self.samples.depth
        distance = accumulate(parts, self.samples, backend=self.backend)
        return distance / self.opacity.detach().clamp_min(1e-6)


def render_samples(
    samples: Samples, query_density: QueryDensity, query_colour: QueryColour, *, backend: str = "auto"
) -> Rendered:
    """Render samples with gradients: every sample is coloured. backend: who composes them (`render_weights`)."""
    density, state = query_density(samples)
    weights, transmittance = render_weights(density, samples, backend=backend)
    colours = query_colour(samples, state, None)
    colour = accumulate(weights, samples, colours, backend=backend)
    return _compose(weights, transmittance, density, samples, colour, state, backend)


@torch.no_grad()
def render_visible(
    samples: Samples, query_density: QueryDensity, query_colour: QueryColour, *, backend: str = "auto"
) -> Rendered:
    """Render samples for a picture: what is behind an opaque surface is not coloured."""
    density, state = query_density(samples)
    weights, transmittance = render_weights(density, samples, backend=backend)
    seen = (weights > INVISIBLE).nonzero().squeeze(1)
    colours = query_colour(samples, state, seen)
    visible = samples.select(seen)
    colour_sum = accumulate(weights[seen], visible, colours, backend=backend)
    return _compose(weights, transmittance, density, samples, colour_sum, state, backend)


def _compose(
    weights: Tensor, transmittance: Tensor, density: Tensor, samples: Samples, colour: Tensor, state: Any, backend: str
) -> Rendered:
    opacity = accumulate(weights, samples, backend=backend)
    return Rendered(colour, opacity, weights, samples, density.detach(), transmittance.detach(), state, backend)


@torch.no_grad()
def hierarchical_samples(
    near: Tensor,
    far: Tensor,
    coarse: int,
    fine: int,
    query_density: Callable[[Samples], Tensor],
    generator: torch.Generator | None = None,
    *,
    random: bool,
    beyond: float = 0.0,
    backend: str = "auto",
) -> Samples:
    """NeRF's two rounds of samples on rays that enter the box at `near` and leave it at `far` `[R]`.

    One network serves both rounds; the first only places the second's samples and carries no gradient. With `beyond`
    half of the first round's samples lie behind the box, up to that distance (metres), evenly in its inverse.
    """
    valid = far > near

    def noise(count: int) -> Tensor | None:
        return torch.rand(len(near), count, generator=generator, device=near.device) if random else None

    behind = coarse // 2 if beyond else 0
    depths = stratified(near, far, coarse - behind, noise(coarse - behind))
    if behind:
        end = torch.full_like(far, beyond)
        inverse = stratified(1 / far, 1 / end, behind, noise(behind))
        depths, far = torch.cat([depths, 1 / inverse], 1), end
    if fine == 0:
        return dense_samples(depths, far, valid)
    first = dense_samples(depths, far, valid)
    weights = depths.new_zeros(depths.shape)
    if len(first):
        weights[valid] = render_weights(query_density(first), first, backend=backend)[0].view(-1, coarse)
    further = importance(depths, weights, fine, noise(fine))
    return dense_samples(torch.cat([depths, further], 1).sort(1).values, far, valid)
