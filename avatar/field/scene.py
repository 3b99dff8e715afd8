"""The deformable field of one avatar: inverse warp, deformation and canonical radiance.

Canonical space is the world with the head in its reference pose and a neutral expression. For a sample x of frame i:

    x_t = inverse torso motion of x                (avatar.field.torso)
    y   = inverse head motion of x_t above the neck (avatar.field.warp)
    x'  = y - surface displacement at y            (avatar.field.displacement)
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
from avatar.field.room import RoomField
from avatar.field.torso import TorsoMotion
from avatar.field.warp import NeckBlend, RigidMotion, rigid_inverse
from avatar.geometry.rotations import axis_angle_to_matrix
from avatar.kernels.march.types import MarchSpace
from avatar.kernels.runtime.backends import resolve_all
from avatar.rendering.occupancy import Occupancy, dilate

CODE_SPREAD = 0.01
"""Standard deviation of the initial deformation codes."""
BOX_MARGIN = 0.02
"""Metres added around a frame's box, for points between head and torso motion at the neck."""
DILATED_DECAY = 0.97
"""Factor on the stored dilated occupancy at every update."""
DILATED_KEPT = 0.1
"""Threshold of the stored dilated occupancy: a cell is dropped about 75 updates after the last frame that needed it."""


class FieldAnswer(NamedTuple):
    """The field at M samples, and at the probes."""

    density: Tensor
    """`[M]` per centimetre."""
    features: Tensor
    """`[M, C]` geometry features, for the colour."""
    inputs: FieldInputs
    probes: ProbeAnswers | None


