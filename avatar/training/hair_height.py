"""How far hair and collars stand off the head, read from the outlines of the masks.

Where the mesh's own outline passes over the scalp, the mask's edge beyond it is the hair's. Over a clip these places
form a band over the crown and down both sides; the back, which no frame shows, continues the band. A prior with this
height keeps the field from filling the space behind the head, which all rays of a clip reach through the person only.
Beside the neck the edge is that of skin or of a collar, which goes on around it.
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
HIGHEST, STEPS = 0.08, 65
"""Metres off the scalp up to which hair is measured, and places looked at on the way."""
OUTLINE = 0.12
"""Greatest cosine between view and normal on the mesh's outline."""
INSIDE = 0.5
LOWEST_SHARE = 0.25
"""Quantile of the heights that frames tell of a vertex. Each is as high as the hair at most: the mask's edge is that of
all hair along the ray."""
LEVEL = 0.012
"""Metres up or down within which hair that no frame shows in outline is as high as what is."""
ROW, ROW_OUTLINES = 0.005, 8
"""Height in metres of a row around the neck, and the places on outlines that have to tell of one."""
THINNEST, THICKEST = 0.001, 0.025
"""Metres that clothes stand off the neck; further out, the outline is that of shoulders or hair."""
GAP = 0.005
"""Metres off a vertex from which on the mesh has to cover nothing, for the vertex to be on the outline. The scalp
beside an ear is not."""
BARE, EAR_SHARE, EAR_OUTLINES = 0.01, 0.75, 20
"""An ear is bare where half of its outlines are as near as this to the mesh's, metres; this quantile of them tells how
far it stands off; so many places have to tell."""
SHOWN = 0.5
"""Cosine between view and normal from which a frame shows a vertex."""


@torch.no_grad()
def hair_heights(identity: Identity, frames: FrameSet) -> Tensor:
    """Metres `[V]` by which hair stands off the neutral head's scalp, clothes off its neck, and bare ears off the
    model's; zero elsewhere.

    On the scalp at most HIGHEST, which means no limit: where hair falls over the shoulders, and above the forehead,
    which the clip shows, but never in outline. On neck and ears zero means the same.
    """
    asset, faces = identity.asset, identity.query.faces
    nothing = np.zeros(asset.vertex_count, bool)
    scalp, neck, ears = (
        torch.as_tensor(asset.regions.get(name, nothing), device=identity.device) for name in ("scalp", "neck", "ears")
    )
    ears = ears & ~scalp
    neutral = identity.neutral()
    reached, shown = reached_in_outline(identity, frames, scalp | neck | ears)
    clothes = clothes_heights(neutral[:, 1], torch.where(neck, reached, torch.nan))
    middle = torch.where(scalp, reached, torch.nan).nanquantile(LOWEST_SHARE, 0)[:, None]
    known = middle.isfinite().float()
    middle = middle.nan_to_num(0.0)
    other, other_known = mirrored(neutral, faces, torch.cat([middle.expand(-1, 3), known], 1))
    middle = torch.where(known > 0, middle, other[:, :1])
    known = torch.maximum(known[:, 0], (other_known > 0.5).float())
    hair = torch.full_like(clothes, HIGHEST)
    if known.any():
        filled = fill_over_mesh(middle, known, faces, scalp)[:, 0]
        there = known > 0
        level = same_level(neutral[:, 1], neutral[there, 1], middle[there, 0])
        filled = torch.where(there, filled, torch.minimum(filled, level))
        hair = torch.where(there | ~shown, filled, HIGHEST)
    hair = torch.where(scalp, hair, torch.where(neck & ~shown, clothes, 0.0))
    for side in (neutral[:, 0] > 0, neutral[:, 0] < 0):
        hair = torch.where(ears & side, bare_height(reached[:, ears & side]), hair)
    return hair


def bare_height(reached: Tensor) -> Tensor:
    """Metres `[]` within which a bare ear keeps to the head model's; zero where hair covers it, or no frame tells.

    reached: `[F, E]` metres at the ear's vertices, as of `reached_in_outline`.
    """
    told = reached[reached.isfinite()]
    if len(told) < EAR_OUTLINES or float(told.median()) > BARE:
        return reached.new_zeros(())
    return told.quantile(EAR_SHARE).clamp_min(THINNEST)


def reached_in_outline(identity: Identity, frames: FrameSet, region: Tensor) -> tuple[Tensor, Tensor]:
    """Metres `[F, V]` from a vertex of `region` `[V]` along its normal to the mask's edge, in F frames; NaN where the
    vertex is not on the outline of the mesh. And `[V]` bool: a frame shows the vertex."""
    heights = torch.linspace(0, HIGHEST, STEPS, device=identity.device)
    found, shown = [], torch.zeros_like(region)
    for index in identity.frames_by_yaw(FRAMES):
        vertices = identity.head(identity.params.frame(index)).vertices[0]
        normals = vertex_normals(vertices, identity.query.faces)
        camera = frames.cameras[index]
        ray = vertices - torch.tensor(camera.position, dtype=torch.float32, device=identity.device)
        facing = -(F.normalize(ray, dim=-1) * normals).sum(-1)
        shown |= facing > SHOWN
        outline = region & (facing.abs() < OUTLINE)
        points = vertices[outline, None] + heights[:, None] * normals[outline, None]
        size = torch.tensor([camera.width, camera.height], device=identity.device)
        places = 2 * project(points, camera)[0] / size - 1
        mask = frames.masks[index].float()[None, None] / 255
        inside = F.grid_sample(mask, places[None], align_corners=False)[0, 0] > INSIDE
        mesh = identity.silhouette(identity.params.frame(index), camera).float()[None, None]
        covered = F.grid_sample(mesh, places[None, :, heights > GAP], align_corners=False)[0, 0] > INSIDE
        outline[outline.clone()] = ~covered.any(1)
        inside = inside[~covered.any(1)]
        reached = torch.full((len(vertices),), torch.nan, device=identity.device)
        reached[outline] = (inside.float().cumprod(1).sum(1) - 1).clamp_min(0) * (HIGHEST / (STEPS - 1))
        found.append(reached)
    return torch.stack(found), shown


def same_level(level: Tensor, known_level: Tensor, height: Tensor) -> Tensor:
    """`[V]` mean of heights `[K]` known at `known_level` `[K]`, weighted by its nearness to `level` `[V]`; metres."""
    apart = (level[:, None] - known_level) / LEVEL
    return torch.softmax(-apart.square() / 2, 1) @ height


def clothes_heights(level: Tensor, reached: Tensor) -> Tensor:
    """Metres `[V]` by which clothes stand off the neck: a collar is a ring, as thick all around as at its outlines.

    Zero where too few outlines tell, and where they reach shoulders or hair.

    level: `[V]` metres upwards. reached: `[F, V]` metres, as of `reached_in_outline`.
    """
    heights, known = torch.zeros_like(level), reached.isfinite()
    row = (level / ROW).floor().long()
    for at in row[known.any(0)].unique().tolist():
        here = row == at
        values = reached[:, here][known[:, here]]
        thickness = float(values.median())
        if len(values) >= ROW_OUTLINES and thickness <= THICKEST:
            heights[here] = max(thickness, THINNEST)
    return heights
