"""One step of training: rays are drawn, rendered and compared, and the parameters move down the losses' gradient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from avatar.avatar import Avatar
from avatar.base.errors import InputError, TrainingError
from avatar.data.checkpoint_files import checkpoint_path, has_checkpoint
from avatar.data.sampler import RayBatch, RaySampler
from avatar.field.frame_states import FrameStates, ProbeAnswers, Probes, Rays
from avatar.field.ray_sampling import field_functions, sample_rays
from avatar.field.scene import Scene
from avatar.rendering.rays import render_samples
from avatar.rendering.volume import over
from avatar.training import losses
from avatar.training.lid_prior import shut_eyes
from avatar.training.mouth_prior import wide_mouths
from avatar.training.optimizer import make_optimizer, scale_rates
from avatar.training.posed_rays import PosedRays
from avatar.training.prepare import TrainingData
from avatar.training.room import RoomSampler, room_behind, room_losses
from avatar.training.surface_prior import SurfacePrior, SurfaceSamples

OCCUPANCY_POINTS = 8192
"""Points of the box looked at in an update of the occupancy."""
VERTEX_SAMPLES = 256
"""Vertices at which a step holds the deformation field still."""
REFRESH_INTERVAL = 16
"""Every so many steps cells without visibility are sampled too, in case they have come to light."""
FACES_INTERVAL = 4
"""Every so many steps faces that the clip does not show are learned: wide mouths, shut lids."""


@dataclass
class TrainState:
    """An avatar, what it learns from, and all that changes from step to step."""

    avatar: Avatar
    training: TrainingData
    optimizer: torch.optim.Optimizer
    sampler: RaySampler
    generator: torch.Generator
    surface: SurfacePrior | None
    faces: dict[str, PosedRays]
    """Faces that the clip does not show, under the names of their losses."""
    room: RoomSampler | None

    @staticmethod
    def make(avatar: Avatar, training: TrainingData) -> TrainState:
        """The state before the first step, everything drawn from the settings' seed."""
        settings = avatar.config.training
        sampler = RaySampler(
            training.frames,
            rays=settings.rays,
            frames_per_batch=settings.frames_per_batch,
            mouth_share=settings.mouth_share,
            eye_share=settings.eye_share,
            background_share=settings.background_share,
            seed=settings.seed,
        )
        generator = torch.Generator(device=avatar.device).manual_seed(settings.seed)
        wanted = settings.loss.surface > 0 and avatar.config.field.warp.enabled
        surface = SurfacePrior.make(avatar, training, settings.seed) if wanted else None
        if surface is not None:
            avatar.scene.occupancy.completed.copy_(surface.completed(avatar.scene.occupancy))
        faces = unseen_faces(avatar, training) if avatar.config.field.warp.enabled else {}
        room = None if avatar.scene.room is None else RoomSampler(training, settings.room_rays)
        optimizer = make_optimizer(avatar.scene, settings)
        return TrainState(avatar, training, optimizer, sampler, generator, surface, faces, room)


def unseen_faces(avatar: Avatar, training: TrainingData) -> dict[str, PosedRays]:
    """Faces that the clip does not show and that the settings give a weight, under the names of their losses."""
    weights, makers = avatar.config.training.loss, {"mouth": wide_mouths, "lids": shut_eyes}
    made = {name: make(avatar, training) for name, make in makers.items() if getattr(weights, name) > 0}
    return {name: rays for name, rays in made.items() if rays is not None}


class StepResult(NamedTuple):
    """What a step found."""

    losses: dict[str, Tensor]
    """The weighted losses by name, each a scalar."""
    sample_count: int
    """Samples at which the field was evaluated."""


def train_step(state: TrainState, step: int, progress: float, rate_factor: float, run: Path) -> StepResult:
    """Do step number `step` (from 0).

    Args:
        progress: share of the training that is done.
        rate_factor: factor of all learning rates.
        run: folder of the run, for the error that names its last checkpoint.

    Raises TrainingError where a value is not finite, before the optimiser steps into it.
    """
    avatar, settings = state.avatar, state.avatar.config.training
    avatar.progress = progress
    scale_rates(state.optimizer, rate_factor)
    try:
        result = training_losses(state, state.sampler.batch(), include_hidden=step % REFRESH_INTERVAL == 0)
        for turn, (name, rays) in enumerate(state.faces.items()):
            if step % FACES_INTERVAL == turn:
                weight = getattr(settings.loss, name)
                result.losses[name] = weight * rays.loss(avatar.scene, progress, state.generator)
    except InputError as error:  # a kernel refuses what the field gives it
        raise stopped(run, step, "a kernel refused what the field gave it", found=str(error)) from error
    state.optimizer.zero_grad(set_to_none=True)
    torch.stack(list(result.losses.values())).sum().backward()
    check_finite(avatar.scene, result.losses, run, step)
    state.optimizer.step()
    if avatar.config.render.sampling == "occupancy" and (step + 1) % settings.occupancy_interval == 0:
        update_occupancy(avatar, state.training, state.generator)
    return result


