"""Where the field lives: the reference pose, the canonical box, and the cells that may hold anything at the start.

A cell may hold something where it is close to the head's mesh, or where the masks show the person beside the head
(hair, torso): seen through it, in enough of the frames, the mask is on and the mesh's silhouette is not. One still
camera says nothing about depth, so what is beside the head is looked for in a slab around the head's own depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from avatar.field.torso import TorsoMotion
from avatar.field.warp import NeckBlend, apply_rigid, rigid_inverse
from avatar.geometry.cameras import Camera, project
from avatar.geometry.meshes import vertex_normals
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate

OUTER_MARGIN = 0.025
"""Outside the mesh, in metres: what tracking leaves, brows, glasses, short hair."""
INNER_MARGIN = 0.010
"""Inside the mesh, in metres."""
SLAB_BEHIND = 0.10
SLAB_BEFORE = 0.07
"""The slab of hair and torso reaches this far behind and before the neck's middle, metres."""
HULL_SHARE = 0.1
"""A cell is kept where the masks show something beside the head through it in this share of the frames."""
HEAD_BOX_MARGIN = 0.11
"""The box reaches this far around the head's mesh, for hair."""
HULL_FRAMES = 32
MASK_ON = 64


@dataclass
class FrameViews:
    """What the frames that decide on the bounds show (F of them, spread over the clip)."""

    world_from_skull: Tensor
    """`[F, 4, 4]`."""
    cameras: list[Camera]
    masks: Tensor
    """`[F, H, W]` uint8."""
    silhouettes: Tensor
    """`[F, H, W]` bool, of the posed mesh."""
    world_from_torso: Tensor | None = None
    """`[F, 4, 4]` motion of the torso, None where it stays."""

    @cached_property
    def lenses(self) -> tuple[Tensor, Tensor, Tensor]:
        """`cam_from_world` `[F, 4, 4]`, focal lengths and principal points `[F, 1, 2]` in pixels."""
        poses = np.stack([camera.cam_from_world for camera in self.cameras])
        focal = [[[camera.fl_x, camera.fl_y]] for camera in self.cameras]
        middle = [[[camera.cx, camera.cy]] for camera in self.cameras]
        tensor = self.world_from_skull.new_tensor
        return tensor(poses), tensor(focal), tensor(middle)

    @torch.no_grad()
    def lean(self, torso: TorsoMotion) -> None:
        """Let the torso go along with the heads as `torso` says."""
        self.world_from_torso = torso.world_from_torso(torso.torso_transforms(self.world_from_skull))

    def torso_cameras(self) -> list[Camera]:
        """The cameras as the torso sees them."""
        if self.world_from_torso is None:
            return self.cameras
        undone = rigid_inverse(self.world_from_torso).double().cpu().numpy()
        return [camera.moved(pose @ camera.world_from_cam) for pose, camera in zip(undone, self.cameras, strict=True)]

    def in_frame(self, index: int, reference: Tensor, blend: NeckBlend, points: Tensor) -> Tensor:
        """Canonical points `[P, 3]` where frame `index` shows them."""
        one = slice(index, index + 1)
        torso = None if self.world_from_torso is None else self.world_from_torso[one]
        return apply_rigid(self.world_from_skull[one], reference, blend, points, torso)[0]


def reference_pose(world_from_skull: Tensor) -> Tensor:
    """The training pose `[4, 4]` nearest to all others of `[N, 4, 4]`: a real one, so that it is a rigid motion.

    Nearest in the sum of distances (the geometric median among the frames), a radian of rotation counting as 20 cm.
    """
    flat = torch.cat([0.2 * world_from_skull[:, :3, :3].flatten(1) / 2**0.5, world_from_skull[:, :3, 3]], -1)
    return world_from_skull[torch.cdist(flat, flat).sum(1).argmin()].clone()


def spread_frames(count: int, wanted: int) -> Tensor:
    """At most `wanted` frame indices spread evenly over `count`."""
    return torch.linspace(0, count - 1, min(count, wanted)).round().long()


def canonical_box(surface: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Low and high corners `[3]` of the box: the mesh with room for hair, and what the camera sees at its depth.

    surface: `[P, 3]` points of the mesh in canonical space, metres.
    """
    pose = torch.as_tensor(camera.world_from_cam.copy(), dtype=surface.dtype, device=surface.device)
    depth = project(surface, camera)[1].mean()
    edges = [((0 - camera.cx) / camera.fl_x, (camera.width - camera.cx) / camera.fl_x)]
    edges.append(((0 - camera.cy) / camera.fl_y, (camera.height - camera.cy) / camera.fl_y))
    corners = surface.new_tensor([[x, y, 1.0] for x in edges[0] for y in edges[1]]) * depth
    seen = corners @ pose[:3, :3].T + pose[:3, 3]
    low, high = surface.amin(0) - HEAD_BOX_MARGIN, surface.amax(0) + HEAD_BOX_MARGIN
    # the view widens the box sideways and downwards, never along the line of sight
    across = (pose[:3, 2].abs() < 0.5).to(surface.dtype)
    low = torch.where(across > 0, torch.minimum(low, seen.amin(0)), low)
    high = torch.where(across > 0, torch.maximum(high, seen.amax(0)), high)
    return low, high


def near_surface(points: Tensor, faces: Tensor, vertices: Tensor) -> Tensor:
    """Mask `[P]` of points near a mesh: within OUTER_MARGIN in front of its faces, INNER_MARGIN behind them."""
    query = MeshQuery(faces, points.device)
    query.update(vertices)
    nearest = query.closest_points(points, OUTER_MARGIN)
    foot = interpolate(vertices, faces, nearest.face, nearest.barycentrics)
    normal = interpolate(vertex_normals(vertices, faces), faces, nearest.face, nearest.barycentrics)
    before = ((points - foot) * normal).sum(-1) > 0
    return (nearest.face >= 0) & (before | (nearest.distance < INNER_MARGIN))


def beside_head(points: Tensor, views: FrameViews, reference: Tensor, blend: NeckBlend | None) -> Tensor:
    """Share `[P]` of the frames in which a canonical point is seen on the matte but not on the mesh's silhouette.

    Frames in which the point lies outside the picture do not count. `blend` None: the points are world points.
    """
    count = torch.zeros(len(points), device=points.device)
    seen = torch.zeros(len(points), device=points.device)
    height, width = views.masks.shape[1:]
    for i, camera in enumerate(views.cameras):
        placed = points
        if blend is not None:
            placed = views.in_frame(i, reference, blend, points)
        pixels, depth = project(placed, camera)
        x, y = pixels[:, 0].floor().long(), pixels[:, 1].floor().long()
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (depth > 0)
        x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
        beside = (views.masks[i, y, x] > MASK_ON) & ~views.silhouettes[i, y, x]
        seen += inside
        count += inside & beside
    return count / seen.clamp_min(1)


def initial_cells(
    centres: Tensor,
    surfaces: list[Tensor],
    faces: Tensor,
    views: FrameViews,
    reference: Tensor,
    blend: NeckBlend | None,
) -> Tensor:
    """Cells `[X, Y, Z]` that may hold anything, from cell centres `[X, Y, Z, 3]`.

    surfaces: vertices `[V, 3]` of the meshes in canonical space (one with the FLAME warp, many without).
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
    # every column of the slab that shows something: depth is unknown, so the share is that of the seen pixels
    beside = torch.zeros_like(near)
    chosen = slab.nonzero().squeeze(1)
    beside[chosen] = beside_head(points[chosen], views, reference, blend) >= HULL_SHARE
    return (near | beside).view(centres.shape[:-1])
