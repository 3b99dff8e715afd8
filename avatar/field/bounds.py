"""Bounds of the field: the reference pose, the canonical box, and the cells that may be occupied at the start.

A cell may be occupied where it is close to the head's mesh, or where the masks show the person beside the head (hair,
torso): in enough frames it projects to pixels inside the mask and outside the mesh's silhouette, as in a visual hull.
One static camera does not constrain depth, so hair and torso are limited to a slab around the head's own depth, and,
where the pixels show the body that is expected (`avatar.field.body`), to that body.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from avatar.field.body import Body
from avatar.field.torso import TorsoMotion
from avatar.field.warp import NeckBlend, apply_rigid, rigid_inverse
from avatar.geometry.cameras import Camera, project
from avatar.geometry.meshes import vertex_normals
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate

OUTER_MARGIN = 0.025
"""Metres outside the mesh, for tracking errors, brows, glasses and short hair."""
INNER_MARGIN = 0.010
"""Metres inside the mesh."""
SLAB_BEHIND = 0.10
SLAB_BEFORE = 0.07
"""Extent of the slab of hair and torso behind and in front of the neck's middle, metres."""
HULL_SHARE = 0.1
"""Share of the frames in which a cell must project beside the head, inside the mask, to be kept."""
CARVED, CARVED_MARGIN = 0.9, 0.015
"""Where the camera moves: share of the frames that see a cell in which it has to project inside the mask, and metres by
which masks are dilated for that. From many sides they leave little more than the person, one side leaves all depths."""
HEAD_BOX_MARGIN = 0.11
"""Metres around the head's mesh that the box includes, for hair."""
HULL_FRAMES = 32
"""Frames whose masks decide on the initial cells."""
CARVING_FRAMES = 80
"""The same where the camera moves: what stands at the edge of the pictures is in few of them."""
COVERED = 0.5
"""Share of the frames in which the expected body has to cover a cell's pixel for it to stand for the person there."""
MASK_ON = 64
"""Mask values (of 255) above this count as person."""


