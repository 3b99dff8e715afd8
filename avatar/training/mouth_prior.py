"""Mouths wider than in the clip: their inside looks like the head model's own teeth, tongue and palate.

A clip shows the inside of a mouth as far as it opens. Beyond that the field knows nothing of what the lips uncover.
Here the person's head is posed with the jaw open wider than in any frame, in the proportion of joint and expression in
which the clip opens it, and rays through the mouth have to show the mesh's own parts. Each part has one colour, darker
the deeper it lies, as bright as the clip shows it where it does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avatar.avatar import Avatar
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.flame.rasterize import MeshImage
from avatar.geometry.cameras import Camera
from avatar.training.posed_rays import PosedRays
from avatar.training.prepare import TrainingData

PARTS = {"teeth": (0.86, 0.82, 0.74), "tongue": (0.62, 0.34, 0.33), "mouth_interior": (0.42, 0.18, 0.18)}
"""Regions of the inside of the mouth, and their sRGB colours at the lips where the clip does not show them."""
DARKNESS = 0.025
"""Metres behind the lips over which the inside grows darker by a factor of e."""
BRIGHTNESS = (0.35, 1.4)
"""Least and most by which the clip may scale a part's colour."""
LEAST_PIXELS = 20
"""Pixels of a part in the frames looked at from which on the clip tells its brightness."""
FRAMES = 12
"""Frames, those with the widest mouths, from which brightness is taken."""
WIDER, LEAST, WIDEST = 1.5, 0.2, 0.42
"""Openings start at this multiple of the clip's widest, not below the second, and end at the third; radians. Nearer to
the clip's they would argue with its own pictures, where the mesh's lips are a pixel beside the person's."""
OPENINGS = 6


def wide_mouths(avatar: Avatar, training: TrainingData) -> PosedRays | None:
    """Rays through mouths wider than the clip's. None where the head has no such parts, no jawOpen, or the clip opens
    the mouth as wide as it goes."""
    asset, identity = avatar.asset, training.identity
    if not set(PARTS) <= set(asset.regions) or "jawOpen" not in asset.expression_names:
        return None
    opening = openings(identity.params, asset)
    widest = int(opening.argmax())
    first = max(WIDER * float(opening[widest]), LEAST)
    if first >= WIDEST:
        return None
    camera = training.frames.cameras[widest]
    params = opened(identity.params.frame(widest), asset, np.linspace(first, WIDEST, OPENINGS).tolist())
    part = part_of_faces(asset, avatar.device)
    brightness = brightness_of(training, part, opening)
    pictures = []
    for k in range(OPENINGS):
        seen, inside = inside_of(training, params.frame(k), camera, part)
        inside = eroded(inside)
        pictures.append((inside, part_colours(seen, inside, part, asset, brightness)))
    return PosedRays.through(identity, params, camera, pictures)


def openings(params: HeadParameters, asset: HeadAsset) -> Tensor:
    """The mouth's opening `[N]` of frames, by the jaw's joint and by expression, radians."""
    by_expression = params.expr[:, asset.expression_index("jawOpen")] * float(asset.extras["jaw_open_angle"])
    return params.jaw[:, 0] + by_expression


def opened(params: HeadParameters, asset: HeadAsset, angles: list[float]) -> HeadParameters:
    """One frame's parameters, the mouth opened to each of the `angles` (radians), in the frame's proportion."""
    index, unit = asset.expression_index("jawOpen"), float(asset.extras["jaw_open_angle"])
    by_joint = float(params.jaw[0, 0].clamp_min(0)) + 0.01
    by_expression = float(params.expr[0, index].clamp_min(0)) * unit + 0.01
    share = by_joint / (by_joint + by_expression)
    angle = torch.tensor(angles, dtype=torch.float32, device=params.expr.device)
    rows = params.select([0] * len(angles))
    jaw, expr = rows.jaw.clone(), rows.expr.clone()
    jaw[:, 0], expr[:, index] = share * angle, (1 - share) * angle / unit
    return replace(rows, jaw=jaw, expr=expr)


def part_of_faces(asset: HeadAsset, device: torch.device) -> Tensor:
    """`[F]` int64: the index in PARTS of each triangle's part, -1 elsewhere. Teeth and tongue lie within the mouth."""
    part = np.full(len(asset.faces), -1)
    for index, name in reversed(list(enumerate(PARTS))):
        part[asset.region(name)[asset.faces].all(1)] = index
    return torch.as_tensor(part, device=device)


def inside_of(training: TrainingData, params: HeadParameters, camera: Camera, part: Tensor) -> tuple[MeshImage, Tensor]:
    """The head of one frame as the camera sees it, and the pixels `[H, W]` bool that show the inside of the mouth."""
    seen = training.identity.seen(params, camera)
    return seen, (seen.face >= 0) & (part[seen.face.long().clamp_min(0)] >= 0)


def eroded(mask: Tensor) -> Tensor:
    """A mask `[H, W]` bool without its outermost pixels, where the mesh's lips may be a pixel beside the person's."""
    return -F.max_pool2d(-mask.float()[None, None], 3, stride=1, padding=1)[0, 0] > 0.5


def part_colours(seen: MeshImage, inside: Tensor, part: Tensor, asset: HeadAsset, brightness: Tensor) -> Tensor:
    """sRGB `[P, 3]` of the pixels `inside`: the part's, scaled by its brightness, darker behind the lips."""
    colours = torch.tensor(list(PARTS.values()), device=inside.device)
    index = part[seen.face[inside].long()]
    return (colours[index] * (brightness[index] * shade(seen, inside, asset))[:, None]).clamp(0, 1)


def shade(seen: MeshImage, inside: Tensor, asset: HeadAsset) -> Tensor:
    """Factors `[P]` by which the pixels `inside` are darker than at the lips."""
    lips = torch.as_tensor(asset.region("lips")[asset.faces].all(1), device=inside.device)
    at_lips = (seen.face >= 0) & lips[seen.face.long().clamp_min(0)]
    front = seen.depth[at_lips].median() if at_lips.any() else seen.depth[inside].min()
    return torch.exp(-(seen.depth[inside] - front).clamp_min(0) / DARKNESS)


@torch.no_grad()
def brightness_of(training: TrainingData, part: Tensor, opening: Tensor) -> Tensor:
    """Factors, one for each of PARTS, between its colours here and in the frames with the widest mouths."""
    asset = training.identity.asset
    ratios: list[list[Tensor]] = [[] for _ in PARTS]
    ones = torch.ones(len(PARTS), device=part.device)
    for i in opening.argsort(descending=True)[:FRAMES].tolist():
        seen, inside = inside_of(training, training.identity.params.frame(i), training.frames.cameras[i], part)
        inside = eroded(inside)
        if not inside.any():
            continue
        found = training.frames.images[i][inside].float().mean(-1) / 255
        expected = part_colours(seen, inside, part, asset, ones).mean(-1)
        index = part[seen.face[inside].long()]
        for k, kept in enumerate(ratios):
            kept.append((found / expected.clamp_min(0.02))[index == k])
    result = ones.clone()
    for k, kept in enumerate(ratios):
        values = torch.cat(kept) if kept else torch.zeros(0)
        if len(values) >= LEAST_PIXELS:
            result[k] = values.median().clamp(*BRIGHTNESS)
    return result
