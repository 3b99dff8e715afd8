"""Surface prior: the head's mesh constrains the field's density in views that the clip never shows.

A single camera sees a head from few directions. Where no ray passes, nothing constrains the density. Where all rays of
a surface point come from nearly one direction, nothing constrains its depth. The prior casts rays at the neutral head
in canonical space, from random cameras up to 60 degrees to either side. A ray that meets the mesh has to be opaque by
one centimetre behind it, and empty further in front of bare skin and neck than a tolerance. Points 8 to 30 mm off bare
skin have to be empty as well. INSTA (Zielonka et al. 2023) holds the depth of training rays at the mesh; these rays
are the ones that training lacks. Only a few samples around the mesh are queried.

Where the clip never showed the surface, the same rays have to see its completed colour (`training.surface_colours`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.avatar import Avatar
from avatar.field.bounds import FrameViews, inside_masks
from avatar.field.frame_states import FrameStates
from avatar.field.picture_edge import PictureEdge
from avatar.field.warp import NeckBlend
from avatar.flame.assets import HeadAsset
from avatar.geometry.cameras import Camera, image_rays, turn_camera
from avatar.geometry.meshes import vertex_normals
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate
from avatar.rendering.occupancy import Occupancy, dilate
from avatar.training.hair_height import HIGHEST
from avatar.training.prepare import TrainingData, hull_views
from avatar.training.shell import Shell
from avatar.training.surface_colours import SurfaceColours
from avatar.training.torso_colours import blended_colours, torso_colours
from avatar.training.torso_shape import Mesh, off_torso

VIEWS, VIEW_SIZE = 32, 80
"""Cameras around the head, and pixels of their pictures' sides."""
AZIMUTH, ELEVATION = math.radians(60), math.radians(25)
FACING = 0.25
"""Least cosine between a ray and the normal of the surface it meets: grazing rays say little about depth."""
GRAZING = 0.25
"""Weight of the completed colour where a training frame sees a sample, but hardly the skin: at a grazing angle."""
UNSEEN_TORSO, UNSEEN_POWER = 5.0, 4
"""Weight of the completed colour on a torso that no frame shows, whatever rays pass by it: those that graze its outline
take half of the wall for its colour. The power keeps it from what frames show at a slant."""
DIRECTION_NOISE = 0.2
"""Standard deviation of the view directions under which completed colours are asked for, radians."""
BEFORE, BEHIND = 0.04, 0.01
"""Metres along the ray that are sampled in front of and behind the mesh."""
SKIN, CLOTHES = 0.008, 0.015
"""Tolerance in metres in front of the mesh: of bare skin (the tracking error) and of the neck (for clothes)."""
RAYS, TORSO_RAYS, SAMPLES, OFF_HEAD = 96, 48, 12, 256
"""Rays of a step at the head and at the torso, samples on each, and points off both."""
TORSO_SHOWN = 0.9
"""Share of the frames that see a point of the fitted torso in which their masks have to hold it."""
NEAR_NECK = 0.03
"""Metres from the head's mesh within which the torso's neck leaves the surface to the head's."""
TORSO_DEPTH = 0.02
"""Metres by which clothes may lie deeper than the mean adult's fitted torso."""
FREE = ("lips", "mouth_interior", "teeth", "tongue")
"""Regions without prior: the mouth opens."""

OFF_SKIN = 0.03
"""Metres off bare skin up to which space has to be empty."""
HAIR_FROM, HAIR_TO = 0.02, 0.06
"""Metres off scalp, ears and neck between which hair and clothes are less and less expected."""
HAIR_WEIGHT = 0.4
"""Weight from HAIR_TO on, relative to that off bare skin."""
HAIR_EDGE = 0.004
"""Metres beyond the hair's measured height over which the demand that space be empty sets in."""
HAIR_DEPTH = 0.004
"""Metres within the hair's measured height at which rays meet its surface."""
OFF_HAIR = 0.08
"""Metres off scalp, ears and neck up to which space has to be empty, where pictures do not show otherwise."""
OFF_HEAD_DRAWN = 50_000
"""Points drawn once around the head of bare skin, and of hair and neck."""


