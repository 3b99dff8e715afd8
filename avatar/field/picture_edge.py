"""What lies beyond the edges of the captured picture, seen from other cameras: the torso goes on, without a torn end.

Nothing is known of points outside the captured camera's view. Below it the torso continues as its cut: a point takes
the density and the colour of the one straight above it on the lower edge. Pictures blur colours sideways, the more
the further below they are, so that folds and collars do not run on as stripes. At the sides, where an arm or a shoulder
leaves the picture, the torso fades out. In the captured view itself no such point is seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.geometry.cameras import Camera

INSIDE = 0.03
"""Distance of the cut from the lower edge, in heights of the picture: where people move, few frames show the rim."""
FADE = 0.05
"""Width of the strip at the sides over which density fades, in picture widths."""
SPREAD = 1.0
"""Half width of the sideways blur below the lower edge, in distances from it."""
STEEPEST = math.radians(60)
"""A camera that looks down or up more steeply has no floor to continue to."""


@dataclass(frozen=True)
class PictureEdge:
    """Three planes through the captured camera's centre; a point inside has positive distances."""

    centre: Tensor
    """`[3]` metres, canonical."""
    floor: Tensor
    """`[3]` normal of the plane through the lower edge, upwards."""
    sides: Tensor
    """`[2, 3]` normals of the planes through left and right edge, inwards."""
    slope: float
    """Fade in radians; 0 for none."""

    @staticmethod
    def of(camera: Camera, device: torch.device, *, fade: bool = True) -> PictureEdge | None:
        """The edge of the pictures of a camera; None where it looks too steeply down or up.

        fade: fade at the sides, which a camera that was carried around has seen beyond.
        """
        pose = torch.tensor(camera.world_from_cam, dtype=torch.float32, device=device)
        right, down, forward = pose[:3, :3].T
        if abs(float(forward[1])) > math.sin(STEEPEST) or float(down[1]) > -math.cos(STEEPEST):
            return None
        below = (camera.height * (1 - INSIDE) - camera.cy) / camera.fl_y
        left, across = camera.cx / camera.fl_x, (camera.width - camera.cx) / camera.fl_x
        normals = [below * forward - down, left * forward + right, across * forward - right]
        floor, *sides = (torch.nn.functional.normalize(normal, dim=0) for normal in normals)
        slope = FADE * camera.width / camera.fl_x if fade else 0.0
        return PictureEdge(pose[:3, 3], floor, torch.stack(sides), slope)

    def inside(self, points: Tensor) -> Tensor:
        """`[M]` bool: canonical points `[M, 3]` (metres) within the picture."""
        away = points - self.centre
        return (away @ self.floor > 0) & (away @ self.sides.T > 0).all(-1)

    def lifted(self, points: Tensor) -> Tensor:
        """Canonical points `[..., 3]`, those below the lower edge raised to it; metres."""
        return torch.stack([points[..., 0], points[..., 1] + self.short(points), points[..., 2]], -1)

    def short(self, points: Tensor) -> Tensor:
        """Metres `[...]` by which canonical points `[..., 3]` (metres) have to be raised to the lower edge, 0 above."""
        return (-(points - self.centre) @ self.floor).clamp_min(0) / self.floor[1]

    def softened(self, picture: dict[str, Tensor], origins: Tensor, directions: Tensor, camera: Camera) -> Tensor:
        """Colours `[P, 3]` of a picture's pixels, blurred along the rows where they show what is below the lower edge.

        The posed torso is taken for the canonical one, from which it is a few degrees away.

        picture: premultiplied `colour` `[P, 3]`, `opacity` `[P]` and `depth` `[P]` (metres) of `camera`'s pixels.
        origins, directions: `[P, 3]` rays through them; metres, unit.
        """
        height, width = camera.height, camera.width
        short = self.short(origins + picture["depth"].unsqueeze(1) * directions)
        depth = picture["depth"].clamp_min(1e-3)
        below = (picture["opacity"] * (short > 0)).view(height, width, 1)
        radius = (SPREAD * camera.fl_x * short / depth).clamp_max(width).view(height, width, 1)
        plain = (picture["colour"] / picture["opacity"].clamp_min(1e-6).unsqueeze(1)).view(height, width, 3)
        colour = plain
        for _ in range(2):  # a box over a box is a triangle, without edges of its own
            sums = row_sums(torch.cat([below * colour, below], -1), radius / 2)
            colour = torch.where(below > 0, sums[..., :3] / sums[..., 3:].clamp_min(1e-6), plain)
        return colour.view(-1, 3) * picture["opacity"].unsqueeze(1)

    def presence(self, points: Tensor) -> Tensor:
        """Factors `[M]` on the density of canonical points `[M, 3]`: 1 inside, 0 beyond the sides, smooth between."""
        if not self.slope:
            return torch.ones_like(points[:, 0])
        away = points - self.centre
        angle = (away @ self.sides.T).amin(-1) / away.norm(dim=-1).clamp_min(1e-6)
        share = (angle / self.slope).clamp(0, 1)
        return share * share * (3 - 2 * share)

    def continued(self, cells: Tensor, centres: Tensor, low: Tensor, cell: Tensor) -> Tensor:
        """Occupied cells `[X, Y, Z]` bool with those below the lower edge taken from above it.

        centres: `[X, Y, Z, 3]` of the cells; low, cell: `[3]` corner of the grid and edge lengths; metres.
        """
        raised = self.lifted(centres)
        above = (raised != centres).any(-1, keepdim=True) * cell * torch.tensor([0.0, 1.0, 0.0], device=cell.device)
        index = ((raised + above - low) / cell).floor().long()  # the first cell that is above the edge as a whole
        x, y, z = (index[..., axis].clamp(0, cells.shape[axis] - 1) for axis in range(3))
        return cells | cells[x, y, z]


def row_sums(values: Tensor, radius: Tensor) -> Tensor:
    """Sums `[H, W, C]` of `values` along rows, from half a pixel and `radius` `[H, W, 1]` left to as much right."""
    width = values.shape[1]
    before = torch.nn.functional.pad(values.double().cumsum(1), (0, 0, 1, 0))  # [H, W + 1, C]: sums left of each border
    middle = torch.arange(width, device=values.device).view(1, width, 1) + 0.5

    def up_to(border: Tensor) -> Tensor:
        border = border.clamp(0, width).double()
        left = border.floor().clamp_max(width - 1).long()
        share = border - left
        index = left.expand(-1, -1, values.shape[2])
        return torch.lerp(before.gather(1, index), before.gather(1, index + 1), share)

    return (up_to(middle + radius + 0.5) - up_to(middle - radius - 0.5)).to(values)
