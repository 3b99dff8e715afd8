"""Appearance of the person of a synthetic clip: colours and proportions drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# sRGB, light to dark: the range of human skin seen in daylight.
SKINS = ((236, 196, 172), (224, 176, 148), (206, 154, 122), (178, 124, 92), (138, 92, 66), (98, 64, 48))
HAIRS = ((28, 22, 20), (52, 34, 24), (84, 54, 34), (120, 78, 44), (168, 124, 76), (112, 52, 28), (110, 108, 106))
IRISES = ((92, 58, 34), (62, 40, 26), (108, 92, 52), (82, 106, 84), (86, 118, 146), (96, 112, 122))
CLOTHES = ((44, 58, 88), (96, 40, 44), (58, 82, 66), (176, 168, 152), (52, 52, 56), (120, 132, 152), (150, 110, 60))
WALLS = ((186, 190, 192), (204, 192, 172), (158, 176, 182), (176, 186, 166), (198, 178, 170), (146, 150, 162))


@dataclass(frozen=True)
class Looks:
    """One person in one room. Colours are sRGB in [0, 1], `[3]` each."""

    skin: np.ndarray
    hair: np.ndarray
    brow: np.ndarray
    lips: np.ndarray
    iris: np.ndarray
    cloth: np.ndarray
    cloth_trim: np.ndarray
    wall: np.ndarray
    freckles: float
    """0 none to 1 many."""
    stubble: float
    """0 none to 1 a three-day beard."""
    brow_thickness: float
    hair_style: str
    """"short", "parted" or "long"."""
    part_side: float
    """-1 the person's right, +1 left: where the hair is parted."""
    knit: float
    """Strength of the cloth's stripes, 0 to 1."""
    light_side: float
    """-1 or +1: which side of the picture the key light comes from (+1 the person's left)."""
    shoulder_width: float
    """Metres from the middle to the shoulder's end."""


def make_looks(seed: int) -> Looks:
    """Draw looks; neighbouring seeds take different skins, hair colours and styles."""
    rng = np.random.default_rng([seed, 7])
    skin_tone = (0.6 + 1.62 * seed) % (len(SKINS) - 1) + rng.uniform(-0.15, 0.15)
    skin = between(SKINS, float(np.clip(skin_tone, 0, len(SKINS) - 1)))
    skin = np.clip(skin * rng.uniform(0.97, 1.03, 3), 0, 1)
    dark = skin_tone > 2.6
    hair = as_colour(HAIRS[int(rng.integers(0, 2))] if dark else HAIRS[(1 + 2 * seed + int(rng.integers(0, 2))) % 7])
    style = ("parted", "long", "short")[seed % 3]
    lip_tint = np.array([0.74, 0.34, 0.35]) if style == "long" else np.array([0.70, 0.40, 0.38])
    lips = skin * (0.52 if not dark else 0.62) + lip_tint * (0.42 if not dark else 0.26)
    cloth = as_colour(CLOTHES[(seed + int(rng.integers(0, 3))) % len(CLOTHES)])
    return Looks(
        skin=skin,
        hair=np.clip(hair * rng.uniform(0.9, 1.1), 0, 1),
        brow=np.clip(hair * 0.45 + np.array([0.09, 0.06, 0.045]), 0, 0.42),
        lips=np.clip(lips, 0, 1),
        iris=as_colour(IRISES[int(rng.integers(0, 2))] if dark else IRISES[int(rng.integers(0, len(IRISES)))]),
        cloth=cloth,
        cloth_trim=np.clip(cloth * rng.uniform(0.55, 0.8), 0, 1),
        wall=as_colour(WALLS[(seed + int(rng.integers(0, 2))) % len(WALLS)]),
        freckles=float(rng.uniform(0.1, 1.0)) if skin_tone < 2.0 else float(rng.uniform(0.0, 0.3)),
        stubble=0.0 if style == "long" else float(rng.uniform(0.15, 0.75)),
        brow_thickness=float(rng.uniform(0.75, 0.95) if style == "long" else rng.uniform(0.95, 1.2)),
        hair_style=style,
        part_side=float(rng.choice([-1.0, 1.0])),
        knit=float(rng.uniform(0.0, 1.0)),
        light_side=float(rng.choice([-1.0, 1.0])),
        shoulder_width=float(rng.uniform(0.185, 0.2) if style == "long" else rng.uniform(0.2, 0.222)),
    )


def as_colour(rgb: tuple[int, int, int]) -> np.ndarray:
    return np.array(rgb, dtype=np.float64) / 255.0


def between(colours: tuple[tuple[int, int, int], ...], position: float) -> np.ndarray:
    """The colour at a fractional position in a list of colours."""
    low = min(int(position), len(colours) - 2)
    share = position - low
    return as_colour(colours[low]) * (1 - share) + as_colour(colours[low + 1]) * share
