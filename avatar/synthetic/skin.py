"""The painted face of a synthetic person: an atlas around the head with skin, lips, brows, lids, stubble and freckles.

The atlas is a cylinder about the head's vertical axis in the *template* head, so that paint follows the surface through
every identity and expression. Features are drawn where the head's landmark embedding places them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from avatar.flame import landmark_sets as sets
from avatar.media.images import to_linear
from avatar.synthetic.looks import Looks
from avatar.synthetic.textures import noise, octaves

RIGHT_BROW = ((46, 53, 52, 65, 55), (70, 63, 105, 66, 107))
LEFT_BROW = ((276, 283, 282, 295, 285), (300, 293, 334, 296, 336))
"""Lower and upper edge of each brow, from the temple to the nose."""
RIGHT_LID, LEFT_LID = (33, 246, 161, 160, 159, 158, 157, 173, 133), (263, 466, 388, 387, 386, 385, 384, 398, 362)
RIGHT_LOWER_LID, LEFT_LOWER_LID = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133),
    (263, 249, 390, 373, 374, 380, 381, 382, 362),
)
CHEEKS, NOSE_TIP, CHIN = (50, 280), 4, 152
BEARD_LINE = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)


@dataclass(frozen=True)
class Atlas:
    """A cylinder around the head: columns by angle about the axis (x, z) = (0, `axis_z`), rows by height."""

    axis_z: float
    top: float
    """y of the first row, metres."""
    bottom: float
    height: int
    width: int
    radius: float
    """Metres: the distance from the axis at which texels are square."""

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """Points `[..., 3]` of the template to texels `[..., 2]`: x right, y down, centres at whole numbers."""
        angle = np.arctan2(points[..., 0], points[..., 2] - self.axis_z)
        x = (0.5 + angle / (2 * np.pi)) * self.width - 0.5
        y = (self.top - points[..., 1]) / (self.top - self.bottom) * self.height - 0.5
        return np.stack([x, y], -1).astype(np.float32)

    @property
    def texel(self) -> float:
        """Metres per texel."""
        return (self.top - self.bottom) / self.height


def make_atlas(template: np.ndarray, texel: float = 0.00035) -> Atlas:
    """An atlas that covers all vertices `[V, 3]` of the template with texels of about `texel` metres at the cheeks."""
    top, bottom = float(template[:, 1].max()) + 0.01, float(template[:, 1].min()) - 0.01
    skull = template[template[:, 1] > 0.5 * (top + bottom)]
    axis_z = float(0.55 * skull[:, 2].min() + 0.45 * skull[:, 2].max())
    radius = 0.92 * float(skull[:, 2].max() - axis_z)
    height = round((top - bottom) / texel)
    return Atlas(axis_z, top, bottom, height, round(2 * np.pi * radius / texel), radius)


def paint_skin(
    rng: np.random.Generator, looks: Looks, atlas: Atlas, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the atlas.

    `landmarks` `[478, 3]` are the head's on its template. Returns (albedo `[h, w, 3]`, linear; gloss `[h, w]`, where 1
    is skin and more is moister, as lips).
    """
    h, w, texel = atlas.height, atlas.width, atlas.texel
    at = atlas.coordinates(landmarks)
    iod = float(np.linalg.norm(landmarks[33] - landmarks[263])) / texel  # inter-ocular distance in texels, about 250

    # Skin: slow changes of tone, mottling, pores; then redder and darker places.
    colour = np.broadcast_to(looks.skin.astype(np.float32), (h, w, 3)).copy()
    slow, mottle, fine = octaves(rng, h, w, 6, 3), octaves(rng, h, w, 45, 3), noise(rng, h, w, h / 4, w / 4)
    colour *= (1 + 0.018 * slow + 0.014 * mottle + 0.012 * fine)[..., None]
    colour *= 1 + octaves(rng, h, w, 12, 3)[..., None] * np.array([0.006, -0.008, -0.010], np.float32)
    red = np.zeros((h, w), np.float32)
    for index in CHEEKS:
        red += 0.6 * _spot(h, w, at[index], 0.26 * iod, 0.20 * iod)
    red += 0.5 * _spot(h, w, at[NOSE_TIP], 0.14 * iod, 0.13 * iod) + 0.35 * _spot(
        h, w, at[CHIN], 0.22 * iod, 0.16 * iod
    )
    red *= 0.8 + 0.2 * mottle
    colour *= 1 + red[..., None] * np.array([0.015, -0.125, -0.115], np.float32)
    for lid in (RIGHT_LOWER_LID, LEFT_LOWER_LID):  # shade under the eyes
        centre = at[list(lid)].mean(0) + np.array([0, 0.09 * iod])
        colour *= 1 - _spot(h, w, centre, 0.16 * iod, 0.07 * iod)[..., None] * np.array([0.06, 0.10, 0.07], np.float32)
    _freckles(rng, looks, colour, at, iod)
    gloss = np.ones((h, w), np.float32) + 0.35 * _spot(h, w, at[NOSE_TIP], 0.15 * iod, 0.2 * iod)

    _stubble(rng, looks, colour, at, iod)
    _lids(looks, colour, at, iod)
    _lips(rng, looks, colour, gloss, at, iod)
    for lower, upper in (RIGHT_BROW, LEFT_BROW):
        _brow(rng, looks, colour, at[list(lower)], at[list(upper)], iod)
    return to_linear(np.clip(colour, 0, 1)), gloss