@dataclass
class SurfacePrior:
    """Rays that meet the neutral head and the torso in canonical space, and points around them."""

    head: Shell
    torso: Shell | None
    """None where no torso is expected; its depth is TORSO_DEPTH behind the mesh."""
    around: Tensor
    """`[Q, 3]` points off the body, metres, canonical; among them the space beside the far cheek, which rays miss."""
    emptiness: Tensor
    """`[Q]` weights in [0, 1] with which these points have to be empty."""

    @staticmethod
    def make(avatar: Avatar, training: TrainingData, seed: int) -> SurfacePrior:
        """Rays from cameras drawn at random around the head, at the captured camera's distance."""
        scene, asset = avatar.scene, avatar.asset
        neutral = scene.in_canonical(avatar.identity.neutral())
        faces = torch.as_tensor(asset.faces, device=avatar.device)
        query = MeshQuery(faces, avatar.device).update(neutral)
        expected = avatar.config.training.expected_body
        hair = training.hair if expected else torch.full_like(training.hair, HIGHEST)
        marks = torch.cat([vertex_normals(neutral, faces), *vertex_marks(asset, avatar.device)], 1)
        around, emptiness = off_head(query, neutral, marks, hair, seed)
        fitted = None
        if expected and scene.torso is not None:
            fitted = training.fitted_torso(scene.torso, scene.reference)
        haired = with_hair(neutral, marks[:, :3], hair)
        cameras = cameras_around(avatar.camera, avatar.reference_vertices, seed)
        rays = [[part.reshape(-1, 3) for part in image_rays(camera, device=avatar.device)] for camera in cameras]
        origins, directions = (torch.cat(parts).contiguous() for parts in zip(*rays, strict=True))
        hits = query.update(haired).cast_rays(origins, directions)
        index = (hits.face >= 0).nonzero().squeeze(1)
        marks = torch.cat([vertex_normals(haired, faces), marks[:, 3:]], 1)
        at = interpolate(marks, faces, hits.face[index], hits.barycentrics[index])
        facing = -(torch.nn.functional.normalize(at[:, :3], dim=-1) * directions[index]).sum(-1) > FACING
        kept = facing & (at[:, 3] < 0.01)
        index, at = index[kept], at[kept]
        surface = training.surface if scene.torso is None else blended_colours(scene.torso, neutral, training)
        coloured = torch.cat([surface.colours, 1 - surface.confidence[:, None]], 1)
        colour, unseen = interpolate(coloured, faces, hits.face[index], hits.barycentrics[index]).split([3, 1], 1)
        shell = (
            origins[index],
            directions[index],
            hits.depth[index],
            tolerance_of(at[:, 4:]),
            colour,
            unseen[:, 0],
            torch.zeros_like(index, dtype=torch.bool),
        )
        below = None
        if fitted is not None and scene.torso is not None:
            beside, weight = off_torso(*fitted, query, seed)
            around, emptiness = torch.cat([around, beside]), torch.cat([emptiness, weight])
            painted = torso_colours(scene.torso, fitted[0], training)
            free = hits.face < 0
            below = torso_shell(
                fitted, painted, origins[free].contiguous(), directions[free].contiguous(), query, avatar.edge
            )
            views = hull_views(training)
            views.lean(scene.torso)
            below = held_by_masks(below, views, scene.reference, scene.blend)
        return SurfacePrior(Shell(*shell), below, around, emptiness)

    def draw(self, frames: int, generator: torch.Generator) -> SurfaceSamples:
        """Samples of random rays and points off skin, each ray and each point under a random one of `frames` frames."""
        rays = self.head.drawn(RAYS, generator)
        if self.torso is not None and len(self.torso):
            rays = rays.joined(self.torso.drawn(TORSO_RAYS, generator))
        device, count = rays.depth.device, len(rays)
        jitter = torch.rand(count, SAMPLES, generator=generator, device=device)
        share = (torch.arange(SAMPLES, device=device) + jitter) / SAMPLES
        offset = share * (BEFORE + BEHIND) - BEFORE
        beside = torch.randint(len(self.around), (OFF_HEAD,), generator=generator, device=device)
        frame = torch.randint(frames, (count + OFF_HEAD,), generator=generator, device=device)
        return SurfaceSamples(
            torch.cat([rays.points(offset).view(-1, 3), self.around[beside]]),
            torch.cat([frame[:count].repeat_interleave(SAMPLES), frame[count:]]),
            offset,
            rays.tolerance,
            self.emptiness[beside],
            rays.directions,
            rays.colour,
            rays.unseen,
            rays.on_torso,
        )

    def completed(self, grid: Occupancy) -> Tensor:
        """Cells `[X, Y, Z]` bool of the torso's shell, which other cameras may see though no frame does."""
        cells = torch.zeros_like(grid.occupied)
        if self.torso is not None and len(self.torso):
            offset = torch.linspace(-BEFORE, BEHIND, SAMPLES, device=cells.device).expand(len(self.torso), -1)
            flat, inside = grid.index(self.torso.points(offset).reshape(-1, 3))
            cells.view(-1)[flat[inside]] = True
        return dilate(cells, 1)


