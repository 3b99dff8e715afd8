"""Volume rendering of rays. The field comes as two functions, never as a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from avatar.rendering.sampling import Samples, dense_samples, importance, stratified
from avatar.rendering.volume import accumulate, render_weights

QueryDensity = Callable[[Samples], tuple[Tensor, Any]]
"""Takes samples; returns densities `[M]` per centimetre and a state that is passed on to `QueryColour`."""
QueryColour = Callable[[Samples, Any, Tensor | None], Tensor]
"""Takes samples, the state of their densities and the indices `[P]` wanted (None for all); returns colours `[P, 3]`."""
INVISIBLE = 1e-4
"""Samples with a smaller weight are not coloured by `render_visible`."""


@dataclass
class Rendered:
    """The rendering of R rays with M samples."""

    colour: Tensor
    """`[R, 3]`, premultiplied by the opacity, without background."""
    opacity: Tensor
    """`[R]` in [0, 1]."""
    weights: Tensor
    """`[M]` weights of the samples."""
    samples: Samples
    density: Tensor
    """`[M]` per centimetre."""
    transmittance: Tensor
    """`[M]` in front of the samples."""
    state: Any
    """The state that `query_density` returned."""
    backend: str
    """The backend of the compositing."""

    @cached_property
    def depth(self) -> Tensor:
        """`[R]` expected distance along the ray in metres, without gradient; zero where the opacity is."""
        parts = self.weights.detach() * self.samples.depth
        distance = accumulate(parts, self.samples, backend=self.backend)
        return distance / self.opacity.detach().clamp_min(1e-6)


def render_samples(
    samples: Samples, query_density: QueryDensity, query_colour: QueryColour, *, backend: str = "auto"
) -> Rendered:
    """Render samples with gradients; every sample is coloured. backend: see `render_weights`."""
    density, state = query_density(samples)
    weights, transmittance = render_weights(density, samples, backend=backend)
    colours = query_colour(samples, state, None)
    colour = accumulate(weights, samples, colours, backend=backend)
    return _compose(weights, transmittance, density, samples, colour, state, backend)


@torch.no_grad()
def render_visible(
    samples: Samples, query_density: QueryDensity, query_colour: QueryColour, *, backend: str = "auto"
) -> Rendered:
    """Render samples without gradients; samples of negligible weight, behind opaque surfaces, are not coloured."""
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
    """NeRF's hierarchical sampling on rays that enter the box at `near` `[R]` and leave it at `far` `[R]`, metres.

    One network serves both passes; the coarse pass only places the fine samples and has no gradient.

    Args:
        coarse, fine: samples per ray in each pass; without fine samples the coarse ones are returned.
        query_density: densities `[M]` per centimetre of samples.
        random: jitter the samples; otherwise they lie at the middles of their intervals.
        beyond: distance in metres; above 0, half of the coarse samples lie between the box and it, evenly in inverse
            distance.
        backend: see `avatar.rendering.volume.render_weights`.
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
