"""Samples along rays, and the field as the two functions that the renderer calls for them.

Samples are steps through occupied space or the paper's coarse and fine rounds (`avatar.rendering.sampling`). Each is
carried to canonical space by the inverse warp before the field is queried.
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
    """What the density of samples leaves for their colour."""

    features: Tensor
    """`[M, C]` geometry features."""
    inputs: FieldInputs
    directions: Tensor
    """`[M, 3]` view directions, unit."""
    probes: ProbeAnswers | None
    """Answers to the probes, where any were sent along."""


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
    """Samples of R rays by the configured scheme, and their canonical points where the scheme has them already.

    Args:
        window: open bands of the coarse-to-fine window.
        jitter: draw a sample's place in its step at random (training); otherwise it is the step's middle.
        include_hidden: sample cells that had no visibility in the training frames too.
        include_unbounded: sample what an unbounded field holds outside the person's box.
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
    include_hidden: bool = True,
    max_samples: int | None = None,
) -> tuple[Samples, CanonicalSamples]:
    """Samples where rays meet occupied space between `near` and `far` `[R]` (metres), and their canonical points.

    Args:
        offset: `[R]` in [0, 1), the place of a ray's samples in their steps.
        dilated: `[X, Y, Z]` dilated occupancy: cells looked at before the surface's motion is undone. By default that
            of the training frames.
        include_hidden: sample cells that had no visibility in the training frames too.
        max_samples: most samples of a ray, by default the settings'.
    """
    layout, motion = scene.layout, states.motion
    moving = MarchMotion(None, None, None)
    if motion is not None and layout is not None:
        parts = (layout.origin, layout.cell, layout.counts, layout.offsets)
        moving = MarchMotion(motion.canonical_from_world.detach(), motion.height.detach(), states.grids, *parts)
    backend = scene.backends.marching.name
    if backend == "nerfacc" and motion is not None:
        backend = "warp"  # nerfacc cannot bend rays
    marched = march(
        scene.march_space,
        moving,
        rays.origins,
        rays.directions,
        rays.frame,
        near,
        far,
        step=scene.render.step,
        offset=offset,
        dilated=scene.dilated if dilated is None else dilated,
        occupied=scene.occupancy.occupied if include_hidden else scene.occupancy.visible,
        max_samples=scene.render.max_samples if max_samples is None else max_samples,
        backend=backend,
    )
    deltas = torch.full_like(marched.depth, scene.render.step)
    samples = Samples(marched.ray, marched.depth, deltas, len(near), marched.first)
    return samples, canonical_samples(scene, states, rays, samples, marched.displacement)


def canonical_samples(
    scene: Scene, states: FrameStates, rays: Rays, samples: Samples, displacement: Tensor | None = None
) -> CanonicalSamples:
    """Samples under the inverse warp: the head's rigid motion undone, less the surface's `displacement` `[M, 3]`."""
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
    if rays.seen_from is not None:  # the same points again, each on a ray of its own from there
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
) -> tuple[QueryDensity, QueryColour]:
    """`query_density` and `query_colour` as the renderer calls them (`avatar.rendering.rays`).

    Args:
        canonical: the samples they will be called with, as `march_rays` gives them; None warps whatever comes.
        probes: go along with the densities; their answers are in the state that `query_density` returns.
    """

    def query_density(samples: Samples) -> tuple[Tensor, SampleState]:
        warped = canonical_samples(scene, states, rays, samples) if canonical is None else canonical
        frame = rays.frame.index_select(0, samples.ray)
        mask = rays.mask.index_select(0, samples.ray)
        if not scene.field.gate:
            mask = torch.ones_like(mask)
        answer = scene.query(warped.points, states, frame, mask, window, probes)
        return answer.density, SampleState(answer.features, answer.inputs, warped.directions, answer.probes)

    def query_colour(samples: Samples, state: SampleState, wanted: Tensor | None) -> Tensor:
        features, inputs, directions = state.features, state.inputs, state.directions
        if wanted is not None:
            features, directions = features.index_select(0, wanted), directions.index_select(0, wanted)
            inputs = inputs.select(wanted)
        return scene.radiance.colour(features, inputs, directions, states.appearance)

    return query_density, query_colour