def _spot(h: int, w: int, centre: np.ndarray, sx: float, sy: float) -> np.ndarray:
    """A Gaussian of height 1, `[h, w]`."""
    x = np.exp(-0.5 * ((np.arange(w, dtype=np.float32) - centre[0]) / sx) ** 2)
    y = np.exp(-0.5 * ((np.arange(h, dtype=np.float32) - centre[1]) / sy) ** 2)
    return y[:, None] * x[None, :]


def _mix(colour: np.ndarray, paint: np.ndarray, share: np.ndarray) -> None:
    colour += (np.asarray(paint, np.float32) - colour) * share[..., None]


def _polygon(shape: tuple[int, int], points: np.ndarray) -> np.ndarray:
    mask = np.zeros(shape, np.float32)
    cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], (1.0,), cv2.LINE_8, 4)
    return mask


def _lines(shape: tuple[int, int], points: np.ndarray, width: float, closed: bool = False) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    cv2.polylines(mask, [np.rint(points * 16).astype(np.int32)], closed, (255,), max(round(width), 1), cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _smooth(points: np.ndarray, count: int = 64) -> np.ndarray:
    """A line through `points` `[K, 2]` with rounded corners, `[count, 2]`."""
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    line = np.stack([np.interp(np.linspace(0, along[-1], count), along, points[:, i]) for i in range(2)], 1)
    width = max(count // 10, 1)
    padded = np.concatenate([np.repeat(line[:1], width, 0), line, np.repeat(line[-1:], width, 0)])
    kernel = np.hanning(2 * width + 3)[1:-1]
    return np.stack([np.convolve(padded[:, i], kernel / kernel.sum(), "valid") for i in range(2)], 1)


def _ring(points: np.ndarray) -> np.ndarray:
    """A closed curve near the corners `points` `[K, 2]`, rounded by two rounds of corner cutting (Chaikin)."""
    for _ in range(2):
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], 1).reshape(-1, 2)
    return points


