"""Colours of the head's whole surface: seen where the clip shows it, completed where it does not.

Every vertex is looked up in frames spread over the head's yaw, which gives its colour and how well it was seen: from
how many frames, and at which angles. Skin and hair that were not seen take the albedo of the head's other side under
the light at their own normal, or where a texture space completed the capture's texture, that texture's. What neither
side shows continues its surroundings over the mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.data.dataset import FrameSet
from avatar.field.identity import Identity
from avatar.geometry.cameras import project
from avatar.geometry.meshes import vertex_normals
from avatar.kernels.harmonics.op import spherical_harmonics
from avatar.kernels.mesh.op import MeshQuery
from avatar.media.images import linear_image, to_srgb
from avatar.training.over_mesh import fill_over_mesh, mirrored

FRAMES = 32
HIDDEN = 0.004
"""Metres by which another surface has to lie in front for a vertex to be hidden."""
MASK_MARGIN = 0.012
"""Shares of the picture's side by which the mask is eroded: no colour of the wall sticks to the head."""
SEEN_AT, SEEN_WELL = 0.05, 0.3
"""Cosines between view and normal: a vertex counts as unseen below the first, as well seen from the second."""
KNOWN = 0.05
"""Confidence from which a vertex keeps its own colour instead of continuing its surroundings."""
SEEN_FRAMES = 3
"""The cosine that counts is reached in at least so many of the frames looked at."""
ODD = 0.15
"""Relative difference from the mean colour from which on an observation counts less."""
FACE_RIDGE = 0.03
SHADE_RATIO = 1.8
"""Most by which light may differ between a vertex and its partner."""


@dataclass
class SurfaceColours:
    """Colours of the neutral head's V vertices."""

    colours: Tensor
    """`[V, 3]` sRGB in [0, 1]: seen, or completed."""
    confidence: Tensor
    """`[V]` in [0, 1]: 0 never seen, 1 seen well."""


@torch.no_grad()
def surface_colours(
    identity: Identity,
    frames: FrameSet,
    moved: Callable[[int, Tensor], Tensor] | None = None,
    *,
    completed: Tensor | None = None,
) -> SurfaceColours:
    """The colours of the head of a clip, from its N training frames; `identity` holds their parameters.

    moved: gives a frame's vertices `[V, 3]` (metres, world), from those of the tracked head, where clothes on the neck
    keep to the torso. completed: `[V, 3]` linear albedo up to a gain a channel, which unseen skin takes instead of its
    other side's (`data.completed_texture`).
    """
    query = MeshQuery(identity.query.faces, identity.device)

    def posed(index: int) -> Tensor:
        vertices = identity.head(identity.params.frame(index)).vertices[0]
        return vertices if moved is None else moved(index, vertices)

    seen, confidence, normals = observe(posed, query, frames, identity.frames_by_yaw(FRAMES))
    asset, device = identity.asset, seen.device
    faces = identity.query.faces
    skin = torch.as_tensor(asset.region("face"), device=device)
    shade = shading(seen, normals, confidence * skin.float())
    albedo = seen / shade[:, None]
    neutral = identity.neutral()
    partner, partner_confidence = mirrored(neutral, faces, torch.cat([albedo, confidence[:, None]], 1))
    other = (1 - confidence) * partner_confidence
    known = confidence + other
    mixed = (confidence[:, None] * albedo + other[:, None] * partner) / known.clamp_min(1e-6)[:, None]
    nothing = np.zeros(asset.vertex_count, bool)
    scalp, ears = (torch.as_tensor(asset.regions.get(name, nothing), device=device) for name in ("scalp", "ears"))
    if ears.any():  # lower down, hair may end or go on
        scalp = scalp & (neutral[:, 1] > neutral[ears, 1].mean())
    filled = fill_over_mesh(mixed, (known / KNOWN).clamp(max=1.0), faces, scalp)
    if completed is not None:  # hair is another's: it goes on from what was seen of it
        own = (skin | ears) & ~scalp
        said = in_tone(completed, albedo, confidence * own)
        filled = torch.where(own[:, None], torch.lerp(said, albedo, confidence[:, None]), filled)
    colours = (filled * shade[:, None]).clamp(0, 1)
    colours = torch.where(confidence[:, None] > 0.999, seen, colours)
    return SurfaceColours(
        torch.as_tensor(to_srgb(colours.cpu().numpy()), dtype=torch.float32, device=device), confidence
    )


