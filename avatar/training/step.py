"""The learning of one step: what is drawn, what is lost, and what moves.

Each step draws rays from a few frames, renders them, and moves tables, networks, codes and pose corrections down the
losses' gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avatar.avatar import Avatar, sample_rays
from avatar.base.errors import InputError, TrainingError
from avatar.config import Config
from avatar.data.sampler import RayBatch, RaySampler
from avatar.field.frame_states import Probes, Rays
from avatar.render.rays import Rendered, render_samples
from avatar.render.volume import over
from avatar.training import losses
from avatar.training.checkpoint_files import checkpoint_path, has_checkpoint
from avatar.training.prepare import TrainingData
from avatar.training.surface_prior import SurfacePrior, SurfaceSamples

OCCUPANCY_POINTS = 8192
"""Points of the box looked at in an update of the occupancy."""
VERTEX_SAMPLES = 256
"""Vertices at which a step holds the deformation field still."""
PATCH = 9
"""Pixels of a side of the patches that the DSSIM looks at."""
REFRESH_INTERVAL = 16
"""Every so many steps hidden cells are sampled too, in case they have come to light."""
TABLE_EPSILON = 1e-15
"""Adam's epsilon for hash tables: their gradients are tiny (Mueller et al. 2022, section 4)."""


@dataclass
class Learner:
    """An avatar, what it learns from, and all that changes from step to step."""

    avatar: Avatar
    training: TrainingData
    optimizer: torch.optim.Optimizer
    sampler: RaySampler
    generator: torch.Generator
    surface: SurfacePrior | None

    @staticmethod
    def make(avatar: Avatar, training: TrainingData, config: Config) -> Learner:
        """A learner at its first step, everything drawn from the settings' seed."""
        settings = config.training
        sampler = RaySampler(
            training.frames,
            rays=settings.rays,
            frames_per_batch=settings.frames_per_batch,
            mouth_share=settings.mouth_share,
            eye_share=settings.eye_share,
            background_share=settings.background_share,
            patch=PATCH if settings.loss.dssim > 0 else 0,
            seed=settings.seed,
        )
        generator = torch.Generator(device=avatar.device).manual_seed(settings.seed)
        wanted = settings.loss.surface > 0 and config.field.warp.enabled
        surface = SurfacePrior.make(avatar, settings.seed) if wanted else None
        return Learner(avatar, training, make_optimizer(avatar, config), sampler, generator, surface)

    def take_step(self, step: int, progress: float, rate_factor: float, run: Path) -> tuple[dict[str, Tensor], int]:
        """Step number `step` (from 0); returns the losses by name and the number of samples that were evaluated.

        progress: share of the training that is done; rate_factor: what the learning rates are multiplied by. Raises
        TrainingError where a value is not finite, before it is stepped into; run: where the last checkpoint is.
        """
        avatar, settings = self.avatar, self.avatar.config.training
        avatar.progress = progress
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_rate"] * rate_factor
        try:
            hidden = step % REFRESH_INTERVAL == 0
            patched = progress >= settings.dssim_start  # there are patches where the DSSIM counts
            batch = self.sampler.batch(patched=patched)
            terms, samples = training_losses(avatar, self.training, batch, self.generator, self.surface, hidden=hidden)
        except InputError as error:  # a kernel refuses what the field gives it
            raise stopped(run, step, str(error)) from error
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        check_finite(avatar, terms, run, step)
        self.optimizer.step()
        if avatar.config.render.sampling == "occupancy" and (step + 1) % settings.occupancy_interval == 0:
            update_occupancy(avatar, self.training, self.generator)
        return terms, samples


