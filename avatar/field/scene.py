"""The whole field of one avatar: warp, deformation and radiance, as functions of samples for the renderer.

Canonical space is the world with the head in its reference pose and a neutral expression. For a sample x of frame i:

    x_t = the torso's motion undone                (avatar.field.torso)
    y   = the head's motion undone, above the neck (avatar.field.warp)
    x'  = y - surface motion at y                  (avatar.field.displacement)
    x_c = x' + D(gamma_alpha(x'), omega_i)         (avatar.field.deformation)
    sigma, c = F(x_c, d, m_i(p) psi_i, phi_i)      (avatar.field.radiance)
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avatar.config import BackendConfig, FieldConfig, RenderConfig
from avatar.field.conditions import ConditionScale
from avatar.field.contraction import contract
from avatar.field.deformation import TranslationField
from avatar.field.displacement import GridLayout
from avatar.field.frame_states import FrameData, FrameStates, ProbeAnswers, Probes
from avatar.field.networks import choose_precision
from avatar.field.radiance import FieldInputs, make_radiance
from avatar.field.torso import TorsoMotion
from avatar.field.warp import NeckBlend, RigidMotion, rigid_inverse
from avatar.geometry.rotations import axis_angle_to_matrix
from avatar.kernels.march.types import MarchSpace
from avatar.kernels.runtime.backends import resolve_all
from avatar.rendering.occupancy import Occupancy, dilate

CODE_SPREAD = 0.01
BOX_MARGIN = 0.02
"""Metres added around a frame's part of space, for what bends at the neck."""
DILATED_DECAY = 0.97
DILATED_KEPT = 0.1
"""A cell that no looked-at frame has reached for about 75 updates is given up."""


class FieldAnswer(NamedTuple):
    """What the field holds at M samples, and at the probes that went along."""

    density: Tensor
    """`[M]` per centimetre."""
    features: Tensor
    """`[M, C]` geometry features, for the colour."""
    inputs: FieldInputs
    probes: ProbeAnswers | None