def in_tone(completed: Tensor, albedo: Tensor, weight: Tensor) -> Tensor:
    """An albedo `[V, 3]` times the gain a channel that brings it nearest to another where `weight` `[V]` says so."""
    gain = (weight[:, None] * completed * albedo).sum(0) / (weight[:, None] * completed.square()).sum(0).clamp_min(1e-6)
    return completed * torch.where(gain > 0, gain, 1.0)


def observe(
    posed: Callable[[int], Tensor],
    query: MeshQuery,
    frames: FrameSet,
    chosen: Sequence[int],
    covered: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Linear colours `[V, 3]`, confidences `[V]` and mean world normals `[V, 3]` of a mesh's vertices.

    The colour is a mean over frames weighted by the squared cosine between view and normal, reweighted twice to
    suppress outliers.

    posed: the vertices `[V, 3]` of a frame, metres, world. query: of the mesh. chosen: the frames looked at. covered:
    `[N, H, W]` bool of all frames, pixels in which something else stands before the mesh.
    """
    colours, weights, directions = [], [], []
    for index in chosen:
        vertices = posed(index)
        device = vertices.device
        normals = vertex_normals(vertices, query.faces)
        camera = frames.cameras[index]
        centre = torch.tensor(camera.position, dtype=torch.float32, device=device)
        ray = vertices - centre
        distance = ray.norm(dim=-1)
        ray = ray / distance[:, None]
        hits = query.update(vertices).cast_rays(centre.expand_as(ray).contiguous(), ray.contiguous())
        mask = frames.masks[index].float() / 255
        if covered is not None:
            mask = mask * ~covered[index]
        picture = torch.cat(
            [
                torch.as_tensor(linear_image(frames.images[index].cpu().numpy()), device=device).permute(2, 0, 1),
                eroded(mask, MASK_MARGIN)[None],
            ]
        )
        size = torch.tensor([camera.width, camera.height], device=device)
        places = 2 * project(vertices, camera)[0] / size - 1
        looked = F.grid_sample(picture[None], places[None, None], align_corners=False)[0, :, 0].T
        facing = -(normals * ray).sum(-1)
        shown = (hits.depth > distance - HIDDEN) & (looked[:, 3] > 0.95) & (facing > SEEN_AT)
        colours.append(looked[:, :3])
        weights.append(shown * facing.clamp_min(0).square())
        directions.append(normals)
    colour, weight = torch.stack(colours), torch.stack(weights)
    best = weight.sort(0, descending=True).values[min(SEEN_FRAMES, len(chosen)) - 1].sqrt()
    share = ((best - SEEN_AT) / (SEEN_WELL - SEEN_AT)).clamp(0, 1)
    kept = weight
    for _ in range(3):
        mean = (kept[..., None] * colour).sum(0) / kept.sum(0).clamp_min(1e-6)[:, None]
        odd = (colour - mean).abs().mean(-1) / (ODD * (mean.mean(-1) + 0.02))
        kept = weight / (1 + odd.square())
    return mean, share * share * (3 - 2 * share), F.normalize(torch.stack(directions).mean(0), dim=-1)


def shading(colours: Tensor, normals: Tensor, weight: Tensor) -> Tensor:
    """Light `[V]` at the vertices up to a factor: nine harmonics of the normal fitted to skin of one albedo.

    colours: `[V, 3]` linear. weight: `[V]`, zero off the skin. Orders above the mean are held small, so that the light
    on a side that was never seen is not invented.
    """
    basis = spherical_harmonics(normals.contiguous())
    basis = basis / basis[:, :1].abs().clamp_min(1e-6)
    grey = colours.mean(-1)
    level = (weight * grey).sum() / weight.sum().clamp_min(1e-6)
    ridge = FACE_RIDGE * weight.sum() * torch.diag((torch.arange(9, device=colours.device) > 0).float())
    matrix = basis.T @ (weight[:, None] * basis) + ridge + 1e-6 * torch.eye(9, device=colours.device)
    light = torch.linalg.solve(matrix, basis.T @ (weight * grey / level.clamp_min(1e-6)))
    return (basis @ light).clamp(SHADE_RATIO**-0.5, SHADE_RATIO**0.5)


def eroded(mask: Tensor, share: float) -> Tensor:
    """A mask `[H, W]` in [0, 1], eroded by a share of the picture's side."""
    radius = max(1, round(share * max(mask.shape)))
    side = 2 * radius + 1
    return -F.max_pool2d(-mask[None, None], side, stride=1, padding=radius)[0, 0]
