"""Samples along rays in canonical space, and the field as the two functions that the renderer calls.

Samples are fixed steps through occupied space, or the paper's coarse and fine samples (`avatar.rendering.sampling`).
The inverse warp takes them to canonical space before the field is queried.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from avatar.field.contraction import FARTHEST, unbounded_interval
from avatar.field.frame_states import CanonicalSamples, FrameStates, ProbeAnswers, Probes, Rays
from avatar.field.radiance import FieldInputs
from avatar.field.scene import Scene
from avatar.kernels.march.op import march
from avatar.kernels.march.types import MarchMotion
from avatar.kernels.warp.op import to_canonical
from avatar.rendering.rays import QueryColour, QueryDensity, hierarchical_samples
from avatar.rendering.sampling import Samples, ray_box


class SampleState(NamedTuple):
    """Results of the density query that the colour query needs."""

    features: Tensor
    """`[M, C]` geometry features."""
    inputs: FieldInputs
    directions: Tensor
    """`[M, 3]` view directions, unit."""
    probes: ProbeAnswers | None
    """The field at the probes, None without probes."""


def sample_rays(
    scene: Scene,
    states: FrameStates,
    rays: Rays,
    window: float,
    *,
    jitter: bool,
    generator: torch.Generator | None = None,
    include_hidden: bool = True,
    include_unbounded: bool = True,
) -> tuple[Samples, CanonicalSamples | None]:
    """Samples of R rays by the configured scheme, and their canonical points where the scheme computes them.

    Args:
        window: coarse-to-fine window of the deformation field.
        jitter: draw a sample's position in its step at random (training); otherwise it is the step's middle.
        include_hidden: also sample cells that were hidden in all training frames.
        include_unbounded: also sample an unbounded field outside the person's box.
    """
    render = scene.render
    near, far = ray_box(rays.origins, rays.directions, *states.boxes_of(rays.frame))
    if render.sampling == "occupancy":
        middle = torch.full_like(near, 0.5)
        offset = torch.rand(len(near), generator=generator, device=near.device) if jitter else middle
        return march_rays(scene, states, rays, near, far, offset=offset, include_hidden=include_hidden)
    query_density, _ = field_functions(scene, states, rays, window)
    beyond = FARTHEST if scene.unbounded and include_unbounded else 0.0
    if beyond:
        near, far = unbounded_interval(near, far, rays.origins, rays.directions, *scene.core)
    samples = hierarchical_samples(
        near,
        far,
        render.coarse_samples,
        render.fine_samples,
        lambda samples: query_density(samples)[0],
        generator,
        random=jitter,
        beyond=beyond,
        backend=scene.backends.marching.name,
    )
    return samples, None


def march_rays(
    scene: Scene,
    states: FrameStates,
    rays: Rays,
    near: Tensor,
    far: Tensor,
    *,
    offset: Tensor,
    dilated: Tensor | None = None,
    occupied: Tensor | None = None,
    include_hidden: bool = True,
    max_samples: int | None = None,
) -> tuple[Samples, CanonicalSamples]:
    """Samples of rays in occupied space between `near` and `far` `[R]` (metres), and their canonical points.

    Args:
        offset: `[R]` in [0, 1), the position of a ray's samples in their steps.
        dilated: `[X, Y, Z]` bool dilated occupancy, looked up before the surface displacement is undone; by default
            that of the training frames.
        occupied: `[X, Y, Z]` bool cells that may hold density, by default the scene's.
        include_hidden: also sample cells that were hidden in all training frames.
        max_samples: most samples per ray, by default that of the settings.
    """
    layout, motion = scene.layout, states.motion
    march_motion = MarchMotion(None, None, None)
    if motion is not None and layout is not None:
        parts = (layout.origin, layout.cell, layout.counts, layout.offsets)
        march_motion = MarchMotion(motion.canonical_from_world.detach(), motion.height.detach(), states.grids, *parts)
    backend = scene.backends.marching.name
    if backend == "nerfacc" and motion is not None:
        backend = "warp"  # nerfacc cannot bend rays
    if occupied is None:
        occupied = scene.occupancy.occupied if include_hidden else scene.occupancy.visible
    marched = march(
        scene.march_space,
        march_motion,
        rays.origins,
        rays.directions,
        rays.frame,
        near,
        far,
        step=scene.render.step,
        offset=offset,
        dilated=scene.dilated if dilated is None else dilated,
        occupied=occupied,
        max_samples=scene.render.max_samples if max_samples is None else max_samples,
        backend=backend,
    )
    deltas = torch.full_like(marched.depth, scene.render.step)
    samples = Samples(marched.ray, marched.depth, deltas, len(near), marched.first)
    return samples, canonical_samples(scene, states, rays, samples, marched.displacement)


def canonical_samples(
    scene: Scene, states: FrameStates, rays: Rays, samples: Samples, displacement: Tensor | None = None
) -> CanonicalSamples:
    """Samples under the inverse warp: the head's rigid motion undone, minus the displacement `[M, 3]` (metres)."""
    motion, backend = states.motion, scene.backends.marching.name
    matrices = None if motion is None else motion.canonical_from_world
    height = None if motion is None else motion.height
    neck = (scene.blend.top, scene.blend.bottom)
    ray, depth = samples.ray, samples.depth
    points, directions = to_canonical(
        *(rays.origins, rays.directions, rays.frame, ray, depth),
        canonical_from_world=matrices,
        height=height,
        neck=neck,
        displacement=displacement,
        backend=backend,
    )
    if scene.torso is not None and states.torso_transforms is not None and states.torso_transforms.requires_grad:
        points = scene.torso.with_gradient(points, states.torso_transforms, rays.frame.index_select(0, ray))
    if rays.seen_from is not None:  # the directions of the same points, each on its own ray from its view point
        seen_from = rays.seen_from[ray]
        away = rays.origins[ray] + depth.unsqueeze(1) * rays.directions[ray] - seen_from
        distance = away.norm(dim=-1)
        own = torch.arange(len(distance), device=distance.device)
        _, directions = to_canonical(
            *(seen_from, away / distance.unsqueeze(1), rays.frame[ray], own, distance),
            canonical_from_world=matrices,
            height=height,
            neck=neck,
            backend=backend,
        )
    return CanonicalSamples(points, directions)