@dataclass
class SurfaceSamples:
    """The prior's samples of one step: R * S on rays, then Q points off the head."""

    points: Tensor
    """`[R * S + Q, 3]` metres, canonical before the deformation (x' in docs/method.md)."""
    frame: Tensor
    """`[R * S + Q]` int64."""
    offset: Tensor
    """`[R, S]` metres of the rays' samples behind the mesh, negative in front of it."""
    tolerance: Tensor
    """`[R]` metres."""
    emptiness: Tensor
    """`[Q]` weights in [0, 1] with which the points off the head have to be empty."""
    directions: Tensor
    """`[R, 3]` unit, canonical."""
    colour: Tensor
    """`[R, 3]` sRGB of the surface met."""
    unseen: Tensor
    """`[R]` in [0, 1]: how little the clip shows of the surface met."""
    on_torso: Tensor
    """`[R]` bool: the surface met is the torso's."""

    def view_directions(self, states: FrameStates, camera: Camera | None, generator: torch.Generator) -> Tensor:
        """Unit directions `[R * S, 3]` in which the rays' samples are seen, canonical, with a random error.

        The directions are those from the captured camera to the middle of the samples, whatever the sample, so that
        "on the far side" is not taken for "seen from there": where the head turns in the clip, that is another light.

        camera: the one captured camera, whose view dependence pictures from other cameras show; None where the camera
        moved, so that the rays' own directions count.
        """
        count = self.offset.numel()
        if camera is None or states.motion is None:
            along = self.directions.repeat_interleave(SAMPLES, 0)
        else:
            position = torch.tensor(camera.position, dtype=torch.float32, device=self.points.device)
            if states.torso_from_world is not None:
                position = states.torso_from_world[:, :3, :3] @ position + states.torso_from_world[:, :3, 3]
            matrix = states.motion.canonical_from_world.detach()
            eye = (matrix[:, :, :3] @ position.expand(len(matrix), 3)[..., None]).squeeze(-1) + matrix[:, :, 3]
            seen = torch.nn.functional.normalize(self.points[:count].mean(0) - eye, dim=-1)
            along = seen[self.frame[:count]]
        noise = torch.randn(along.shape, generator=generator, device=along.device)
        return torch.nn.functional.normalize(along + DIRECTION_NOISE * noise, dim=-1)

    def colour_loss(self, density: Tensor, colours: Tensor, visible: Tensor) -> Tensor:
        """Squared difference between the rays' samples and the surface's colour; moves colours, not densities.

        A sample counts by its share of what the ray shows, where no training frame sees it, and a little where frames
        see it at grazing angles only. On skin, where the surface is the mesh, it counts by how little the clip shows of
        that; on the torso likewise, and more where the clip shows nothing.

        density: `[R * S]` per centimetre. colours: `[R * S, 3]` sRGB. visible: `[R * S]` bool, seen in training frames.
        """
        optical_depth = density.detach().view_as(self.offset) * (100 * (BEFORE + BEHIND) / SAMPLES)
        behind = torch.cumsum(optical_depth, 1)
        weights = torch.exp(optical_depth - behind) - torch.exp(-behind)
        error = (colours.view(*self.offset.shape, 3) - self.colour[:, None]).square().mean(-1)
        hidden = 1 - visible.view_as(weights).float()
        grazing = self.unseen[:, None] * hidden.clamp_min(GRAZING)
        off_torso = torch.where((self.tolerance < BEFORE)[:, None], grazing, torch.maximum(hidden, grazing))
        on_torso = torch.maximum(grazing, UNSEEN_TORSO * self.unseen[:, None] ** UNSEEN_POWER)
        hidden = torch.where(self.on_torso[:, None], on_torso, off_torso)
        return (hidden * weights * error).sum(1).mean()

    def loss(self, density: Tensor) -> Tensor:
        """`shell_loss` of the rays, and off the head the weighted mean of log(1 + density^2).

        That is the square of a small density, and still has a gradient at a large one, which an opacity has not.

        density: `[R * S + Q]` per centimetre at the points.
        """
        rays, off = density.split([self.offset.numel(), len(self.emptiness)])
        shell = shell_loss(rays.view_as(self.offset), self.offset, self.tolerance)
        return shell + (self.emptiness * torch.log1p(off.square())).mean()


