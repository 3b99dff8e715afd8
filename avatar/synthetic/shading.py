"""Shading of a synthetic person: skin, eyes, teeth, hair and cloth, per picture sample, in linear colour.

All functions take samples `[P]` with unit normals, unit directions to the viewer and what the vertices carry
(occlusion, shadow), and return linear colours `[P, 3]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

EYE_RADIUS_SHARE = 0.47
"""Radius of the iris over that of the eyeball: about 5.9 mm of 12.5 mm in adults."""


@dataclass(frozen=True)
class Light:
    """A room: light from above and below, one soft lamp or window, a weak one opposite."""

    key_direction: Tensor
    """`[3]` unit vector towards the lamp, world."""
    key: Tensor
    """`[3]` linear colour."""
    fill_direction: Tensor
    fill: Tensor
    sky: Tensor
    ground: Tensor


@dataclass(frozen=True)
class Samples:
    """Surface points seen by rays."""

    normal: Tensor
    """`[P, 3]` unit, towards the viewer's side."""
    view: Tensor
    """`[P, 3]` unit, towards the viewer."""
    occlusion: Tensor
    """`[P]` ambient visibility: unoccluded share of the hemisphere, 0 to 1."""
    shadow: Tensor
    """`[P]` visibility of the lamp, 0 to 1."""

    def select(self, mask: Tensor) -> Samples:
        return Samples(self.normal[mask], self.view[mask], self.occlusion[mask], self.shadow[mask])


def room_light(side: float) -> Light:
    """A window on one side (`side` +1: the person's left, the picture's right) and light walls around."""

    def unit(*direction: float) -> Tensor:
        return torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float32), dim=0)

    return Light(
        key_direction=unit(0.62 * side, 0.62, 0.85),
        key=torch.tensor([0.86, 0.80, 0.72]),
        fill_direction=unit(-0.8 * side, 0.15, 0.6),
        fill=torch.tensor([0.10, 0.11, 0.13]),
        sky=torch.tensor([0.44, 0.44, 0.455]),
        ground=torch.tensor([0.25, 0.215, 0.19]),
    )


def ambient(light: Light, s: Samples) -> Tensor:
    """Light from all around, from above more than from below."""
    up = (0.5 + 0.5 * s.normal[:, 1:2]).clamp(0, 1)
    return (light.ground + (light.sky - light.ground) * up) * s.occlusion[:, None]


def lobe(normal: Tensor, view: Tensor, direction: Tensor, power: float) -> Tensor:
    """A normalised Blinn-Phong highlight `[P, 1]`."""
    half = torch.nn.functional.normalize(view + direction, dim=-1)
    cosine = (normal * half).sum(-1, keepdim=True).clamp(0, 1)
    return (power + 8) / (8 * math.pi) * cosine.pow(power)


def skin(light: Light, s: Samples, albedo: Tensor, gloss: Tensor) -> Tensor:
    """Skin: light that wraps around, red the furthest (scattering below the surface), and a soft sheen."""
    wrap = torch.tensor([0.28, 0.14, 0.10])
    facing = (s.normal @ light.key_direction)[:, None]
    lit = ((facing + wrap) / (1 + wrap)).clamp_min(0) * (
        0.08 * wrap / 0.28 + (1 - 0.08 * wrap / 0.28) * s.shadow[:, None]
    )
    fill = ((s.normal @ light.fill_direction)[:, None] * 0.6 + 0.4).clamp_min(0) * s.occlusion[:, None]
    # Occluded skin is lit by skin: corners turn redder, not grey.
    bounce = s.occlusion[:, None] ** torch.tensor([0.80, 1.0, 1.05])
    around = ambient(light, s) / s.occlusion[:, None].clamp_min(1e-3) * bounce
    colour = albedo * (around + light.key * lit + light.fill * fill)
    toward = facing.clamp(0, 1).sqrt()
    edge = (1 - (s.normal * s.view).sum(-1, keepdim=True).clamp(0, 1)).pow(5)
    sheen = (
        0.050 * lobe(s.normal, s.view, light.key_direction, 14)
        + 0.026 * lobe(s.normal, s.view, light.key_direction, 60)
    ) * gloss[:, None]
    colour = colour + light.key * sheen * toward * s.shadow[:, None]
    return colour + 0.16 * edge * light.sky * s.occlusion[:, None]