@dataclass
class FrameViews:
    """The F frames, spread over the clip, that the bounds are computed from."""

    world_from_skull: Tensor
    """`[F, 4, 4]`."""
    cameras: list[Camera]
    masks: Tensor
    """`[F, H, W]` uint8."""
    silhouettes: Tensor
    """`[F, H, W]` bool silhouettes of the posed mesh."""
    world_from_torso: Tensor | None = None
    """`[F, 4, 4]` motion of the torso, None for a static torso."""

    @cached_property
    def lenses(self) -> tuple[Tensor, Tensor, Tensor]:
        """Extrinsics `cam_from_world` `[F, 4, 4]`, focal lengths and principal points `[F, 1, 2]` in pixels."""
        poses = np.stack([camera.cam_from_world for camera in self.cameras])
        focal = [[[camera.fl_x, camera.fl_y]] for camera in self.cameras]
        principal_point = [[[camera.cx, camera.cy]] for camera in self.cameras]
        tensor = self.world_from_skull.new_tensor
        return tensor(poses), tensor(focal), tensor(principal_point)

    @torch.no_grad()
    def lean(self, torso: TorsoMotion) -> None:
        """Set the torso's motion to that of `torso` under the frames' head poses."""
        self.world_from_torso = torso.world_from_torso(torso.torso_transforms(self.world_from_skull))

    def torso_cameras(self) -> list[Camera]:
        """The cameras in the torso's frame: their poses with the torso's motion undone."""
        if self.world_from_torso is None:
            return self.cameras
        torso_from_world = rigid_inverse(self.world_from_torso).double().cpu().numpy()
        pairs = zip(torso_from_world, self.cameras, strict=True)
        return [camera.moved(transform @ camera.world_from_cam) for transform, camera in pairs]

    def in_frame(self, index: int, reference: Tensor, blend: NeckBlend, points: Tensor) -> Tensor:
        """Canonical points `[P, 3]` warped to the world `[P, 3]` of frame `index`, metres."""
        one = slice(index, index + 1)
        torso = None if self.world_from_torso is None else self.world_from_torso[one]
        return apply_rigid(self.world_from_skull[one], reference, blend, points, torso)[0]

    def pixels_of(
        self, index: int, reference: Tensor, blend: NeckBlend | None, points: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Columns and rows `[P]` int64 of the pixels of frame `index` that show points `[P, 3]`, clamped to the
        picture, whether they lie in it `[P]`, and their depths `[P]`, metres.

        points: canonical, or world points where `blend` is None; metres.
        """
        in_world = points if blend is None else self.in_frame(index, reference, blend, points)
        pixels, depth = project(in_world, self.cameras[index])
        x, y = pixels[:, 0].floor().long(), pixels[:, 1].floor().long()
        height, width = self.masks.shape[1:]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (depth > 0)
        return x.clamp(0, width - 1), y.clamp(0, height - 1), inside, depth


def reference_pose(world_from_skull: Tensor) -> Tensor:
    """The medoid `[4, 4]` of the training poses `[N, 4, 4]`: the one with the smallest sum of distances to the others.

    A radian of rotation counts as 20 cm of translation.
    """
    flat = torch.cat([0.2 * world_from_skull[:, :3, :3].flatten(1) / 2**0.5, world_from_skull[:, :3, 3]], -1)
    return world_from_skull[torch.cdist(flat, flat).sum(1).argmin()].clone()


def spread_frames(count: int, wanted: int) -> Tensor:
    """At most `wanted` frame indices spread evenly over `count`."""
    return torch.linspace(0, count - 1, min(count, wanted)).round().long()


def canonical_box(surface: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Low and high corners `[3]` (metres) of the canonical box: the mesh with a margin for hair, and the camera's view
    at the mesh's depth.

    surface: `[P, 3]` points of the mesh in canonical space, metres.
    """
    pose = torch.as_tensor(camera.world_from_cam.copy(), dtype=surface.dtype, device=surface.device)
    depth = project(surface, camera)[1].mean()
    edges = [((0 - camera.cx) / camera.fl_x, (camera.width - camera.cx) / camera.fl_x)]
    edges.append(((0 - camera.cy) / camera.fl_y, (camera.height - camera.cy) / camera.fl_y))
    corners = surface.new_tensor([[x, y, 1.0] for x in edges[0] for y in edges[1]]) * depth
    seen = corners @ pose[:3, :3].T + pose[:3, 3]
    low, high = surface.amin(0) - HEAD_BOX_MARGIN, surface.amax(0) + HEAD_BOX_MARGIN
    # the view extends the box across the viewing direction, never along it
    across = (pose[:3, 2].abs() < 0.5).to(surface.dtype)
    low = torch.where(across > 0, torch.minimum(low, seen.amin(0)), low)
    high = torch.where(across > 0, torch.maximum(high, seen.amax(0)), high)
    return low, high


def near_surface(points: Tensor, faces: Tensor, vertices: Tensor) -> Tensor:
    """Mask `[P]` of points `[P, 3]` near a mesh: within OUTER_MARGIN outside its faces or INNER_MARGIN inside."""
    query = MeshQuery(faces, points.device)
    query.update(vertices)
    nearest = query.closest_points(points, OUTER_MARGIN)
    closest = interpolate(vertices, faces, nearest.face, nearest.barycentrics)
    normal = interpolate(vertex_normals(vertices, faces), faces, nearest.face, nearest.barycentrics)
    outside = ((points - closest) * normal).sum(-1) > 0
    return (nearest.face >= 0) & (outside | (nearest.distance < INNER_MARGIN))


def beside_head(points: Tensor, views: FrameViews, reference: Tensor, blend: NeckBlend | None) -> Tensor:
    """Share `[P]` of the frames in which a point projects inside the mask but outside the mesh's silhouette.

    points: `[P, 3]` canonical, or world points where `blend` is None; metres. Frames in which a point lies outside the
    image do not count.
    """
    count = torch.zeros(len(points), device=points.device)
    seen = torch.zeros(len(points), device=points.device)
    for i in range(len(views.cameras)):
        x, y, inside, _ = views.pixels_of(i, reference, blend, points)
        beside = (views.masks[i, y, x] > MASK_ON) & ~views.silhouettes[i, y, x]
        seen += inside
        count += inside & beside
    return count / seen.clamp_min(1)


def inside_masks(
    points: Tensor, views: FrameViews, reference: Tensor, blend: NeckBlend | None, margin: float = CARVED_MARGIN
) -> Tensor:
    """Share `[P]` of the frames that see a canonical point `[P, 3]` in which it projects inside the mask, dilated by
    `margin` metres: the visual hull (Laurentini, TPAMI 1994) with a tolerance. 1 for points that no frame sees."""
    inside, seen = torch.zeros(2, len(points), device=points.device)
    for i, camera in enumerate(views.cameras):
        x, y, there, depth = views.pixels_of(i, reference, blend, points)
        radius = math.ceil(margin * camera.fl_x / float(depth.median().clamp_min(1e-3)))
        mask = (views.masks[i] > MASK_ON).float()[None, None]
        mask = torch.nn.functional.max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius)[0, 0] > 0
        seen += there
        inside += there & mask[y, x]
    return torch.where(seen > 0, inside / seen.clamp_min(1), 1.0)