def _freckles(rng: np.random.Generator, looks: Looks, colour: np.ndarray, at: np.ndarray, iod: float) -> None:
    h, w = colour.shape[:2]
    mask = np.zeros((h, w), np.uint8)
    count = int(520 * looks.freckles**1.5)
    centre = (at[CHEEKS[0]] + at[CHEEKS[1]]) / 2
    for x, y in rng.normal(centre, (0.55 * iod, 0.3 * iod), (count, 2)):
        cv2.circle(
            mask,
            (round(x * 16), round(y * 16)),
            round(rng.uniform(0.8, 2.2) * 16),
            (int(rng.uniform(60, 200)),),
            -1,
            cv2.LINE_AA,
            4,
        )
    for x, y in rng.uniform((w * 0.25, h * 0.2), (w * 0.75, h * 0.9), (int(rng.integers(3, 9)), 2)):
        cv2.circle(mask, (round(x), round(y)), int(rng.integers(2, 5)), (255,), -1, cv2.LINE_AA)
    share = cv2.GaussianBlur(mask, (0, 0), 0.8).astype(np.float32) / 255
    _mix(colour, looks.skin * np.array([0.62, 0.47, 0.38]), 0.55 * share)


def _stubble(rng: np.random.Generator, looks: Looks, colour: np.ndarray, at: np.ndarray, iod: float) -> None:
    """A beard's shadow below the cheekbones and above the lip, darker where the hairs are."""
    if looks.stubble <= 0:
        return
    h, w = colour.shape[:2]
    cheek_line = at[[234, 227, 137, 207, 205, 2, 425, 427, 366, 447, 454]].copy()
    cheek_line[2:5, 1] += 0.10 * iod
    cheek_line[6:9, 1] += 0.10 * iod
    jaw = at[list(BEARD_LINE[::-1])] + np.array([0, 0.18 * iod])
    area = cv2.GaussianBlur(_polygon((h, w), np.concatenate([cheek_line, jaw])), (0, 0), 0.05 * iod)
    hairs = np.clip(0.8 + 0.28 * noise(rng, h, w, h / 1.4, w / 1.4), 0.2, 1.4)
    shadow = looks.hair * 0.35 + looks.skin * np.array([0.42, 0.46, 0.52])
    _mix(colour, shadow, np.clip(0.55 * looks.stubble * area * hairs, 0, 0.8))


def _lids(looks: Looks, colour: np.ndarray, at: np.ndarray, iod: float) -> None:
    """Lids a little darker and redder than the face; their rims are painted by distance (`synthetic.lids`)."""
    h, w = colour.shape[:2]
    made_up = 1.0 if looks.hair_style == "long" else 0.55
    for upper, lower in ((RIGHT_LID, RIGHT_LOWER_LID), (LEFT_LID, LEFT_LOWER_LID)):
        eye = np.concatenate([at[list(upper)], at[list(lower)][::-1]])
        around = cv2.GaussianBlur(_polygon((h, w), _ring(eye)), (0, 0), 0.045 * iod)
        colour *= 1 - around[..., None] * np.array([0.10, 0.18, 0.16], np.float32) * made_up


def paint_roots(rng: np.random.Generator, looks: Looks, atlas: Atlas, albedo: np.ndarray, heights: np.ndarray) -> None:
    """Darken the scalp where hair grows, so that no bald skin shows between strands; changes `albedo` in place.

    `heights` `[w]`: y of the line of roots per column of the atlas.
    """
    h, w = atlas.height, atlas.width
    y = atlas.top - (np.arange(h, dtype=np.float32) + 0.5)[:, None] * (atlas.top - atlas.bottom) / h
    ragged = heights[None, :] + 0.003 * noise(rng, 1, w, 1, w / 5) + 0.002 * noise(rng, h, w, h / 30, w / 4)
    grown = np.clip((y - ragged) / 0.014 + 0.25, 0, 1)
    strands = np.clip(0.85 + 0.25 * noise(rng, h, w, h / 40, w / 3), 0.3, 1.2)
    _mix(albedo, to_linear(looks.hair * 0.8), np.clip(grown * grown * strands, 0, 0.93))