def field_functions(
    scene: Scene,
    states: FrameStates,
    rays: Rays,
    window: float,
    canonical: CanonicalSamples | None = None,
    probes: Probes | None = None,
    presence: Tensor | None = None,
) -> tuple[QueryDensity, QueryColour]:
    """`query_density` and `query_colour` as the renderer calls them (`avatar.rendering.rays`).

    Args:
        window: coarse-to-fine window of the deformation field.
        canonical: the canonical samples of the only samples the functions will be called with, from `march_rays`; None
            warps the samples of every call.
        probes: further points for the density query; their results are in the state that `query_density` returns.
        presence: `[M]` factors on the density of `canonical`'s samples.
    """

    def query_density(samples: Samples) -> tuple[Tensor, SampleState]:
        warped = canonical_samples(scene, states, rays, samples) if canonical is None else canonical
        frame = rays.frame.index_select(0, samples.ray)
        mask = rays.mask.index_select(0, samples.ray)
        if rays.seen_from is not None and scene.field.warp.enabled:  # without the warp no prior taught what is beside
            mask = mask | scene.at_head(warped.points)
        if not scene.field.gate:
            mask = torch.ones_like(mask)
        answer = scene.query(warped.points, states, frame, mask, window, probes)
        density = answer.density if presence is None else answer.density * presence
        return density, SampleState(answer.features, answer.inputs, warped.directions, answer.probes)

    def query_colour(samples: Samples, state: SampleState, wanted: Tensor | None) -> Tensor:
        features, inputs, directions = state.features, state.inputs, state.directions
        if wanted is not None:
            features, directions = features.index_select(0, wanted), directions.index_select(0, wanted)
            inputs = inputs.select(wanted)
        return scene.radiance.colour(features, inputs, directions, states.appearance)

    return query_density, query_colour