def torso_shell(
    mesh: Mesh,
    painted: SurfaceColours,
    origins: Tensor,
    directions: Tensor,
    head: MeshQuery,
    edge: PictureEdge | None,
) -> Shell:
    """Those of the rays `[P, 3]` (metres; unit) that meet the torso's `mesh` within the captured picture's view: beyond
    its edges nothing is learned."""
    vertices, faces = mesh
    hits = MeshQuery(faces, vertices.device).update(vertices).cast_rays(origins, directions)
    index = (hits.face >= 0).nonzero().squeeze(1)
    values = torch.cat([vertex_normals(vertices, faces), painted.colours, 1 - painted.confidence[:, None]], 1)
    at = interpolate(values, faces, hits.face[index], hits.barycentrics[index])
    facing = -(torch.nn.functional.normalize(at[:, :3], dim=-1) * directions[index]).sum(-1) > FACING
    points = origins[index] + hits.depth[index, None] * directions[index]
    kept = facing & (head.closest_points(points, NEAR_NECK).face < 0)
    if edge is not None:
        kept &= edge.inside(points)
    index, at = index[kept], at[kept]
    free = torch.full((len(index),), 2 * BEFORE, device=at.device)
    torso = torch.ones_like(index, dtype=torch.bool)
    return Shell(origins[index], directions[index], hits.depth[index] + TORSO_DEPTH, free, at[:, 3:6], at[:, 6], torso)


def held_by_masks(shell: Shell, views: FrameViews, reference: Tensor, blend: NeckBlend) -> Shell:
    """Those of the shell's rays whose ends lie inside the masks: the mean torso, fitted, is not that person's."""
    ends = shell.points(torch.zeros_like(shell.depth)[:, None])[:, 0]
    shares = inside_masks(ends, views, reference, blend, margin=0.0)
    return shell.select((shares > TORSO_SHOWN).nonzero().squeeze(1))


def with_hair(vertices: Tensor, normals: Tensor, hair: Tensor) -> Tensor:
    """Vertices `[V, 3]` raised to HAIR_DEPTH within the hair's surface, where its height `[V]` is known; metres."""
    height = torch.where(hair < HIGHEST, hair - HAIR_DEPTH, 0.0).clamp_min(0)
    return vertices + height[:, None] * normals


