"""Materials of a synthetic person: texture lookup and shading of surface points."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from avatar.kernels.mesh.types import interpolate
from avatar.media.images import to_linear
from avatar.synthetic import shading
from avatar.synthetic.person import (
    CLOTH,
    EYE,
    HAIR,
    LASH,
    MOUTH,
    SKIN,
    STRAND_LENGTH,
    TEETH,
    TONGUE,
    Person,
    Posed,
)


def sample(texture: np.ndarray, x: Tensor, y: Tensor) -> Tensor:
    """Texture `[h, w]` or `[h, w, C]` at positions in [0, 1], repeated outside, linearly interpolated."""
    h, w = texture.shape[:2]
    return lookup(texture, x.remainder(1.0) * (w - 1), y.remainder(1.0) * (h - 1))


def lookup(texture: np.ndarray, column: Tensor, row: Tensor) -> Tensor:
    """Texture at texel positions `[P]` (centres at whole numbers): `[P]` or `[P, C]`."""
    count = len(column)
    if count == 0:
        return torch.zeros(0, *texture.shape[2:])
    # OpenCV's remap takes pictures of at most 32767 columns.
    wide = 1024
    padded = -(-count // wide) * wide
    maps = [np.pad(t.numpy(), (0, padded - count), mode="edge").reshape(-1, wide) for t in (column, row)]
    found = cv2.remap(texture, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return torch.from_numpy(found.reshape(padded, *texture.shape[2:])[:count])


def shade(
    person: Person, light: shading.Light, posed: Posed, face: Tensor, weights: Tensor, points: Tensor, view: Tensor
) -> Tensor:
    """Linear colours `[P, 3]` of surface points.

    face, weights: `[P]`, `[P, 3]` where on the mesh they lie; points `[P, 3]` the same in the world; view `[P, 3]`
    unit directions to the viewer.
    """
    shadow = lamp_seen(person, posed, light)
    carried = torch.cat(
        [
            posed.normals,
            person.canonical,
            posed.occlusion[:, None],
            shadow[:, None],
            person.marks,
            posed.tangents,
        ],
        1,
    )
    values = interpolate(carried, person.faces, face, weights)
    normal = torch.nn.functional.normalize(values[:, :3], dim=-1)
    material = person.materials[face.long()]
    samples = shading.Samples(normal, view, values[:, 6].clamp(0.02, 1), values[:, 7])
    colours = torch.zeros(len(face), 3)
    for kind, paint in ((SKIN, paint_skin), (MOUTH, paint_skin), (TEETH, paint_teeth), (TONGUE, paint_tongue)):
        mask = material == kind
        if mask.any():
            colours[mask] = paint(person, light, samples.select(mask), values[mask])
    for side, centre_from in enumerate(("left_eyeball", "right_eyeball")):
        mask = (material == EYE) & ((values[:, 3] > 0) == (side == 0))
        if mask.any():
            ball = torch.from_numpy(person.asset.region(centre_from))
            centre = posed.vertices[: len(ball)][ball].mean(0)
            rest = person.canonical[: len(ball)][ball].mean(0)
            colours[mask] = paint_eye(
                person, light, samples.select(mask), points[mask] - centre, values[mask, 3:6] - rest
            )
    for kind, paint in ((HAIR, paint_hair), (CLOTH, paint_cloth), (LASH, paint_lashes)):
        mask = material == kind
        if mask.any():
            colours[mask] = paint(person, light, facing(samples.select(mask)), values[mask])
    return colours


def lamp_seen(person: Person, posed: Posed, light: shading.Light) -> Tensor:
    """Share of the lamp `[V]` that each vertex sees, from a few rays towards its face.

    Only skin and cloth that face the lamp are tested: hair is lit by its normals alone.
    """
    key = light.key_direction
    tested = person.shadowed & (posed.normals @ key > -0.25)
    side = torch.nn.functional.normalize(torch.linalg.cross(key, torch.tensor([0.0, 1.0, 0.0])), dim=0)
    up = torch.linalg.cross(side, key)
    start = (posed.vertices + 0.002 * posed.normals)[tested]
    lit = torch.zeros(len(start))
    spots = ((0.10, 0.04), (-0.04, 0.10), (-0.10, -0.04), (0.04, -0.10))
    for x, y in spots:
        direction = torch.nn.functional.normalize(key + x * side + y * up, dim=0).expand_as(start).contiguous()
        lit += (person.query.cast_rays(start, direction, max_depth=0.4).face < 0).float()
    seen = (~person.shadowed).float()
    seen[tested] = lit / len(spots)
    return seen


def facing(samples: shading.Samples) -> shading.Samples:
    """Turn normals of open surfaces towards the viewer; their back sides lie in the dark."""
    behind = (samples.normal * samples.view).sum(-1) < 0
    normal = torch.where(behind[:, None], -samples.normal, samples.normal)
    dim = torch.where(behind, 0.35, 1.0)
    return shading.Samples(
        normal, samples.view, samples.occlusion * dim, samples.shadow * torch.where(behind, 0.1, 1.0)
    )


def paint_skin(person: Person, light: shading.Light, samples: shading.Samples, values: Tensor) -> Tensor:
    at = values[:, 3:6]
    atlas = person.atlas
    column = (0.5 + torch.atan2(at[:, 0], at[:, 2] - atlas.axis_z) / (2 * np.pi)) * atlas.width - 0.5
    row = (atlas.top - at[:, 1]) / (atlas.top - atlas.bottom) * atlas.height - 0.5
    albedo, gloss = lookup(person.albedo, column, row), lookup(person.gloss, column, row)
    inside = values[:, 8:9].clamp(0, 1)
    inside = inside * inside * (3 - 2 * inside)
    albedo = albedo + (torch.tensor([0.20, 0.035, 0.035]) - albedo) * inside
    albedo = paint_lid_rims(person, albedo, values[:, 9], values[:, 10])
    return shading.skin(light, samples, albedo, gloss * (1 - 0.8 * inside[:, 0]))


def paint_lid_rims(person: Person, albedo: Tensor, upper: Tensor, lower: Tensor) -> Tensor:
    """Moist, redder rims and the dark roots of lashes; `upper` and `lower` `[P]` are metres to the rims."""
    dark = torch.from_numpy(to_linear(person.looks.brow * 0.35))
    strong = 0.85 if person.looks.hair_style == "long" else 0.6
    moist = torch.exp(-((lower / 0.0011) ** 2))[:, None]
    albedo = albedo * (1 - moist * torch.tensor([0.12, 0.38, 0.36]))
    albedo = albedo + (dark - albedo) * (0.45 * strong * torch.exp(-(((lower - 0.0017) / 0.0007) ** 2)))[:, None]
    return albedo + (dark - albedo) * (strong * torch.exp(-((upper / 0.0013) ** 2)))[:, None]


def paint_lashes(person: Person, light: shading.Light, samples: shading.Samples, values: Tensor) -> Tensor:
    colour = torch.from_numpy(to_linear(person.looks.brow * 0.35))
    return shading.matte(light, samples, colour)


def paint_teeth(person: Person, light: shading.Light, samples: shading.Samples, values: Tensor) -> Tensor:
    # Enamel is translucent: it keeps more light in the mouth's shade than skin does.
    lit = shading.Samples(samples.normal, samples.view, samples.occlusion.sqrt(), samples.shadow)
    return shading.wet(light, lit, torch.tensor([0.80, 0.75, 0.66]), 0.05, 60)


def paint_tongue(person: Person, light: shading.Light, samples: shading.Samples, values: Tensor) -> Tensor:
    return shading.wet(light, samples, torch.tensor([0.36, 0.10, 0.10]), 0.03, 30)


def paint_eye(person: Person, light: shading.Light, samples: shading.Samples, outward: Tensor, rest: Tensor) -> Tensor:
    normal = torch.nn.functional.normalize(outward, dim=-1)
    ball = shading.Samples(normal, samples.view, samples.occlusion, samples.shadow)
    iris = torch.from_numpy(to_linear(person.looks.iris))
    return shading.eye(light, ball, torch.nn.functional.normalize(rest, dim=-1), iris, person.fibres)


def paint_hair(person: Person, light: shading.Light, samples: shading.Samples, values: Tensor) -> Tensor:
    across, along = values[:, 3], values[:, 4]
    grain = sample(person.strands, across * 3.0, along / STRAND_LENGTH)
    tangent = torch.nn.functional.normalize(values[:, 11:14], dim=-1)
    colour = torch.from_numpy(to_linear(person.looks.hair))
    albedo = colour * (1 + 0.38 * grain.clamp(-2, 2))[:, None].clamp_min(0.15)
    return shading.hair(light, samples, tangent, albedo, 0.5 * grain)


def paint_cloth(person: Person, light: shading.Light, samples: shading.Samples, values: Tensor) -> Tensor:
    albedo = sample(person.cloth, values[:, 3], (values[:, 4] / 0.65).clamp(0, 0.999))
    rib = (values[:, 4] < 0.036).float()[:, None]
    trim = torch.from_numpy(to_linear(person.looks.cloth_trim))
    albedo = albedo * (1 - rib) + trim * (1 + 0.06 * torch.sin(values[:, 3:4] * 2 * np.pi * 150)) * rib
    return shading.matte(light, samples, albedo)