class Scene(nn.Module):
    """The learned parameters of one avatar, its canonical space and its occupancy."""

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
        room: bool = False,
    ) -> None:
        """A scene of `frames` training frames.

        low, high: `[3]` corners of the canonical box, metres. reference: `[4, 4]` `world_from_skull` of the reference
        pose. layout: of the displacement grids, None without the FLAME warp. unbounded: the field includes the
        surroundings of the box (`avatar.field.contraction`). room: they are learned apart (`avatar.field.room`).
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
        self.room = RoomField(field.room, frames=frames, dtype=dtype, encoding=encoding) if room else None
        x, y, z = ((high - low) / longest * render.occupancy_resolution).ceil().int().tolist()
        counts = (x, y, z)
        self.occupancy = Occupancy(low.float(), high.float(), counts)
        self.register_buffer("nodes", None if layout is None else layout.nodes(), persistent=False)
        self.register_buffer("dilated_memory", torch.zeros(counts))
        self.register_buffer("dilated", torch.zeros(counts, dtype=torch.bool))

    # -- frames -------------------------------------------------------------------------------------------------------

    def refined(self, world_from_skull: Tensor, frame: Tensor) -> Tensor:
        """`world_from_skull` `[B, 4, 4]` of training frames `frame` `[B]` with their learned pose corrections."""
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
        """States of training frames `frame` `[B]` with data `data` and their own codes.

        noise: standard deviation of the noise on the scaled conditions, against overfitting single frames.
        """
        pose = self.refined(data.world_from_skull, frame)
        deform = None if self.deform_codes is None else self.deform_codes.index_select(0, frame)
        appearance = None if self.appearance_codes is None else self.appearance_codes.index_select(0, frame)
        scaled = self.condition(data.condition)
        if noise:
            scaled = scaled + noise * torch.randn(scaled.shape, generator=generator, device=scaled.device)
        return self.states(FrameData(pose, data.grids, data.condition), scaled, deform, appearance)

    def mean_states(self, data: FrameData, deform_code: Tensor | None = None) -> FrameStates:
        """States of unseen frames: with the mean training codes, or the deformation code `deform_code` `[code]`."""
        count = len(data.condition)
        deform, appearance = None, None
        if self.deform_codes is not None:
            deform = (self.deform_codes.mean(0) if deform_code is None else deform_code).expand(count, -1)
        if self.appearance_codes is not None:
            appearance = self.appearance_codes.mean(0).expand(count, -1)
        return self.states(data, self.condition(data.condition), deform, appearance)

    def states(self, data: FrameData, scaled: Tensor, deform: Tensor | None, appearance: Tensor | None) -> FrameStates:
        """States of B frames with scaled conditions `[B, C]` and deformation and appearance codes `[B, code]`."""
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
        """Low and high corners `[B, 3]` of the frames' boxes: around the canonical box and the head's box moved by
        `world_from_skull` `[B, 4, 4]`, in the torso's frame; metres."""
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
        """Canonical points `[..., 3]` in units of the box: [0, 1] along its longest axis, contracted if unbounded."""
        if self.unbounded:
            return contract(points, *self.core)
        return (points - self.low) / self.extent

    @cached_property
    def core(self) -> tuple[Tensor, float]:
        """Middle `[3]` and half the longest side of the box, metres."""
        return (self.low + self.high) / 2, float((self.high - self.low).max()) / 2

    @cached_property
    def march_space(self) -> MarchSpace:
        """The space of the ray march; constant."""
        occupancy, neck = self.occupancy, (self.blend.top, self.blend.bottom)
        return MarchSpace(occupancy.low, occupancy.cell, occupancy.counts, neck, rigid_inverse(self.reference))

    def window(self, progress: float) -> float:
        """The coarse-to-fine window at a share `progress` of the training; 0 without deformation field."""
        return 0.0 if self.deformation is None else self.deformation.window(progress)

    def deform(self, points: Tensor, codes: Tensor | None, frame: Tensor, window: float) -> Tensor:
        """x_c = x' + D of normalised points x' `[M, 3]`, with the codes `[B, code]` of `frame` `[M]`; x' without D."""
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
        """The field at points x' `[M, 3]` (metres) of frames `[M]`.

        mask: `[M]` bool ray mask of the samples. window: coarse-to-fine window. The probes share the forward pass: a
        second pass would allocate a second set of gradients of the tables.
        """
        count = len(points)
        if probes is not None:
            points, frame = torch.cat([points, probes.points]), torch.cat([frame, probes.frame])
            mask = torch.cat([mask, probes.mask])
        normalised = self.normalise(points)
        deformed = self.deform(normalised, states.deform, frame, window)
        inputs = FieldInputs(deformed.clamp(0, 1), frame, mask, states.coefficients)
        density, features = self.radiance.density(inputs)
        if probes is None:
            return FieldAnswer(density, features, inputs, None)
        translation = (deformed[count:] - normalised[count:]) * self.extent
        answers = ProbeAnswers(density[count:], translation, features[count:], inputs.after(count))
        return FieldAnswer(density[:count], features[:count], inputs.first(count), answers)

    # -- occupancy ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def update_occupancy(
        self, data: FrameData, frame: Tensor, window: float, points: int, generator: torch.Generator | None = None
    ) -> None:
        """Update the occupancy with `points` random points under the states of training frames `frame` `[B]`."""
        positions, cells = self.occupancy.candidates(points, generator)
        if len(positions) == 0:
            return
        states = self.training_states(data, frame)
        drawn = torch.randint(len(frame), (len(positions),), generator=generator, device=positions.device)
        mask = self.at_head(positions) if self.field.warp.enabled else torch.ones_like(drawn, dtype=torch.bool)
        density = self.query(positions, states, drawn, mask, window).density
        self.occupancy.update(cells, density, self.density_threshold)
        self.dilated_memory.mul_(DILATED_DECAY)
        self.remember_dilated(data.grids[:2] if data.grids is not None else None)

    @torch.no_grad()
    def observe(self, warped: Tensor, density: Tensor, transmittance: Tensor) -> None:
        """Update the occupancy with densities and transmittance `[M]` of a train step at points x' `[M, 3]`."""
        self.occupancy.observe(warped, density, self.density_threshold, transmittance)

    @property
    def density_threshold(self) -> float:
        """The density per centimetre at which one step has the opacity `render.occupancy_alpha`."""
        opaque = torch.tensor(self.render.occupancy_alpha)
        return float(-torch.log1p(-opaque) / (self.render.step * 100))

    def dilated_occupancy(self, grids: Tensor | None) -> Tensor:
        """Cells `[X, Y, Z]` bool from which the surface displacement of any of the frames leads to an occupied cell.

        grids: `[B, nodes, 3]` displacement grids, or None. The result is dilated by one cell.
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
        """The cells of the displacement grids' nodes, from `Occupancy.index`; constant."""
        assert self.nodes is not None
        return self.occupancy.index(self.in_canonical(self.nodes))

    def in_canonical(self, points: Tensor) -> Tensor:
        """Skull points `[P, 3]` of the reference pose in canonical coordinates, metres."""
        return torch.addmm(self.reference[:3, 3], points, self.reference[:3, :3].T)

    def at_head(self, points: Tensor) -> Tensor:
        """`[M]` bool: canonical points `[M, 3]` (metres) that go with the head in full, above the neck."""
        height = rigid_inverse(self.reference)[1]
        return points @ height[:3] + height[3] > self.blend.top

    def remember_dilated(self, grids: Tensor | None) -> None:
        """Add the cells that frames with these grids need to the dilated occupancy of training."""
        cells = self.dilated_occupancy(grids)
        self.dilated_memory.masked_fill_(cells, 1.0)
        self.dilated.copy_(self.dilated_memory > DILATED_KEPT)

    def start_occupancy(self, allowed: Tensor, grids: Tensor | None) -> None:
        """Start from the cells `[X, Y, Z]` that may be occupied, under all displacement grids `[N, nodes, 3]`."""
        self.occupancy.start(allowed)
        self.dilated_memory.zero_()
        self.remember_dilated(grids)