def training_losses(state: TrainState, batch: RayBatch, *, include_hidden: bool = True) -> StepResult:
    """The weighted losses of a batch.

    The occupancy remembers what the rays saw. include_hidden: sample cells that had no visibility so far, too.
    """
    avatar, training, generator = state.avatar, state.training, state.generator
    scene, settings = avatar.scene, avatar.config.training
    data = training.data.select(batch.frames)
    states = scene.training_states(data, batch.frames, noise=settings.condition_noise, generator=generator)
    seen = batch_rays(training, batch)
    rays = states.carry(seen)
    window = scene.window(avatar.progress)
    samples, canonical = sample_rays(
        scene, states, rays, window, jitter=True, generator=generator, include_hidden=include_hidden
    )
    drawn = None if state.surface is None else state.surface.draw(len(batch.frames), generator)
    held = None
    if settings.loss.vertex and states.deform is not None:
        held = vertex_points(avatar, training, batch, generator)
    query_density, query_colour = field_functions(scene, states, rays, window, canonical, probes_of(scene, drawn, held))
    rendered = render_samples(samples, query_density, query_colour, backend=scene.backends.marching.name)
    if canonical is not None:
        scene.observe(canonical.points, rendered.density, rendered.transmittance)

    terms, room_samples = learn_room(state)
    if scene.room is None:
        x, y = batch.pixels.long().unbind(-1)
        behind = training.background[y, x].float() / 255
    else:
        behind = room_behind(scene, seen, batch, generator)
    picture = over(rendered.colour, rendered.opacity, behind)
    terms["colour"] = losses.photometric(picture, batch.colour, settings.loss.huber_delta)
    if not scene.unbounded:  # the opacity is the person's alone only where nothing else is in the field
        terms["opacity"] = settings.loss.opacity * losses.opacity_loss(rendered.opacity, batch.mask)
        terms["entropy"] = settings.loss.entropy * losses.opacity_entropy(rendered.opacity)
    probes = rendered.state.probes
    if drawn is not None:
        terms["surface"] = settings.loss.surface * drawn.loss(probes.density[: len(drawn.points)])
        if settings.loss.completion:
            terms["completion"] = settings.loss.completion * completion_loss(avatar, states, drawn, probes, generator)
    if held is not None:
        terms["vertex"] = settings.loss.vertex * losses.vertex_loss(probes.translation[-VERTEX_SAMPLES:])
    terms |= regularisers(scene, states, settings.loss.code, settings.loss.pose)
    return StepResult(terms, len(samples) + room_samples)


def learn_room(state: TrainState) -> tuple[dict[str, Tensor], int]:
    """The weighted losses of the room, and the samples they took; nothing where it is not learned apart."""
    scene, weights = state.avatar.scene, state.avatar.config.training.loss
    if scene.room is None or state.room is None:
        return {}, 0
    rays = state.room.draw(state.generator)
    terms, count = room_losses(scene.room, rays, state.generator)
    factors = {"room": weights.room, "room_clear": weights.room_clear, "cameras": weights.pose}
    return {name: factors[name] * value for name, value in terms.items()}, count


def completion_loss(
    avatar: Avatar, states: FrameStates, drawn: SurfaceSamples, probes: ProbeAnswers, generator: torch.Generator
) -> Tensor:
    """What the field's colours lack of the completed surface's, where the clip never showed it."""
    count = drawn.offset.numel()
    camera = avatar.camera if avatar.camera_mode == "static" else None
    directions = drawn.view_directions(states, camera, generator)
    colours = avatar.scene.radiance.colour(
        probes.features[:count], probes.inputs.first(count), directions, states.appearance
    )
    occupancy = avatar.scene.occupancy
    visible = occupancy.query(drawn.points[:count], occupancy.visible)
    return drawn.colour_loss(probes.density[:count], colours, visible)


