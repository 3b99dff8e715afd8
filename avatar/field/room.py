"""The room around a person before a moving camera: a radiance field of its own, which stands still.

One contracted hash grid (`avatar.field.contraction`) holds all that the clip shows beside the person: no expression, no
deformation. The person is composited into it along each ray. Samples are drawn from the weights of a coarse memory of
the room's density, which training keeps up to date, so that only they go through the networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avatar.config import RoomConfig
from avatar.field.contraction import FARTHEST, contract
from avatar.field.networks import Mlp
from avatar.field.radiance import GEOMETRY_FEATURES, density_activation, grid_spec
from avatar.geometry.rotations import axis_angle_to_matrix
from avatar.kernels.hash_grid.op import hash_encode
from avatar.rendering.sampling import Samples, dense_samples, importance
from avatar.rendering.volume import accumulate, render_weights

DENSITY_BIAS = -6.5
"""Raw density at the start: exp(-6.5) per centimetre, so that a ray passes through the whole room."""
NEAREST = 0.1
"""Metres from the camera at which a ray begins."""
HALF_WAY = 1.5
"""Metres from the camera up to which a ray has half of its coarse intervals; they grow with the distance."""
COARSE = 24
"""Coarse intervals of a ray, looked up in the memory. Wide ones spread the samples around a surface: 96 lose 2 dB."""
EXPLORING = 0.1
"""Share of a ray's samples that fall anywhere on it."""
CELLS = 96
"""Cells along an axis of the density's memory, in contracted space."""
FORGET = 0.95
"""Factor on a remembered density whenever its cell is sampled."""
NEIGHBOURS = 0.03
"""Distance between cameras, in units of the radius or radians, up to which they share corrections."""
SEEN = 0.05
"""Largest weight of a cell's samples in rays of the training frames from which on it counts as seen."""
CLOSED = 1e4
"""Metres that the last sample of a ray stands for: nothing is seen through the end of the room."""