def covered_by(body: Body, points: Tensor, views: FrameViews, reference: Tensor, blend: NeckBlend | None) -> Tensor:
    """Share `[P]` of the frames that see a canonical point `[P, 3]` in which the body covers the point's pixel."""
    query = MeshQuery(body.faces, points.device)
    covered, seen = torch.zeros(2, len(points), device=points.device)
    for i, camera in enumerate(views.cameras):
        both = torch.cat([body.vertices, points])
        if blend is not None:
            both = views.in_frame(i, reference, blend, both)
        vertices, moved = both.split([len(body.vertices), len(points)])
        centre = torch.tensor(camera.position, dtype=points.dtype, device=points.device).expand_as(moved)
        hits = query.update(vertices.contiguous()).cast_rays(centre.contiguous(), (moved - centre).contiguous())
        pixels, depth = project(moved, camera)
        size = pixels.new_tensor([camera.width, camera.height])
        inside = ((pixels >= 0) & (pixels < size)).all(-1) & (depth > 0)
        covered += inside & (hits.face >= 0)
        seen += inside
    return covered / seen.clamp_min(1)


def initial_cells(
    centres: Tensor,
    surfaces: list[Tensor],
    faces: Tensor,
    views: FrameViews,
    reference: Tensor,
    blend: NeckBlend | None,
    body: Body | None = None,
    *,
    carve: bool = False,
) -> Tensor:
    """Cells `[X, Y, Z]` bool that may be occupied at the start, from cell centres `[X, Y, Z, 3]` in metres.

    surfaces: vertices `[V, 3]` of the meshes in canonical space (one with the FLAME warp, several without).
    body: what is expected beside the mesh, None for nothing in particular. carve: cells have to lie inside the masks of
    nearly all frames that see them, for a camera that saw the person from several sides.
    """
    points = centres.reshape(-1, 3).contiguous()
    near = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for vertices in surfaces:
        near |= near_surface(points, faces, vertices)
    everything = torch.cat(surfaces)
    low, high = everything.amin(0), everything.amax(0)
    lower_part = everything[everything[:, 1] < low[1] + 0.25 * (high[1] - low[1])]
    middle = lower_part[:, 2].mean()
    slab = (points[:, 2] > middle - SLAB_BEHIND) & (points[:, 2] < middle + SLAB_BEFORE)
    # depth is unknown: all cells of the slab that project to the same pixels are kept or dropped together
    beside = torch.zeros_like(near)
    chosen = slab.nonzero().squeeze(1)
    beside[chosen] = beside_head(points[chosen], views, reference, blend) >= HULL_SHARE
    if body is not None:
        chosen = beside.nonzero().squeeze(1)
        elsewhere = chosen[~body.expects(points[chosen])]
        beside[elsewhere] = covered_by(body, points[elsewhere], views, reference, blend) < COVERED
    if carve and beside.any():
        chosen = beside.nonzero().squeeze(1)
        beside[chosen] = inside_masks(points[chosen], views, reference, blend) >= CARVED
    return (near | beside).view(centres.shape[:-1])