def regularisers(scene: Scene, states: FrameStates, code: float, pose: float) -> dict[str, Tensor]:
    """What codes and pose corrections cost by their size, weighted by `code` and `pose`; none of weight zero."""
    codes = [part for part in (states.deform, states.appearance) if part is not None]
    terms = {}
    if code and codes:
        terms["code"] = code * torch.stack([losses.code_loss(part) for part in codes]).sum()
    if pose and scene.pose is not None:
        terms["pose"] = pose * losses.pose_loss(scene.pose)
    return terms


def batch_rays(training: TrainingData, batch: RayBatch) -> Rays:
    """The rays of a batch with their ray masks, each from its own frame's camera."""
    x, y = batch.pixels.long().unbind(-1)
    origins, directions = training.world_rays(batch.frame_index, x, y)
    return Rays(origins, directions, batch.slot, training.silhouettes[batch.frame_index, y, x])


def probes_of(scene: Scene, drawn: SurfaceSamples | None, held: tuple[Tensor, Tensor] | None) -> Probes | None:
    """The prior's samples, then the vertices that are held, as probes; None where there are neither.

    The prior asks for its points as other cameras will (`ray_sampling.field_functions`): for the head with the
    expression, for the torso without.
    """
    parts = [] if drawn is None else [(drawn.points, drawn.frame)]
    parts += [] if held is None else [held]
    if not parts:
        return None
    points, frame = (torch.cat(part) for part in zip(*parts, strict=True))
    mask = torch.ones_like(frame, dtype=torch.bool)
    if drawn is not None:
        off = drawn.points[drawn.offset.numel() :]
        on_head = ~drawn.on_torso.repeat_interleave(drawn.offset.shape[1])
        mask[: len(drawn.points)] = torch.cat([on_head, scene.at_head(off)])
    return Probes(points, frame, mask)


def vertex_points(
    avatar: Avatar, training: TrainingData, batch: RayBatch, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random vertices `[P, 3]` (metres) of the batch's heads, at which the deformation field is held still, and their
    frames `[P]`.

    With the FLAME warp all heads are the neutral one in the reference pose; without, they are the posed ones.
    """
    device = training.background.device
    slot = torch.randint(len(batch.frames), (VERTEX_SAMPLES,), generator=generator, device=device)
    if avatar.config.field.warp.enabled:
        pool = avatar.reference_vertices
        pick = torch.randint(len(pool), (VERTEX_SAMPLES,), generator=generator, device=device)
        return pool[pick], slot
    with torch.no_grad():
        posed = training.identity.head(training.identity.params.select(batch.frames)).vertices
    pick = torch.randint(posed.shape[1], (VERTEX_SAMPLES,), generator=generator, device=device)
    return posed[slot, pick], slot


def update_occupancy(avatar: Avatar, training: TrainingData, generator: torch.Generator) -> None:
    """Look at the box through the eyes of a few random training frames."""
    count = min(avatar.config.training.frames_per_batch, len(training.frames))
    device = training.frames.device
    chosen = torch.randint(len(training.frames), (count,), generator=generator, device=device)
    window = avatar.scene.window(avatar.progress)
    avatar.scene.update_occupancy(training.data.select(chosen), chosen, window, OCCUPANCY_POINTS, generator)


def check_finite(scene: Scene, terms: dict[str, Tensor], run: Path, step: int) -> None:
    """Raise TrainingError naming the step and the first tensors that are not finite, before the optimiser's step.

    One sum over all losses and gradients, which NaN and infinity cannot hide in, costs 0.2 ms for 3.5 million
    parameters on two cores; only where it is not finite are the tensors looked at one by one.
    """
    parts = [value.detach().float() for value in terms.values()]
    parts += [parameter.grad.sum() for parameter in scene.parameters() if parameter.grad is not None]
    if bool(torch.isfinite(torch.stack(parts).sum())):
        return
    bad = [f"loss {name}" for name, value in terms.items() if not bool(torch.isfinite(value.detach()))]
    for name, parameter in scene.named_parameters():
        if not bool(torch.isfinite(parameter.detach()).all()):
            bad.append(f"parameter {name}")
        elif parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            bad.append(f"gradient of {name}")
    if bad:  # else the sum overflowed, and all is well
        raise stopped(run, step, "a value is not finite", expected="finite numbers", found=", ".join(bad[:4]))


def stopped(run: Path, step: int, what: str, *, found: str, expected: str | None = None) -> TrainingError:
    """The error that ends a training at `step`, with the checkpoint to go back to."""
    good = str(checkpoint_path(run)) if has_checkpoint(run) else "none yet"
    return TrainingError(
        f"{what} at step {step}",
        where=run,
        expected=expected,
        found=found,
        fix=f"the last good checkpoint is {good}; go on from it with --resume, or lower the learning rates",
    )