def off_head(query: MeshQuery, vertices: Tensor, marks: Tensor, hair: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Points `[Q, 3]` drawn at random off the head, and the weights `[Q]` with which they have to be empty.

    Where the nearest surface is bare skin the weight is 1 from SKIN to OFF_SKIN metres away. Over scalp, ears and neck
    it grows from 0 at HAIR_FROM to HAIR_WEIGHT at HAIR_TO: where pictures leave the depth of hair open, as along the
    rays that graze it, the place nearest to the head is taken. Beyond the hair's height it is 1.

    marks: `[V, 8]` normals and `vertex_marks`. hair: `[V]` metres (`hair_heights`).
    """
    generator = torch.Generator().manual_seed(seed)
    found, weights = [], []
    for bare, low, high in ((True, SKIN, OFF_SKIN), (False, 0.0, OFF_HAIR)):
        chosen = (marks[:, 7] if bare else marks[:, 5:7].amax(1)) > 0.99
        pool = chosen.nonzero().squeeze(1)
        if len(pool) == 0:
            continue
        drawn = pool[torch.randint(len(pool), (OFF_HEAD_DRAWN,), generator=generator).to(pool.device)]
        height = low + (high - low) * torch.rand(OFF_HEAD_DRAWN, 1, generator=generator).to(pool.device)
        points = vertices[drawn] + height * torch.nn.functional.normalize(marks[drawn, :3], dim=-1)
        nearest = query.closest_points(points, high)
        there = chosen[query.faces.long()].all(1)[nearest.face.long().clamp_min(0)]
        kept = (nearest.face >= 0) & (nearest.distance > low) & there
        if bare:
            weight = torch.ones(int(kept.sum()), device=points.device)
        else:
            limit = torch.where(hair > 0, hair, HIGHEST)[:, None]
            at = interpolate(limit, query.faces, nearest.face[kept].long(), nearest.barycentrics[kept])
            weight = emptiness_off_hair(nearest.distance[kept], at[:, 0])
        found.append(points[kept][weight > 0])
        weights.append(weight[weight > 0])
    return torch.cat(found), torch.cat(weights)


def emptiness_off_hair(distance: Tensor, hair: Tensor) -> Tensor:
    """Weights `[Q]` with which space has to be empty at `[Q]` metres from a head with hair `[Q]` metres high."""
    expected = HAIR_WEIGHT * ((distance - HAIR_FROM) / (HAIR_TO - HAIR_FROM)).clamp(0, 1)
    return torch.maximum(expected, ((distance - hair) / HAIR_EDGE).clamp(0, 1))


def shell_loss(density: Tensor, offset: Tensor, tolerance: Tensor) -> Tensor:
    """Mean squared transmittance past the mesh, plus mean squared opacity of what lies too far in front of it.

    density: `[R, S]` per centimetre, at `offset` `[R, S]` metres behind the mesh along each ray (negative: in front),
    one in each of S equal parts of the interval from BEFORE to BEHIND. tolerance: `[R]` metres.
    """
    optical_depth = density * (100 * (BEFORE + BEHIND) / density.shape[1])
    transmittance = torch.exp(-optical_depth.sum(1))
    in_front = offset < -tolerance.unsqueeze(1)
    covered = 1 - torch.exp(-(optical_depth * in_front).sum(1))
    return transmittance.square().mean() + covered.square().mean()


def cameras_around(camera: Camera, vertices: Tensor, seed: int) -> list[Camera]:
    """`VIEWS` cameras like `camera`, rotated at random about the middle of `vertices` `[P, 3]` (metres)."""
    middle = ((vertices.amin(0) + vertices.amax(0)) / 2).double().cpu().numpy()
    drawn = np.random.default_rng([seed, 5]).uniform(-1, 1, (VIEWS, 2)) * (AZIMUTH, ELEVATION)
    small = camera.scaled(VIEW_SIZE, round(VIEW_SIZE * camera.height / camera.width))
    return [turn_camera(small, middle, azimuth, elevation) for azimuth, elevation in drawn]


def vertex_marks(asset: HeadAsset, device: torch.device) -> tuple[Tensor, Tensor]:
    """`[V, 1]`: 1 on the regions without prior. `[V, 4]`: 1 on bare skin, 1 on the neck, 1 on scalp and ears, 1 where
    nothing is off the surface, which is skin and lips."""
    nothing = np.zeros(asset.vertex_count, bool)
    free = nothing.copy()
    for name in FREE:
        free |= asset.regions.get(name, False)
    skin = asset.regions.get("face", nothing) & ~free
    hair = (asset.regions.get("scalp", nothing) | asset.regions.get("ears", nothing)) & ~skin
    smooth = skin | asset.regions.get("lips", nothing)
    parts = np.stack([skin, asset.regions.get("neck", nothing), hair, smooth], 1)
    marks = torch.as_tensor(free[:, None], dtype=torch.float32, device=device)
    return marks, torch.as_tensor(parts, dtype=torch.float32, device=device)


def tolerance_of(parts: Tensor) -> Tensor:
    """`[P]` metres from shares `[P, 4]` as of `vertex_marks`; where hair may grow nothing before the mesh is held."""
    skin, neck, _, _ = (parts > 0.99).unbind(1)
    hair = torch.full_like(parts[:, 0], 2 * BEFORE)
    return torch.where(skin, SKIN, torch.where(neck, CLOTHES, hair))