def training_losses(
    avatar: Avatar,
    training: TrainingData,
    batch: RayBatch,
    generator: torch.Generator,
    surface: SurfacePrior | None,
    *,
    hidden: bool = True,
) -> tuple[dict[str, Tensor], int]:
    """The weighted losses of a batch by name, and the number of samples that were evaluated.

    The occupancy remembers what the rays saw. `hidden` False leaves out cells that no light reaches.
    """
    scene, weights = avatar.scene, avatar.config.training.loss
    states = scene.training_states(training.data.select(batch.frames), batch.frames, generator)
    rays = states.carry(batch_rays(training, batch))
    alpha = scene.alpha(avatar.progress)
    samples, placed = sample_rays(scene, states, rays, alpha, generator=generator, random=True, hidden=hidden)
    drawn = None if surface is None else surface.draw(len(batch.frames), generator)
    held = None
    if weights.vertex and states.deform is not None:
        held = vertex_points(avatar, training, batch, generator)
    probes = probes_of(drawn, held)
    density, colour = scene.functions(states, rays, alpha, placed, probes)
    rendered: Rendered = render_samples(samples, density, colour, backend=scene.backends.marching.name)

    if placed is not None:
        scene.observe(placed.points, rendered.density, rendered.light)

    x, y = batch.pixels.long().unbind(-1)
    plate = training.plate[y, x].float() / 255
    picture = over(rendered.colour, rendered.opacity, plate)
    terms = {"colour": losses.photometric(picture, batch.colour, weights.huber_delta)}
    if len(batch.patches):
        pairs = (part[batch.patches] for part in (picture, batch.colour))
        terms["dssim"] = weights.dssim * losses.dssim(*pairs, PATCH)
    # the opacity is the person's alone only where nothing else is in the field
    if weights.opacity and not scene.unbounded:
        terms["opacity"] = weights.opacity * losses.opacity_loss(rendered.opacity, batch.matte)
    if weights.entropy and not scene.unbounded:
        terms["entropy"] = weights.entropy * losses.opacity_entropy(rendered.opacity)
    if drawn is not None:
        terms["surface"] = weights.surface * drawn.loss(probes.density[: len(drawn.points)])
    if held is not None:
        terms["vertex"] = weights.vertex * losses.vertex_loss(probes.translation[-VERTEX_SAMPLES:])
    if weights.code:
        codes = [part for part in (states.deform, states.appearance) if part is not None]
        if codes:
            terms["code"] = weights.code * sum(losses.code_loss(part) for part in codes)
    if weights.pose and scene.pose is not None:
        terms["pose"] = weights.pose * losses.pose_loss(scene.pose)
    return terms, len(samples)


def batch_rays(training: TrainingData, batch: RayBatch) -> Rays:
    """The rays of a batch with their gates, each from its own frame's camera."""
    origins, turns = training.cameras
    x, y = batch.pixels.long().unbind(-1)
    inside = training.pixel_rays[y, x]
    directions = (turns.index_select(0, batch.frame_index) * inside[:, None, :]).sum(-1)
    gate = training.silhouettes[batch.frame_index, y, x]
    return Rays(origins.index_select(0, batch.frame_index), directions, batch.slot, gate)


def probes_of(drawn: SurfaceSamples | None, held: tuple[Tensor, Tensor] | None) -> Probes | None:
    """The prior's samples, then the vertices that are held, as probes; None where there are neither."""
    parts = [] if drawn is None else [(drawn.points, drawn.frame)]
    parts += [] if held is None else [held]
    return Probes(*(torch.cat(part) for part in zip(*parts, strict=True))) if parts else None


