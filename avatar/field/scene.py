"""The whole field of one avatar: warp, deformation and radiance, as functions of samples for the renderer.

Canonical space is the world with the head in its reference pose and a neutral expression. For a sample x of frame i:

    x_t = the torso's motion undone                (avatar.field.torso)
    y   = the head's motion undone, above the neck (avatar.field.warp)
    x'  = y - surface motion at y                  (avatar.field.displacement)
    x_c = x' + D(gamma_alpha(x'), omega_i)         (avatar.field.deformation)
    sigma, c = F(x_c, d, m_i(p) psi_i, phi_i)      (avatar.field.radiance)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from avatar.config import Config
from avatar.field.conditions import ConditionScale
from avatar.field.contraction import contract
from avatar.field.deformation import TranslationField
from avatar.field.displacement import GridLayout
from avatar.field.frame_states import FrameData, FrameStates, Placed, Probes, Rays
from avatar.field.networks import choose_precision
from avatar.field.radiance import FieldInputs, make_radiance
from avatar.field.torso import TorsoMotion
from avatar.field.warp import NeckBlend, RigidMotion, rigid_inverse
from avatar.geometry.rotations import axis_angle_to_matrix
from avatar.kernels.march.op import march
from avatar.kernels.march.types import MarchMotion, MarchSpace
from avatar.kernels.runtime.backends import resolve_all
from avatar.kernels.warp import reference as warp_reference
from avatar.kernels.warp.op import place_samples
from avatar.render.occupancy import Occupancy, dilate
from avatar.render.sampling import Samples

CODE_SPREAD = 0.01
BOX_MARGIN = 0.02
"""Metres added around a frame's part of space, for what bends at the neck."""
REACH_DECAY = 0.97
REACH_KEPT = 0.1
"""A cell that no looked-at frame has reached for about 75 updates is given up."""