@dataclass
class RoomView:
    """The room as R rays with M samples see it."""

    samples: Samples
    weights: Tensor
    """`[M]` weights of the samples in the colours of their rays."""
    colours: Tensor
    """`[M, 3]` sRGB in [0, 1]."""
    points: Tensor
    """`[M, 3]` contracted positions in [0, 1]."""
    density: Tensor
    """`[M]` per centimetre."""
    known: Tensor
    """`[M]` in [0, 1]: how far training frames saw the sample's place."""

    @property
    def colour(self) -> Tensor:
        """`[R, 3]`: the room without anybody in it."""
        return accumulate(self.weights, self.samples, self.colours)

    @property
    def known_share(self) -> Tensor:
        """`[R]` in [0, 1]: how far training frames saw what the rays see."""
        return accumulate(self.weights * self.known, self.samples).clamp(0, 1)

    def opacity_before(self, distance: Tensor) -> Tensor:
        """Opacity `[R]` of what stands between the camera and `distance` `[R]` metres along the rays."""
        return accumulate(self.weights * self.is_before(distance), self.samples)

    def around(self, opacity: Tensor, distance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The room around a thin layer of `opacity` `[R]` at `distance` `[R]` metres along the rays.

        The layer hides what is behind it and is hidden by what is before it.

        Returns the room's colours `[R, 3]`, premultiplied by its share of the pixel; that share `[R]`; and the
        transmittance `[R]` before the layer.
        """
        left = torch.where(self.is_before(distance) > 0, 1.0, 1 - opacity[self.samples.ray])
        weights = self.weights * left
        share = accumulate(weights, self.samples)
        return accumulate(weights, self.samples, self.colours), share, 1 - self.opacity_before(distance)

    def is_before(self, distance: Tensor) -> Tensor:
        """`[M]`: 1 for samples nearer than `distance` `[R]`, else 0."""
        return (self.samples.depth < distance[self.samples.ray]).to(self.weights.dtype)


class RoomField(nn.Module):
    """What stands still around the person, in world coordinates, and small corrections of the cameras that saw it."""

    middle: Tensor
    radius: Tensor
    memory: Tensor
    seen: Tensor
    views: Tensor

    def __init__(self, config: RoomConfig, *, frames: int, dtype: torch.dtype, encoding: str) -> None:
        """A room that `frames` training frames see; `place` says from where.

        encoding: the resolved backend; the grid of tinycudann's is Warp's.
        """
        super().__init__()
        self.config, self.spec = config, grid_spec(config.hash)
        self.backend = "warp" if encoding == "tcnn" else encoding
        self.table = nn.Parameter(torch.empty(self.spec.table_size, config.hash.features))
        nn.init.uniform_(self.table, -1e-4, 1e-4)
        features = self.spec.levels * self.spec.features
        self.density_network = Mlp(features, config.width, 1, 1 + GEOMETRY_FEATURES, dtype=dtype, backend=self.backend)
        self.colour_network = Mlp(GEOMETRY_FEATURES, config.width, 1, 3, dtype=dtype, backend=self.backend)
        self.cameras = nn.Parameter(torch.zeros(frames, 6))
        self.gains = nn.Parameter(torch.zeros(frames, 3))
        self.register_buffer("views", torch.zeros(frames, 6))
        self.register_buffer("middle", torch.zeros(3))
        self.register_buffer("radius", torch.ones(()))
        self.register_buffer("memory", torch.zeros(CELLS, CELLS, CELLS))
        self.register_buffer("seen", torch.zeros(CELLS, CELLS, CELLS))

    def place(self, middle: Tensor, radius: float, world_from_cam: Tensor) -> None:
        """Set the cube that is held at full scale, by its middle `[3]` and half its side in metres, and the cameras
        `[frames, 4, 4]` of the training frames."""
        self.middle.copy_(middle)
        self.radius.fill_(radius)
        self.views.copy_(self.view_of(world_from_cam))

    def view_of(self, world_from_cam: Tensor) -> Tensor:
        """Positions in units of the radius, and view directions, `[N, 6]` of cameras `[N, 4, 4]`."""
        return torch.cat([(world_from_cam[:, :3, 3] - self.middle) / self.radius, world_from_cam[:, :3, 2]], 1)

    @property
    def corrections(self) -> Tensor:
        """`[frames, 6]` corrections of the cameras less their mean, which only moves the room: radians, metres."""
        return self.cameras - self.cameras.mean(0)

    def refined(self, origins: Tensor, directions: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """World rays `[R, 3]` of training frames `frame` `[R]` with the learned corrections of their cameras, none of
        which is common to all frames."""
        return corrected(origins, directions, self.corrections.index_select(0, frame))

    def is_near(self, world_from_cam: Tensor) -> bool:
        """Whether a camera `[4, 4]` is close to one of the training cameras."""
        return bool((self.views - self.view_of(world_from_cam[None])).norm(dim=1).min() < 2 * NEIGHBOURS)

    def refined_near(self, origins: Tensor, directions: Tensor, world_from_cam: Tensor) -> tuple[Tensor, Tensor]:
        """World rays `[R, 3]` of any camera `[4, 4]` with the mean of the corrections of training cameras close to it,
        none far away: neighbours on a trajectory err alike."""
        near = (self.views - self.view_of(world_from_cam[None])).square().sum(1)
        weights = torch.exp(-near / NEIGHBOURS**2)
        correction = (weights @ self.corrections) / weights.sum().clamp_min(1.0)
        return corrected(origins, directions, correction.expand(len(origins), 6))

    def exposed(self, colours: Tensor, frame: Tensor) -> Tensor:
        """Colours `[R, 3]` under the learned exposure of training frames `frame` `[R]`, whose mean is left alone."""
        return colours * torch.exp((self.gains - self.gains.mean(0)).index_select(0, frame))

    def look(self, origins: Tensor, directions: Tensor, generator: torch.Generator | None = None) -> RoomView:
        """The room along world rays `[R, 3]`; without a generator the samples lie at evenly spaced quantiles."""
        samples = self.sample(origins.detach(), directions.detach(), generator)
        depth = samples.depth.unsqueeze(-1)
        points = origins.index_select(0, samples.ray) + depth * directions.index_select(0, samples.ray)
        positions = contract(points, self.middle, float(self.radius)).clamp(0, 1)
        encoded = hash_encode(positions, self.table, self.spec, backend=self.backend)
        raw, features = self.density_network([(encoded, None)]).split([1, GEOMETRY_FEATURES], -1)
        density = density_activation(raw.squeeze(1) + DENSITY_BIAS)
        colours = torch.sigmoid(self.colour_network([(features, None)]).float())
        weights = render_weights(density, samples)[0]
        known = (interpolated(self.seen, positions.detach()) / SEEN).clamp(max=1.0)
        return RoomView(samples, weights, colours, positions.detach(), density, known)

    @torch.no_grad()
    def sample(self, origins: Tensor, directions: Tensor, generator: torch.Generator | None) -> Samples:
        """Samples of R rays, by inverse transform sampling of the weights that the memory gives them."""
        rays, device = len(origins), origins.device

        def noise(count: int) -> Tensor | None:
            return None if generator is None else torch.rand(rays, count, generator=generator, device=device)

        shift = noise(1)
        place = (torch.arange(COARSE, device=device) + (0.5 if shift is None else shift)) / COARSE
        depths = distance_at(place.expand(rays, COARSE))
        far = torch.full_like(depths[:, 0], FARTHEST)
        everywhere = torch.ones_like(far, dtype=torch.bool)
        coarse = dense_samples(depths, far, everywhere)
        points = origins[:, None] + depths[..., None] * directions[:, None]
        density = interpolated(self.memory, contract(points, self.middle, float(self.radius)).view(-1, 3))
        weights = render_weights(density, coarse)[0].view(rays, COARSE)
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-6)
        weights = (1 - EXPLORING) * weights + EXPLORING / COARSE
        fine = importance(depths, weights, self.config.samples, noise(self.config.samples))
        samples = dense_samples(fine, far, everywhere)
        samples.deltas.view(rays, -1)[:, -1] = CLOSED
        return samples

    @torch.no_grad()
    def remember(self, view: RoomView, room: Tensor) -> None:
        """Update what is remembered of densities, and of what was seen, with a train step's view.

        room: `[R]` in [0, 1], how far the rays see the room alone.
        """
        place = (view.points * CELLS).long().clamp(0, CELLS - 1)
        cell = (place[:, 0] * CELLS + place[:, 1]) * CELLS + place[:, 2]
        shown = view.weights.detach() * room[view.samples.ray]
        for grid, found in ((self.memory, view.density.detach()), (self.seen, shown)):
            flat = grid.view(-1)
            flat[cell] = flat[cell] * FORGET
            flat.scatter_reduce_(0, cell, found, "amax")


def corrected(origins: Tensor, directions: Tensor, correction: Tensor) -> tuple[Tensor, Tensor]:
    """Rays `[R, 3]` rotated about their origins and moved by `correction` `[R, 6]`: axis-angle in radians, metres."""
    rotation = axis_angle_to_matrix(correction[:, :3])
    return origins + correction[:, 3:], (rotation @ directions.unsqueeze(-1)).squeeze(-1)


def interpolated(grid: Tensor, positions: Tensor) -> Tensor:
    """Values `[P]` of a grid `[X, Y, Z]` over the unit cube at positions `[P, 3]` in it, trilinear between centres."""
    places = (2 * positions - 1).flip(-1).view(1, 1, 1, -1, 3)
    return F.grid_sample(grid[None, None], places, align_corners=False, padding_mode="border").view(-1)


def distance_at(share: Tensor) -> Tensor:
    """Distances in metres at shares in [0, 1] of a ray, from NEAREST to FARTHEST, evenly in t / (t + HALF_WAY)."""
    begin, end = NEAREST / (NEAREST + HALF_WAY), FARTHEST / (FARTHEST + HALF_WAY)
    place = begin + share * (end - begin)
    return HALF_WAY * place / (1 - place)