def vertex_points(
    avatar: Avatar, training: TrainingData, batch: RayBatch, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random vertices `[P, 3]` (metres) of the batch's heads, at which the deformation field is held still, and their
    frames `[P]`.

    With the FLAME warp all heads are the neutral one in the reference pose; without, they are the posed ones.
    """
    device = training.plate.device
    slot = torch.randint(len(batch.frames), (VERTEX_SAMPLES,), generator=generator, device=device)
    if avatar.config.field.warp.enabled:
        pool = avatar.reference_vertices
        pick = torch.randint(len(pool), (VERTEX_SAMPLES,), generator=generator, device=device)
        return pool[pick], slot
    with torch.no_grad():
        posed = training.subject.head(training.subject.params.select(batch.frames)).vertices
    pick = torch.randint(posed.shape[1], (VERTEX_SAMPLES,), generator=generator, device=device)
    return posed[slot, pick], slot


def update_occupancy(avatar: Avatar, training: TrainingData, generator: torch.Generator) -> None:
    """Look at the box through the eyes of a few random training frames."""
    count = min(avatar.config.training.frames_per_batch, len(training.frames))
    device = training.frames.device
    chosen = torch.randint(len(training.frames), (count,), generator=generator, device=device)
    alpha = avatar.scene.alpha(avatar.progress)
    avatar.scene.update_occupancy(training.data.select(chosen), chosen, alpha, OCCUPANCY_POINTS, generator)


def make_optimizer(avatar: Avatar, config: Config) -> torch.optim.Optimizer:
    """Adam with a learning rate per kind of parameter; mixed tables decay (AdamW: Loshchilov and Hutter 2019)."""
    settings, scene = config.training, avatar.scene
    tables, mixed, networks, deformation = [], [], [], []
    for name, parameter in scene.named_parameters():
        if name in ("deform_codes", "appearance_codes", "pose"):
            continue
        if name.startswith("deformation."):
            deformation.append(parameter)
        elif name.endswith(".bank.tables"):
            mixed.append(parameter)
        elif name.endswith((".table", ".grid.encoding.params")):
            tables.append(parameter)
        else:
            networks.append(parameter)
    codes = [part for part in (scene.deform_codes, scene.appearance_codes) if part is not None]
    poses = [] if scene.pose is None else [scene.pose]
    groups = [
        (tables, settings.table_rate, TABLE_EPSILON, 0.0),
        (mixed, settings.table_rate, TABLE_EPSILON, settings.bank_decay),
        (networks, settings.network_rate, 1e-8, 0.0),
        (deformation, settings.deformation_rate, 1e-8, 0.0),
        (codes, settings.code_rate, 1e-8, 0.0),
        (poses, settings.pose_rate, 1e-8, 0.0),
    ]
    return torch.optim.AdamW(
        [
            {"params": part, "lr": rate, "base_rate": rate, "eps": eps, "weight_decay": decay}
            for part, rate, eps, decay in groups
            if part
        ],
        betas=(0.9, 0.99),
        fused=True,
    )


def check_finite(avatar: Avatar, terms: dict[str, Tensor], run: Path, step: int) -> None:
    """Raise TrainingError naming the step and the first tensors that are not finite, before the optimiser's step.

    One sum over all losses and gradients, which NaN and infinity cannot hide in, costs 0.2 ms for 3.5 million
    parameters on two cores; only where it is not finite are the tensors looked at one by one.
    """
    parts = [value.detach().float() for value in terms.values()]
    parts += [parameter.grad.sum() for parameter in avatar.scene.parameters() if parameter.grad is not None]
    if bool(torch.isfinite(torch.stack(parts).sum())):
        return
    bad = [f"loss {name}" for name, value in terms.items() if not bool(torch.isfinite(value.detach()))]
    for name, parameter in avatar.scene.named_parameters():
        if not bool(torch.isfinite(parameter.detach()).all()):
            bad.append(f"parameter {name}")
        elif parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            bad.append(f"gradient of {name}")
    if bad:  # else the sum overflowed, and all is well
        raise stopped(run, step, ", ".join(bad[:4]))


def stopped(run: Path, step: int, found: str) -> TrainingError:
    """The error that ends a training in which `found` is not finite, with the checkpoint to go back to."""
    good = "none yet"
    if has_checkpoint(run):
        good = str(checkpoint_path(run))
    return TrainingError(
        f"a value is not finite at step {step}",
        where=run,
        expected="finite numbers",
        found=found,
        fix=f"the last good checkpoint is {good}; go on from it with --resume, or lower the learning rates",
    )
