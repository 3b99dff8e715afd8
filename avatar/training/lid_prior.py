"""Lids that the clip never shuts: shut, they look like the skin around them.

A blink lasts a tenth of a second. In a short clip, thinned to some hundred frames, the field may see one or none, and
renders lids that stay half open. Here the person's head is posed with lids nearly and wholly shut, and rays through the
opening of the eyes have to see the lids with the colours of the head's surface.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.avatar import Avatar
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.flame.rasterize import MeshImage
from avatar.kernels.mesh.types import interpolate
from avatar.training.posed_rays import PosedRays
from avatar.training.prepare import TrainingData

LIDS = ("eyeBlinkLeft", "eyeBlinkRight")
CLOSINGS = ((0.75, 0.75), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5))
"""Closings of the left and the right lid that are taught: nearly shut, shut, each alone, and half shut."""
SHUT = 0.6
"""Closing from which on a frame of the clip shows a lid shut."""
ENOUGH = 4
"""Frames with both lids shut from which on the clip teaches that itself."""
AROUND = 1
"""Pixels by which the eyes' opening is grown."""


def shut_eyes(avatar: Avatar, training: TrainingData) -> PosedRays | None:
    """Rays at shut lids. None where the head has no lids to shut, or the clip shows them shut often enough."""
    asset, identity = avatar.asset, training.identity
    if not set(LIDS) <= set(asset.expression_names) or not {"eyelids", "eyes"} <= set(asset.regions):
        return None
    if int(closings(identity.params, asset).ge(SHUT).all(1).sum()) >= ENOUGH:
        return None
    index = identity.frames_by_yaw(3)[1]
    frame, camera = identity.params.frame(index), training.frames.cameras[index]
    colours = training.surface.colours
    faces = torch.as_tensor(asset.faces, device=avatar.device)
    lids = torch.as_tensor(asset.region("eyelids"), device=avatar.device)
    eyes = torch.as_tensor(asset.region("eyeballs"), device=avatar.device)
    opening = grown(shown(identity.seen(closed(frame, asset, [(0.0, 0.0)]), camera), faces, lids | eyes), AROUND)
    params = closed(frame, asset, CLOSINGS)
    pictures = []
    for k in range(len(params)):
        seen = identity.seen(params.frame(k), camera)
        chosen = opening & (seen.face >= 0) & ~shown(seen, faces, eyes)
        at = interpolate(colours, faces, seen.face[chosen].long(), seen.barycentrics[chosen])
        pictures.append((chosen, at))
    return PosedRays.through(identity, params, camera, pictures)


def closings(params: HeadParameters, asset: HeadAsset) -> Tensor:
    """How far the left and the right lid are closed, `[N, 2]`: 0 open, 1 shut."""
    return params.expr[:, [asset.expression_index(name) for name in LIDS]]


def closed(params: HeadParameters, asset: HeadAsset, amounts: list | tuple) -> HeadParameters:
    """One frame's parameters, K times, with the left and the right lid closed by each pair of `amounts`."""
    rows = params.select([0] * len(amounts))
    expr = rows.expr.clone()
    expr[:, [asset.expression_index(name) for name in LIDS]] = torch.tensor(amounts, device=expr.device)
    return replace(rows, expr=expr)


def shown(seen: MeshImage, faces: Tensor, region: Tensor) -> Tensor:
    """The pixels `[H, W]` bool that show a region `[V]` bool."""
    return (seen.face >= 0) & region[faces].all(1)[seen.face.long().clamp_min(0)]


def grown(mask: Tensor, pixels: int) -> Tensor:
    """A mask `[H, W]` bool, dilated."""
    return F.max_pool2d(mask.float()[None, None], 2 * pixels + 1, stride=1, padding=pixels)[0, 0] > 0.5