def matte(light: Light, s: Samples, albedo: Tensor, wrap: float = 0.15) -> Tensor:
    """Cloth, the inside of the mouth: no highlight."""
    facing = ((s.normal @ light.key_direction)[:, None] + wrap).clamp_min(0) / (1 + wrap)
    fill = (s.normal @ light.fill_direction)[:, None].clamp_min(0)
    return albedo * (ambient(light, s) + light.key * facing * s.shadow[:, None] + light.fill * fill)


def wet(light: Light, s: Samples, albedo: Tensor, strength: float, power: float) -> Tensor:
    """Teeth and tongue: matte with a highlight that only open places show."""
    shine = strength * lobe(s.normal, s.view, light.key_direction, power) * s.shadow[:, None]
    return matte(light, s, albedo, 0.3) + light.key * shine * s.occlusion[:, None]


def hair(light: Light, s: Samples, tangent: Tensor, albedo: Tensor, jitter: Tensor) -> Tensor:
    """Strands with two shifted highlights (Kajiya and Kay 1989; Marschner 2003); `tangent` lies along the hair."""
    wrapped = ((s.normal @ light.key_direction)[:, None] * 0.7 + 0.3).clamp_min(0) * s.shadow[:, None]
    colour = albedo * (ambient(light, s) + light.key * wrapped)
    half = torch.nn.functional.normalize(s.view + light.key_direction, dim=-1)
    for shift, power, tint in ((-0.10, 60.0, 0.10), (0.10, 18.0, 0.75)):
        shifted = torch.nn.functional.normalize(tangent + (shift + 0.16 * jitter)[:, None] * s.normal, dim=-1)
        along = (shifted * half).sum(-1, keepdim=True)
        shine = (1 - along * along).clamp_min(0).pow(power / 2)
        colour = colour + light.key * wrapped * shine * (0.055 * (1 - tint) + 0.9 * tint * albedo)
    edge = (1 - (s.normal * s.view).sum(-1, keepdim=True).clamp(0, 1)).pow(3)
    return colour + 0.06 * edge * light.sky * s.occlusion[:, None]


def eye(light: Light, s: Samples, out: Tensor, iris: Tensor, fibres: Tensor) -> Tensor:
    """An eyeball.

    `out` `[P, 3]`: unit direction from the eye's centre in the eye's own frame, +z the optical axis. `iris`: linear
    colour `[3]`. `fibres` `[R, A]`: noise over the iris by radius and angle.
    """
    r = out[:, :2].norm(dim=-1) / EYE_RADIUS_SHARE  # 1 at the rim of the iris
    r = torch.where(out[:, 2] > 0, r, torch.full_like(r, 9.0))
    angle = torch.atan2(out[:, 1], out[:, 0])
    rows, columns = fibres.shape
    row = (r.clamp(0, 1) * (rows - 1)).long()
    column = ((angle / (2 * math.pi) + 0.5) * (columns - 1)).long()
    grain = fibres[row, column]

    def step(low: float, high: float) -> Tensor:
        x = ((r - low) / (high - low)).clamp(0, 1)
        return (x * x * (3 - 2 * x))[:, None]

    sclera = torch.tensor([0.74, 0.70, 0.67]) - step(1.1, 2.1) * torch.tensor([0.06, 0.16, 0.16])
    ring = 1 + 0.55 * torch.exp(-(((r - 0.48) / 0.14) ** 2))[:, None]  # lighter around the pupil
    coloured = iris * ring * (1 + 0.30 * grain[:, None]) * (1 - 0.72 * step(0.72, 1.0))
    albedo = coloured + (sclera - coloured) * step(0.93, 1.10)
    albedo = albedo * step(0.33, 0.42) + 0.004
    # The upper lid and its lashes shade the top of the ball.
    shade = s.occlusion.clamp(0.12, 1)
    base = matte(light, Samples(s.normal, s.view, shade, s.shadow * 0.6 + 0.4 * shade), albedo, 0.35)
    cornea = torch.where((r < 1.15)[:, None], 1.0, 0.35)
    glint = 0.30 * lobe(s.normal, s.view, light.key_direction, 380) * cornea
    window = 0.03 * lobe(s.normal, s.view, light.key_direction, 40)
    return base + light.key * (glint + window) * (0.3 + 0.7 * shade[:, None])


def tone(linear: Tensor) -> Tensor:
    """Roll highlights off above 0.75 so that they do not clip hard."""
    over = (linear - 0.75).clamp_min(0)
    return torch.where(linear > 0.75, 0.75 + over / (1 + over / 0.25), linear)