class Scene(nn.Module):
    """All that is learned of one avatar, and the space it lives in."""

    low: Tensor
    high: Tensor
    reference: Tensor
    nodes: Tensor | None
    dilated_memory: Tensor
    dilated: Tensor

    def __init__(
        self,
        field: FieldConfig,
        render: RenderConfig,
        backends: BackendConfig,
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

        `unbounded`: the field goes on around the box (`avatar.field.contraction`).
        """
        super().__init__()
        self.field, self.render, self.blend, self.layout = field, render, blend, layout
        self.backends = resolve_all(backends, low.device)
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
        x, y, z = ((high - low) / longest * render.occupancy_resolution).ceil().int().tolist()
        counts = (x, y, z)
        self.occupancy = Occupancy(low.float(), high.float(), counts)
        self.register_buffer("nodes", None if layout is None else layout.nodes(), persistent=False)
        self.register_buffer("dilated_memory", torch.zeros(counts))
        self.register_buffer("dilated", torch.zeros(counts, dtype=torch.bool))

    # -- frames -------------------------------------------------------------------------------------------------------

    def refined(self, world_from_skull: Tensor, frame: Tensor) -> Tensor:
        """`world_from_skull` `[B, 4, 4]` of training frames `frame` `[B]` with their learned corrections."""
        if self.pose is None:
            return world_from_skull
        delta = self.pose.index_select(0, frame)
        rotation = axis_angle_to_matrix(delta[:, :3])
        moved = torch.cat([rotation, delta[:, 3:, None]], -1)
        bottom = world_from_skull[:, 3:]
        return world_from_skull @ torch.cat([moved, bottom], 1)

    def training_states(
        self, data: FrameData, frame: Tensor, *, noise: float = 0.0, generator: torch.Generator | None = None
    ) -> FrameStates:
        """States of training frames `frame` `[B]`, whose data is `data`, with their own codes.

        noise: standard deviation of what is added to the scaled conditions: one expression must not explain one frame.
        """
        pose = self.refined(data.world_from_skull, frame)
        deform = None if self.deform_codes is None else self.deform_codes.index_select(0, frame)
        appearance = None if self.appearance_codes is None else self.appearance_codes.index_select(0, frame)
        scaled = self.condition(data.condition)
        if noise:
            scaled = scaled + noise * torch.randn(scaled.shape, generator=generator, device=scaled.device)
        return self.states(FrameData(pose, data.grids, data.condition), scaled, deform, appearance)

    def mean_states(self, data: FrameData, deform_code: Tensor | None = None) -> FrameStates:
        """States of frames the field has not seen: the mean of the training codes, or `deform_code` `[code]`."""
        count = len(data.condition)
        deform, appearance = None, None
        if self.deform_codes is not None:
            deform = (self.deform_codes.mean(0) if deform_code is None else deform_code).expand(count, -1)
        if self.appearance_codes is not None:
            appearance = self.appearance_codes.mean(0).expand(count, -1)
        return self.states(data, self.condition(data.condition), deform, appearance)

    def states(self, data: FrameData, scaled: Tensor, deform: Tensor | None, appearance: Tensor | None) -> FrameStates:
        """What the field needs of B frames: `scaled` `[B, C]` are their conditions on the field's scale."""
        torso_transforms, torso_from_world, pose = None, None, data.world_from_skull
        if self.torso is not None:
            torso_transforms = self.torso.torso_transforms(pose)
            torso_from_world = rigid_inverse(self.torso.world_from_torso(torso_transforms.detach()))
            pose = torso_from_world @ pose
        motion = RigidMotion.of(pose, self.reference) if self.field.warp.enabled else None
        if self.torso is not None and motion is not None:
            motion.height = self.torso.bent(motion.height)
        low, high = self.boxes(pose.detach())
        coefficients = scaled if self.projection is None else self.projection(scaled)
        return FrameStates(
            motion, data.grids, low, high, coefficients, deform, appearance, torso_transforms, torso_from_world
        )

    def boxes(self, world_from_skull: Tensor) -> tuple[Tensor, Tensor]:
        """Corners `[B, 3]` of boxes around what frames can show: the torso's box and the head's, moved on by
        `world_from_skull` `[B, 4, 4]` where the torso stands still."""
        count = len(world_from_skull)
        low, high = self.low.expand(count, 3), self.high.expand(count, 3)
        if not self.field.warp.enabled:
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

    # -- space and queries --------------------------------------------------------------------------------------------

    def normalise(self, points: Tensor) -> Tensor:
        """World points to the box's units: [0, 1] along its longest axis; with unbounded its middle half."""
        if self.unbounded:
            return contract(points, *self.core)
        return (points - self.low) / self.extent

    @cached_property
    def core(self) -> tuple[Tensor, float]:
        """Middle `[3]` and half the longest side of the box, metres."""
        return (self.low + self.high) / 2, float((self.high - self.low).max()) / 2

    @cached_property
    def march_space(self) -> MarchSpace:
        """The space that rays march through; it never changes."""
        occupancy, neck = self.occupancy, (self.blend.top, self.blend.bottom)
        return MarchSpace(occupancy.low, occupancy.cell, occupancy.counts, neck, rigid_inverse(self.reference))

    def window(self, progress: float) -> float:
        """Open bands of the deformation field's coarse-to-fine window at a share `progress` of the training."""
        return 0.0 if self.deformation is None else self.deformation.window(progress)

    def deform(self, points: Tensor, codes: Tensor | None, frame: Tensor, window: float) -> Tensor:
        """x' + D: normalised points `[M, 3]` under the codes `[B, code]` of frames `[M]`; unchanged without D."""
        if self.deformation is None or codes is None:
            return points
        return points + self.deformation(2 * points - 1, codes, frame, window) / 2

    def query(
        self,
        points: Tensor,
        states: FrameStates,
        frame: Tensor,
        mask: Tensor,
        window: float,
        probes: Probes | None = None,
    ) -> FieldAnswer:
        """What the field holds at x' `[M, 3]` (metres) of frames `[M]`.

        mask: `[M]` bool, the ray mask of the samples. The probes go into the same pass of the networks: a second pass
        would fill a second set of the tables' gradients.
        """
        count = len(points)
        if probes is not None:
            points, frame = torch.cat([points, probes.points]), torch.cat([frame, probes.frame])
            mask = torch.cat([mask, mask.new_ones(len(probes.points))])
        resting = self.normalise(points)
        deformed = self.deform(resting, states.deform, frame, window)
        inputs = FieldInputs(deformed.clamp(0, 1), frame, mask, states.coefficients)
        density, features = self.radiance.density(inputs)
        if probes is None:
            return FieldAnswer(density, features, inputs, None)
        translation = (deformed[count:] - resting[count:]) * self.extent
        return FieldAnswer(
            density[:count], features[:count], inputs.first(count), ProbeAnswers(density[count:], translation)
        )

    # -- occupancy ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def update_occupancy(
        self, data: FrameData, frame: Tensor, window: float, points: int, generator: torch.Generator | None = None
    ) -> None:
        """Look at random points of the box in the expressions and codes of training frames `frame` `[B]`."""
        where, cells = self.occupancy.candidates(points, generator)
        if len(where) == 0:
            return
        states = self.training_states(data, frame)
        drawn = torch.randint(len(frame), (len(where),), generator=generator, device=where.device)
        mask = torch.ones_like(drawn, dtype=torch.bool)
        density = self.query(where, states, drawn, mask, window).density
        self.occupancy.update(cells, density, self.density_threshold)
        self.dilated_memory.mul_(DILATED_DECAY)
        self.remember_dilated(data.grids[:2] if data.grids is not None else None)

    @torch.no_grad()
    def observe(self, warped: Tensor, density: Tensor, transmittance: Tensor) -> None:
        """Let the occupancy remember what a training step saw at x' `[M, 3]`."""
        self.occupancy.observe(warped, density, self.density_threshold, transmittance)

    @property
    def density_threshold(self) -> float:
        """The density per centimetre at which a step is as opaque as `render.occupancy_alpha`."""
        opaque = torch.tensor(self.render.occupancy_alpha)
        return float(-torch.log1p(-opaque) / (self.render.step * 100))

    def dilated_occupancy(self, grids: Tensor | None) -> Tensor:
        """Cells `[X, Y, Z]` (before the surface's motion is undone) that land in occupied ones in any of the frames.

        grids: `[B, nodes, 3]` displacement grids. One cell is added all around.
        """
        cells = self.occupancy.occupied.clone()
        if grids is not None and self.nodes is not None:
            here, inside = self.node_cells
            for grid in grids:
                source = self.in_canonical(self.nodes - grid.float())
                cells.view(-1)[here[self.occupancy.query(source) & inside]] = True
        return dilate(cells, 1)

    @cached_property
    def node_cells(self) -> tuple[Tensor, Tensor]:
        """The cells of the displacement grids' nodes, as `Occupancy.index` gives them; they never change."""
        assert self.nodes is not None
        return self.occupancy.index(self.in_canonical(self.nodes))

    def in_canonical(self, points: Tensor) -> Tensor:
        """Skull points `[P, 3]` of the reference pose in canonical coordinates, metres."""
        return torch.addmm(self.reference[:3, 3], points, self.reference[:3, :3].T)

    def remember_dilated(self, grids: Tensor | None) -> None:
        """Add what frames with these grids reach to what is searched in training."""
        reached = self.dilated_occupancy(grids)
        self.dilated_memory.masked_fill_(reached, 1.0)
        self.dilated.copy_(self.dilated_memory > DILATED_KEPT)

    def start_occupancy(self, allowed: Tensor, grids: Tensor | None) -> None:
        """Begin with the cells that may hold anything, as seen from all frames' grids `[N, nodes, 3]`."""
        self.occupancy.start(allowed)
        self.dilated_memory.zero_()
        self.remember_dilated(grids)
