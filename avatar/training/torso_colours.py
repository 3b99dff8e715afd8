"""Colours of the torso's mesh, and of the neck that goes over into it.

They are seen where the clip shows them. Elsewhere they come from the other side, or from around.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.field.torso import TorsoMotion
from avatar.flame.torso import load_torso
from avatar.kernels.mesh.op import MeshQuery
from avatar.media.images import to_srgb
from avatar.training.over_mesh import fill_over_mesh, mirrored
from avatar.training.prepare import TrainingData
from avatar.training.surface_colours import FRAMES, KNOWN, SurfaceColours, observe, surface_colours


@torch.no_grad()
def torso_colours(torso: TorsoMotion, vertices: Tensor, training: TrainingData) -> SurfaceColours:
    """The colours of the torso's mesh, and how well they were seen.

    vertices: `[T, 3]` canonical, metres (`torso_shape.fit_torso`).
    """
    rest, faces = (torch.as_tensor(part, device=vertices.device) for part in load_torso())
    moves = torso_moves(torso, training)

    def posed(index: int) -> Tensor:
        return vertices @ moves[index, :3, :3].T + moves[index, :3, 3]

    chosen = torch.linspace(0, len(moves) - 1, min(FRAMES, len(moves))).round().long().tolist()
    query = MeshQuery(faces, vertices.device)
    # the head stands before the torso
    seen, confidence, _ = observe(posed, query, training.frames, chosen, training.silhouettes)
    partner, partner_confidence = mirrored(rest, faces, torch.cat([seen, confidence[:, None]], 1))
    other = (1 - confidence) * partner_confidence
    known = confidence + other
    mixed = (confidence[:, None] * seen + other[:, None] * partner) / known.clamp_min(1e-6)[:, None]
    nowhere = torch.zeros(len(vertices), dtype=torch.bool, device=vertices.device)
    filled = fill_over_mesh(mixed, (known / KNOWN).clamp(max=1.0), faces, nowhere).clamp(0, 1)
    colours = torch.as_tensor(to_srgb(filled.cpu().numpy()), dtype=torch.float32, device=vertices.device)
    return SurfaceColours(colours, confidence)


@torch.no_grad()
def torso_moves(torso: TorsoMotion, training: TrainingData) -> Tensor:
    """`[N, 4, 4]` world from torso, of the training frames."""
    return torso.world_from_torso(torso.torso_transforms(training.data.world_from_skull))


@torch.no_grad()
def blended_colours(torso: TorsoMotion, neutral: Tensor, training: TrainingData) -> SurfaceColours:
    """The head's colours, those of its neck as it goes over into the torso: the tracked neck turns under a collar.

    neutral: `[V, 3]` canonical, metres.
    """
    moves, share = torso_moves(torso, training), torso.share(neutral)[:, None]

    def moved(index: int, vertices: Tensor) -> Tensor:
        return torch.lerp(vertices, neutral @ moves[index, :3, :3].T + moves[index, :3, 3], share)

    return surface_colours(training.identity, training.frames, moved, completed=training.completed)
