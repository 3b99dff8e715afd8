"""How far hair stands off the head, read from the outlines of the masks.

Where the mesh's own outline passes over the scalp, the mask's edge beyond it is the hair's. Over a clip these places
form a band over the crown and down both sides; the back, which no frame shows, continues the band. A prior with this
height keeps the field from filling the space behind the head, which all rays of a clip reach through the person only.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.data.dataset import FrameSet
from avatar.field.identity import Identity
from avatar.geometry.cameras import project
from avatar.geometry.meshes import vertex_normals
from avatar.training.over_mesh import fill_over_mesh, mirrored

FRAMES = 32
HIGHEST, STEPS = 0.08, 33
"""Metres off the scalp up to which hair is measured, and places looked at on the way."""
OUTLINE = 0.25
"""Greatest cosine between view and normal on the mesh's outline."""
INSIDE = 0.5
SHOWN = 0.5
"""Cosine between view and normal from which a frame shows a vertex."""


@torch.no_grad()
def hair_heights(identity: Identity, frames: FrameSet) -> Tensor:
    """Metres `[V]` by which hair stands off the neutral head's vertices, zero off the scalp.

    At most HIGHEST, which means no limit: where hair falls over the shoulders, and above the forehead, which the clip
    shows, but never in outline.
    """
    asset, faces = identity.asset, identity.query.faces
    scalp = torch.as_tensor(asset.regions.get("scalp", np.zeros(asset.vertex_count, bool)))
    scalp = scalp.to(identity.device)
    heights = torch.linspace(0, HIGHEST, STEPS, device=identity.device)
    found, shown = [], torch.zeros_like(scalp)
    for index in identity.frames_by_yaw(FRAMES):
        vertices = identity.head(identity.params.frame(index)).vertices[0]
        normals = vertex_normals(vertices, faces)
        camera = frames.cameras[index]
        ray = vertices - torch.tensor(camera.position, dtype=torch.float32, device=identity.device)
        facing = -(F.normalize(ray, dim=-1) * normals).sum(-1)
        shown |= facing > SHOWN
        outline = scalp & (facing.abs() < OUTLINE)
        points = vertices[outline, None] + heights[:, None] * normals[outline, None]
        size = torch.tensor([camera.width, camera.height], device=identity.device)
        places = 2 * project(points, camera)[0] / size - 1
        mask = frames.masks[index].float()[None, None] / 255
        inside = F.grid_sample(mask, places[None], align_corners=False)[0, 0] > INSIDE
        reached = torch.full((len(vertices),), torch.nan, device=identity.device)
        reached[outline] = (inside.float().cumprod(1).sum(1) - 1).clamp_min(0) * (HIGHEST / (STEPS - 1))
        found.append(reached)
    middle = torch.stack(found).nanmedian(0).values[:, None]
    known = middle.isfinite().float()
    middle = middle.nan_to_num(0.0)
    other, other_known = mirrored(identity.neutral(), faces, torch.cat([middle.expand(-1, 3), known], 1))
    middle = torch.where(known > 0, middle, other[:, :1])
    known = torch.maximum(known[:, 0], (other_known > 0.5).float())
    if not known.any():
        return torch.where(scalp, HIGHEST, 0.0)
    filled = fill_over_mesh(middle, known, faces, scalp)[:, 0]
    limited = (known > 0) | ~shown
    return torch.where(scalp, torch.where(limited, filled, HIGHEST), 0.0)