def _lips(
    rng: np.random.Generator, looks: Looks, colour: np.ndarray, gloss: np.ndarray, at: np.ndarray, iod: float
) -> None:
    h, w = colour.shape[:2]
    area = cv2.GaussianBlur(_polygon((h, w), _ring(at[list(sets.OUTER_LIPS)])), (0, 0), 0.011 * iod)
    wrinkles = noise(rng, h, w, h / 90, w / 3.2)
    tone = looks.lips.astype(np.float32) * (1 + 0.05 * wrinkles + 0.03 * noise(rng, h, w, h / 20, w / 20))[..., None]
    colour += (tone - colour) * (0.86 * area)[..., None]
    gloss += 1.3 * area
    # Where the lips meet: darker, most at the corners.
    inner = at[list(sets.INNER_LIPS)]
    middle = np.concatenate([inner[:1], 0.5 * (inner[1:10] + inner[:10:-1]), inner[10:11]])
    line = cv2.GaussianBlur(_lines((h, w), _smooth(middle), 0.012 * iod), (0, 0), 0.010 * iod)
    _mix(colour, looks.lips * np.array([0.42, 0.30, 0.30]), 0.75 * line)
    for corner in (61, 291):
        _mix(colour, looks.skin * np.array([0.55, 0.42, 0.38]), 0.4 * _spot(h, w, at[corner], 0.035 * iod, 0.025 * iod))


def _brow(
    rng: np.random.Generator, looks: Looks, colour: np.ndarray, lower: np.ndarray, upper: np.ndarray, iod: float
) -> None:
    """Hairs between the two edges, from the temple (first) to the nose (last), over a soft shade of their colour."""
    h, w = colour.shape[:2]
    low, up = _smooth(lower), _smooth(upper)
    middle = 0.5 * (low + up)
    half = 0.5 * np.linalg.norm(up - low, axis=1) * looks.brow_thickness
    profile = np.interp(np.linspace(0, 1, len(half)), (0, 0.35, 0.8, 0.93, 1), (0.2, 0.85, 1.0, 0.85, 0.5))
    half = np.clip(half, 0.02 * iod, 0.05 * iod) * profile
    across = np.stack([np.gradient(middle[:, 1]), -np.gradient(middle[:, 0])], 1)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    across *= np.where(across[:, 1:] > 0, -1, 1)  # towards the forehead (rows run down)
    outline = np.concatenate([middle + across * half[:, None], (middle - across * half[:, None])[::-1]])
    shade = cv2.GaussianBlur(_polygon((h, w), outline), (0, 0), 0.014 * iod)
    _mix(colour, looks.brow * 0.7 + looks.skin * 0.3, 0.62 * shade)

    hairs = np.zeros((h, w), np.float32)
    outwards = -np.sign(middle[-1, 0] - middle[0, 0])
    for _ in range(420):
        s = rng.uniform(0, 1) ** 0.9
        index = min(int(s * (len(middle) - 1)), len(middle) - 1)
        root = middle[index] + across[index] * half[index] * rng.uniform(-1, 0.8)
        lean = np.interp(s, (0, 0.6, 1), (0.05, 0.35, 1.0)) + rng.normal(0, 0.15)
        direction = np.array([outwards, 0]) * np.cos(lean) + np.array([0, -1]) * np.sin(lean)
        slope = np.array([-across[index][1], across[index][0]])
        direction = direction + 0.5 * slope * np.sign(slope[0]) * outwards * np.cos(lean)
        tip = root + direction / np.linalg.norm(direction) * rng.uniform(0.035, 0.065) * iod * min(
            half[index] / (0.03 * iod), 1
        )
        stroke = np.rint(np.stack([root, tip]) * 16).astype(np.int32)
        # float images get no anti-aliasing from OpenCV: the blur below gives it.
        cv2.polylines(hairs, [stroke], False, (float(rng.uniform(0.5, 1.0)),), 1, cv2.LINE_8, 4)
    hairs = cv2.GaussianBlur(hairs, (0, 0), 0.7)
    _mix(colour, looks.brow, np.clip(1.15 * hairs, 0, 0.9))