class Scene(nn.Module):
    """All that is learned of one avatar, and the space it lives in."""

    def __init__(
        self,
        config: Config,
        *,
        frames: int,
        condition_size: int,
        expression_size: int,
        low: Tensor,
        high: Tensor,
        reference: Tensor,
        blend: NeckBlend,
        layout: GridLayout | None,
        unbounded: bool = False,
    ) -> None:
        """`low`, `high` `[3]`: the canonical box. `reference` `[4, 4]`: `world_from_skull` of the reference pose.

        `unbounded`: the field goes on around the box (`field.surroundings`).
        """
        super().__init__()
        field = config.field
        self.config, self.blend, self.layout = config, blend, layout
        self.backends = resolve_all(config.backends, low.device)
        encoding = self.backends.encoding.name
        self.register_buffer("low", low.float())
        self.register_buffer("high", high.float())
        self.register_buffer("reference", reference.float())
        longest = float((high - low).max())
        self.unbounded = unbounded
        self.extent = 2 * longest if unbounded else longest
        learned = field.canonical == "hash"
        components = field.bank.components if learned else 0
        self.condition = ConditionScale(condition_size, expression_size, components)
        coefficients = field.bank.tables if learned else condition_size
        self.projection = nn.Linear(components or condition_size, coefficients, bias=False) if learned else None
        if self.projection is not None:
            nn.init.normal_(self.projection.weight, std=self.projection.in_features**-0.5)
        dtype = choose_precision(field.precision, low.device)
        self.radiance = make_radiance(field, coefficients, dtype, encoding)
        deform, refine = field.deformation.enabled, field.warp.enabled and field.warp.refine_pose
        self.deformation = TranslationField(field.deformation, dtype, backend=encoding) if deform else None
        codes = CODE_SPREAD * torch.randn(frames, field.deformation.code_size) if deform else None
        self.deform_codes = None if codes is None else nn.Parameter(codes)
        looks = field.appearance_code_size
        self.appearance_codes = nn.Parameter(torch.zeros(frames, looks)) if looks else None
        self.pose = nn.Parameter(torch.zeros(frames, 6)) if refine else None
        self.torso = TorsoMotion(reference.float(), blend) if field.warp.enabled and field.warp.torso else None
        counts = ((high - low) / longest * config.render.occupancy_resolution).ceil().int().tolist()
        self.occupancy = Occupancy(low.float(), high.float(), tuple(counts))
        self.register_buffer("nodes", None if layout is None else layout.nodes(), persistent=False)
        self.register_buffer("reach_memory", torch.zeros(counts))
        self.register_buffer("reach", torch.zeros(counts, dtype=torch.bool))

    # -- frames ------------------------------------------------------------------------------------------------------

    def refined(self, world_from_skull: Tensor, frame: Tensor) -> Tensor:
        """`world_from_skull` `[B, 4, 4]` of training frames `frame` `[B]` with their learned corrections."""
        if self.pose is None:
            return world_from_skull
        delta = self.pose.index_select(0, frame)
        rotation = axis_angle_to_matrix(delta[:, :3])
        moved = torch.cat([rotation, delta[:, 3:, None]], -1)
        bottom = world_from_skull[:, 3:]
        return world_from_skull @ torch.cat([moved, bottom], 1)

    def training_states(self, data: FrameData, frame: Tensor, generator: torch.Generator | None = None) -> FrameStates:
        """States of training frames `frame` `[B]`, whose data is `data`, with their own codes.

        With a generator the condition is disturbed as the settings say (`condition_noise`, `condition_dropout`).
        """
        pose = self.refined(data.world_from_skull, frame)
        deform = None if self.deform_codes is None else self.deform_codes.index_select(0, frame)
        appearance = None if self.appearance_codes is None else self.appearance_codes.index_select(0, frame)
        return self.states(FrameData(pose, data.grids, data.condition), deform, appearance, generator)

    def mean_states(self, data: FrameData, deform_code: Tensor | None = None) -> FrameStates:
        """States of frames the field has not seen: the mean of the training codes, or `deform_code` `[code]`."""
        count = len(data.condition)
        deform, appearance = None, None
        if self.deform_codes is not None:
            deform = (self.deform_codes.mean(0) if deform_code is None else deform_code).expand(count, -1)
        if self.appearance_codes is not None:
            appearance = self.appearance_codes.mean(0).expand(count, -1)
        return self.states(data, deform, appearance)

    def states(
        self,
        data: FrameData,
        deform: Tensor | None,
        appearance: Tensor | None,
        generator: torch.Generator | None = None,
    ) -> FrameStates:
        twists, still_from_world, pose = None, None, data.world_from_skull
        if self.torso is not None:
            twists = self.torso.twists(pose)
            still_from_world = rigid_inverse(self.torso.world_from_still(twists.detach()))
            pose = still_from_world @ pose
        motion = RigidMotion.of(pose, self.reference) if self.config.field.warp.enabled else None
        if self.torso is not None:
            motion.height = self.torso.bent(motion.height)
        low, high = self.boxes(pose.detach())
        condition = self.condition(data.condition)
        if generator is not None:
            condition = self.disturb(condition, generator)
        coefficients = condition if self.projection is None else self.projection(condition)
        return FrameStates(motion, data.grids, low, high, coefficients, deform, appearance, twists, still_from_world)

    def disturb(self, condition: Tensor, generator: torch.Generator) -> Tensor:
        """Conditions `[B, C]` with noise, and zero for some frames: one expression must not explain one frame."""
        settings, device = self.config.training, condition.device
        if settings.condition_noise:
            noise = torch.randn(condition.shape, generator=generator, device=device)
            condition = condition + settings.condition_noise * noise
        if settings.condition_dropout:
            kept = torch.rand(len(condition), 1, generator=generator, device=device) >= settings.condition_dropout
            condition = condition * kept
        return condition

    def boxes(self, world_from_skull: Tensor) -> tuple[Tensor, Tensor]:
        """Corners `[B, 3]` of boxes around what frames can show: the torso's box and the head's, moved on by
        `world_from_skull` `[B, 4, 4]` where the torso stands still."""
        count = len(world_from_skull)
        low, high = self.low.expand(count, 3), self.high.expand(count, 3)
        if not self.config.field.warp.enabled:
            return low, high
        bits = torch.tensor([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], device=low.device)
        neck = self.reference[:3, :3] @ low.new_tensor([0.0, self.blend.bottom, 0.0]) + self.reference[:3, 3]
        head_low = torch.stack([self.low[0], torch.maximum(self.low[1], neck[1] - BOX_MARGIN), self.low[2]])
        corners = torch.where(bits.bool(), self.high, head_low)
        matrix = world_from_skull @ rigid_inverse(self.reference)
        moved = corners @ matrix[:, :3, :3].transpose(-1, -2) + matrix[:, None, :3, 3]
        return (
            torch.minimum(low, moved.amin(1) - BOX_MARGIN),
            torch.maximum(high, moved.amax(1) + BOX_MARGIN),
        )

    # -- samples -----------------------------------------------------------------------------------------------------

    def march(
        self,
        states: FrameStates,
        rays: Rays,
        near: Tensor,
        far: Tensor,
        *,
        offset: Tensor,
        search: Tensor | None = None,
        hidden: bool = True,
        max_samples: int | None = None,
    ) -> tuple[Samples, Placed]:
        """Samples where rays meet occupied space between `near` and `far` `[R]`, and where they are placed.

        offset: `[R]` in [0, 1), where in its step a ray is sampled. search: cells looked at before the surface's motion
        is undone, by default those the training frames reach. hidden: sample cells that no light reaches in training
        too.
        """
        layout, motion = self.layout, states.motion
        moving = MarchMotion(None, None, None)
        if motion is not None:
            parts = (layout.origin, layout.cell, layout.counts, layout.offsets)
            moving = MarchMotion(motion.canonical_from_world.detach(), motion.height.detach(), states.grids, *parts)
        backend = self.backends.marching.name
        if backend == "nerfacc" and motion is not None:
            backend = "warp"  # nerfacc cannot bend rays
        marched = march(
            self.march_space,
            moving,
            rays.origins,
            rays.directions,
            rays.frame,
            near,
            far,
            step=self.config.render.step,
            offset=offset,
            search=self.reach if search is None else search,
            occupied=self.occupancy.occupied if hidden else self.occupancy.visible,
            max_samples=self.config.render.max_samples if max_samples is None else max_samples,
            backend=backend,
        )
        spacing = torch.full_like(marched.depth, self.config.render.step)
        samples = Samples(marched.ray, marched.depth, spacing, len(near), marched.first)
        return samples, self.place(states, rays, samples, marched.shift)

    @cached_property
    def march_space(self) -> MarchSpace:
        """The space that rays march through; it never changes."""
        occupancy, blend = self.occupancy, self.blend
        return MarchSpace(
            occupancy.low, occupancy.cell, occupancy.counts, (blend.top, blend.bottom), rigid_inverse(self.reference)
        )

    def place(self, states: FrameStates, rays: Rays, samples: Samples, shift: Tensor | None = None) -> Placed:
        """Samples with the head's rigid motion undone, less the surface's motion `shift` `[M, 3]`."""
        run = warp_reference.place_samples if self.backends.marching.name == "torch" else place_samples
        motion = states.motion
        moved = {
            "canonical_from_world": None if motion is None else motion.canonical_from_world,
            "height": None if motion is None else motion.height,
            "neck": (self.blend.top, self.blend.bottom),
        }
        ray, depth = samples.ray, samples.depth
        points, directions = run(rays.origins, rays.directions, rays.frame, ray, depth, shift=shift, **moved)
        if states.twists is not None and states.twists.requires_grad:
            points = self.torso.with_gradient(points, states.twists, rays.frame.index_select(0, ray))
        if rays.seen_from is not None:  # the same points again, each on a ray of its own from there
            seen_from = rays.seen_from[ray]
            away = rays.origins[ray] + depth.unsqueeze(1) * rays.directions[ray] - seen_from
            far = away.norm(dim=-1)
            looks = (seen_from, away / far.unsqueeze(1), rays.frame[ray])
            _, directions = run(*looks, torch.arange(len(far), device=far.device), far, **moved)
        return Placed(points, directions)

    def normalise(self, points: Tensor) -> Tensor:
        """World points to the box's units: [0, 1] along its longest axis; with surroundings its middle half."""
        if self.unbounded:
            return contract(points, *self.core)
        return (points - self.low) / self.extent

    @cached_property
    def core(self) -> tuple[Tensor, float]:
        """Middle `[3]` and half the longest side of the box, metres."""
        return (self.low + self.high) / 2, float((self.high - self.low).max()) / 2

    def alpha(self, progress: float) -> float:
        """Open bands of the deformation field's encoding at a share `progress` of the training."""
        return 0.0 if self.deformation is None else self.deformation.alpha(progress)

    def deform(self, points: Tensor, codes: Tensor | None, frame: Tensor, alpha: float) -> Tensor:
        """x' + D: normalised points `[M, 3]` under the codes `[B, code]` of frames `[M]`; unchanged without D."""
        if self.deformation is None or codes is None:
            return points
        return points + self.deformation(2 * points - 1, codes, frame, alpha) / 2

    def ask(
        self,
        points: Tensor,
        states: FrameStates,
        frame: Tensor,
        gate: Tensor,
        alpha: float,
        probes: Probes | None = None,
    ) -> tuple[Tensor, Tensor, FieldInputs]:
        """Densities `[M]` per centimetre, features `[M, C]` and inputs at x' `[M, 3]` (metres) of frames `[M]`.

        gate: `[M]` bool. `probes` are answered along with them: a second call would fill a second set of the tables'
        gradients.
        """
        count = len(points)
        if probes is not None:
            points, frame = torch.cat([points, probes.points]), torch.cat([frame, probes.frame])
            gate = torch.cat([gate, gate.new_ones(len(probes.points))])
        resting = self.normalise(points)
        moved = self.deform(resting, states.deform, frame, alpha)
        inputs = FieldInputs(moved.clamp(0, 1), frame, gate, states.coefficients)
        density, features = self.radiance.density(inputs)
        if probes is not None:
            probes.translation = (moved[count:] - resting[count:]) * self.extent
            (density, probes.density), features = density.tensor_split([count]), features[:count]
            inputs = inputs.first(count)
        return density, features, inputs

    def functions(
        self,
        states: FrameStates,
        rays: Rays,
        alpha: float,
        placed: Placed | None = None,
        probes: Probes | None = None,
    ) -> tuple[Callable, Callable]:
        """The density and colour functions the renderer asks (`avatar.render.rays`).

        `placed`: the samples they will be asked for, as `march` gives them; None places whatever is asked for.
        `probes` are answered with the densities.
        """

        def density(samples: Samples) -> tuple[Tensor, tuple[Tensor, FieldInputs, Tensor]]:
            where = self.place(states, rays, samples) if placed is None else placed
            frame = rays.frame.index_select(0, samples.ray)
            gate = rays.gate.index_select(0, samples.ray)
            if not self.config.field.gate:
                gate = torch.ones_like(gate)
            values, features, inputs = self.ask(where.points, states, frame, gate, alpha, probes)
            return values, (features, inputs, where.directions)

        def colour(samples: Samples, state: tuple[Tensor, FieldInputs, Tensor], wanted: Tensor | None) -> Tensor:
            features, inputs, directions = state
            if wanted is not None:
                features, directions = features.index_select(0, wanted), directions.index_select(0, wanted)
                inputs = inputs.select(wanted)
            return self.radiance.colour(features, inputs, directions, states.appearance)

        return density, colour

    # -- occupancy ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def update_occupancy(
        self, data: FrameData, frame: Tensor, alpha: float, points: int, generator: torch.Generator | None = None
    ) -> None:
        """Look at random points of the box in the expressions and codes of training frames `frame` `[B]`."""
        where, cells = self.occupancy.candidates(points, generator)
        if len(where) == 0:
            return
        states = self.training_states(data, frame)
        drawn = torch.randint(len(frame), (len(where),), generator=generator, device=where.device)
        gate = torch.ones_like(drawn, dtype=torch.bool)
        density, _, _ = self.ask(where, states, drawn, gate, alpha)
        self.occupancy.update(cells, density, self.density_threshold)
        self.reach_memory.mul_(REACH_DECAY)
        self.remember_reach(data.grids[:2] if data.grids is not None else None)

    @torch.no_grad()
    def observe(self, warped: Tensor, density: Tensor, light: Tensor) -> None:
        """Let the occupancy remember what a training step saw at x' `[M, 3]`."""
        self.occupancy.observe(warped, density, self.density_threshold, light)

    @property
    def density_threshold(self) -> float:
        """The density per centimetre at which a step is as opaque as `render.occupancy_alpha`."""
        render = self.config.render
        alpha = torch.tensor(render.occupancy_alpha)
        return float(-torch.log1p(-alpha) / (render.step * 100))

    def frame_reach(self, grids: Tensor | None) -> Tensor:
        """Cells `[X, Y, Z]` (before the surface's motion is undone) that land in occupied ones in any of the frames.

        grids: `[B, nodes, 3]` displacement grids. One cell is added all around.
        """
        cells = self.occupancy.occupied.clone()
        if grids is not None and self.layout is not None:
            here, inside = self.node_cells
            for grid in grids:
                source = self.in_canonical(self.nodes - grid.float())
                cells.view(-1)[here[self.occupancy.query(source) & inside]] = True
        return dilate(cells, 1)

    @cached_property
    def node_cells(self) -> tuple[Tensor, Tensor]:
        """The cells of the displacement grids' nodes, as `Occupancy.index` gives them; they never change."""
        return self.occupancy.index(self.in_canonical(self.nodes))

    def in_canonical(self, points: Tensor) -> Tensor:
        """Skull points `[P, 3]` of the reference pose in canonical coordinates, metres."""
        return torch.addmm(self.reference[:3, 3], points, self.reference[:3, :3].T)

    def remember_reach(self, grids: Tensor | None) -> None:
        """Add what frames with these grids reach to what is searched in training."""
        reached = self.frame_reach(grids)
        self.reach_memory.masked_fill_(reached, 1.0)
        self.reach.copy_(self.reach_memory > REACH_KEPT)

    def start_occupancy(self, allowed: Tensor, grids: Tensor | None) -> None:
        """Begin with the cells that may hold anything, as seen from all frames' grids `[N, nodes, 3]`."""
        self.occupancy.start(allowed)
        self.reach_memory.zero_()
        self.remember_reach(grids)
