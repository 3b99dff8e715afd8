"""Meshes a head model lacks: a smooth shell of hair around the skull, and shoulders in a shirt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from avatar.synthetic.looks import Looks
from avatar.synthetic.textures import noise

NOSE_BASE, BROW_MIDDLES, EYE_LINE, MOUTH, CHIN = 2, (105, 334), (33, 263), 13, 152
HAIR_COLUMNS, HAIR_ROWS = 168, 64
TORSO_COLUMNS, TORSO_ROWS = 96, 72


@dataclass(frozen=True)
class Shell:
    """A grid mesh: `[rows, columns]` vertices flattened row by row, closed around the vertical axis."""

    vertices: np.ndarray
    """`[V, 3]` float32, metres, in the head's rest frame (hair) or the world's (torso)."""
    faces: np.ndarray
    """`[F, 3]` int32."""
    tangents: np.ndarray
    """`[V, 3]` unit vectors along the columns, downwards: the direction of hairs."""
    across: np.ndarray
    """`[V]` position around the axis in [0, 1]; one more column closes the seam."""
    along: np.ndarray
    """`[V]` metres down the column."""
    edge: np.ndarray
    """`[V]` metres to the lower edge, measured down the column."""


def grid_faces(rows: int, columns: int) -> np.ndarray:
    """Two triangles per cell of a grid, `[F, 3]` int32; they face outwards where columns turn from +z to +x."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])


def grid_shell(points: np.ndarray) -> Shell:
    """A Shell of grid points `[rows, columns, 3]` whose first and last column coincide."""
    rows, columns = points.shape[:2]
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    along = np.concatenate([np.zeros((1, columns)), np.cumsum(steps, 0)])
    tangents = np.gradient(points, axis=0)
    tangents /= np.maximum(np.linalg.norm(tangents, axis=-1, keepdims=True), 1e-9)
    across = np.broadcast_to(np.linspace(0, 1, columns), (rows, columns))
    flat = (points.reshape(-1, 3), tangents.reshape(-1, 3), across.ravel(), along.ravel(), (along[-1:] - along).ravel())
    vertices, tangents, across, along, edge = (np.ascontiguousarray(a, dtype=np.float32) for a in flat)
    return Shell(vertices, grid_faces(rows, columns), tangents, across, along, edge)


def make_hair(
    rng: np.random.Generator,
    looks: Looks,
    landmarks: np.ndarray,
    ears: np.ndarray,
    axis_z: float,
    surface: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Shell:
    """Hair over the skull, in the head's rest frame.

    Columns run from the crown down, one per direction around the head, and end at the hairline of the style; `long`
    hair goes on past the ears.

    Args:
        landmarks: `[478, 3]` of the neutral head.
        ears: `[K, 3]` vertices of both ears.
        axis_z: z of the vertical axis that columns turn about.
        surface: gives, for start points and unit directions `[M, 3]`, the distance `[M]` to the head without its ears
            (infinite where there is none).
    """
    angle = np.linspace(-np.pi, np.pi, HAIR_COLUMNS)
    centre = np.array([0.0, landmarks[list(EYE_LINE), 1].mean() + 0.015, axis_z])
    ends = hairline(looks, landmarks, ears, axis_z, angle)

    # The skull's radius by direction (above the centre) and by height (below it), one row per 4 mm of arc.
    arc = 0.10
    reach = 0.5 * np.pi * arc + max(centre[1] - float(ends.min()), 0.0) + 0.01
    path = np.linspace(0.0, reach, 96)
    origin, direction = column_frame(centre, angle, path, arc)
    start = origin + 0.4 * direction
    hit = 0.4 - surface(start.reshape(-1, 3), -direction.reshape(-1, 3)).reshape(len(path), len(angle))
    radius = fill_and_smooth(np.where((hit > 0.03) & (hit < 0.3), hit, np.nan))

    # Where each column ends: the first path length whose point lies below the hairline.
    heights = (origin + radius[..., None] * direction)[..., 1]
    last = np.array([np.interp(-ends[c], -heights[:, c], path) for c in range(len(angle))])
    share = np.linspace(0, 1, HAIR_ROWS)[:, None]
    q = share * last  # [rows, columns]
    base = np.stack([np.interp(q[:, c], path, radius[:, c]) for c in range(len(angle))], 1)
    origin, direction = column_frame(centre, angle, q, arc)
    thickness = hair_thickness(rng, looks, angle, q, last, arc)
    points = origin + (base + thickness)[..., None] * direction
    if looks.hair_style == "long":
        ear_reach = np.hypot(ears[:, 0], ears[:, 2] - axis_z).max() + 0.006
        points = cover_ears(points, ears, axis_z, ear_reach)
    points[:, -1] = points[:, 0]
    points[0] = points[0].mean(0)
    return comb(looks, grid_shell(points), angle, q)


def comb(looks: Looks, shell: Shell, angle: np.ndarray, q: np.ndarray) -> Shell:
    """Lay the strands: straight down behind, swept to the side in front; they turn `across` and the tangents."""
    rows, columns = q.shape
    front = np.clip(np.cos(angle * 0.8), 0, 1) ** 2
    side = looks.part_side
    if looks.hair_style == "long":
        sweep = -0.060 * np.tanh((angle - 0.15 * side) / 0.12) * front
    elif looks.hair_style == "parted":
        sweep = side * np.where(angle * side < 0.62, 0.085, -0.045) * front
        sweep = np.convolve(np.pad(sweep, 4, mode="edge"), np.full(9, 1 / 9), "valid")
    else:
        sweep = 0.030 * side * front
    drift = np.minimum(q / 0.11, 1.25) ** 2 * sweep
    across = shell.across.reshape(rows, columns) + drift
    points = shell.vertices.reshape(rows, columns, 3).astype(np.float64)
    # Along a strand `across` stays the same: step down a row and sideways by as much as cancels its change.
    slope = np.gradient(drift, axis=0) * (columns - 1)
    tangents = np.gradient(points, axis=0) - slope[..., None] * np.gradient(points, axis=1)
    tangents /= np.maximum(np.linalg.norm(tangents, axis=-1, keepdims=True), 1e-9)
    return replace(shell, across=across.ravel().astype(np.float32), tangents=tangents.reshape(-1, 3).astype(np.float32))


def column_frame(centre: np.ndarray, angle: np.ndarray, path: np.ndarray, arc: float) -> tuple[np.ndarray, np.ndarray]:
    """Origins and unit directions `[rows, columns, 3]`: a dome above `centre`, a cylinder below it.

    `path` `[rows]` or `[rows, columns]` is the length from the crown in metres on a dome of radius `arc`.
    """
    path = np.broadcast_to(path[:, None] if path.ndim == 1 else path, (path.shape[0], len(angle)))
    elevation = np.maximum(0.5 * np.pi - path / arc, 0.0)
    below = np.maximum(path - 0.5 * np.pi * arc, 0.0)
    horizontal = np.cos(elevation)
    direction = np.stack([horizontal * np.sin(angle), np.sin(elevation), horizontal * np.cos(angle)], -1)
    origin = np.broadcast_to(centre, direction.shape).copy()
    origin[..., 1] -= below
    return origin, direction


def fill_and_smooth(radius: np.ndarray) -> np.ndarray:
    """Fill gaps (NaN) from their neighbours and smooth `[rows, columns]`, periodic in the columns."""
    pad = radius.shape[1] // 4
    wide = np.concatenate([radius[:, -pad - 1 : -1], radius, radius[:, 1 : pad + 1]], 1)
    known = np.isfinite(wide).astype(np.float64)
    values = np.where(known > 0, wide, 0.0)
    coarse = cv2.GaussianBlur(values, (0, 0), 9) / np.maximum(cv2.GaussianBlur(known, (0, 0), 9), 1e-6)
    filled = np.where(known > 0, wide, coarse)
    return cv2.GaussianBlur(filled, (0, 0), 2.0)[:, pad:-pad]


def hairline(
    looks: Looks, landmarks: np.ndarray, ears: np.ndarray, axis_z: float, angle: np.ndarray, *, roots: bool = False
) -> np.ndarray:
    """Height y in metres `[columns]` at which the hair ends in each direction around the head.

    `roots`: where it grows, instead of where it hangs to.
    """
    brow, eye = landmarks[list(BROW_MIDDLES), 1].mean(), landmarks[list(EYE_LINE), 1].mean()
    nose, mouth, chin = landmarks[NOSE_BASE, 1], landmarks[MOUTH, 1], landmarks[CHIN, 1]
    top = brow + 0.70 * (brow - nose)
    ear = np.degrees(np.abs(np.arctan2(ears[:, 0], ears[:, 2] - axis_z)))
    front, back = np.percentile(ear, 4), np.percentile(ear, 96)
    ear_top, ear_middle = ears[:, 1].max() + 0.004, ears[:, 1].mean()
    if looks.hair_style == "long" and not roots:
        low = chin - 0.03
        angle = angle - 0.15 * looks.part_side * np.cos(angle / 2) ** 2
        knots = [
            (0, top + 0.012), (6, top + 0.009), (18, top - 0.006), (30, 0.75 * top + 0.25 * brow),
            (40, 0.35 * top + 0.65 * brow), (48, eye), (54, nose), (60, mouth), (front - 14, low + 0.012),
            (front, low), (back, low), (180, low - 0.006),
        ]  # fmt: skip
    else:
        # Temples recede, as men's do.
        recess = {"parted": 0.009, "short": 0.004, "long": 0.0}[looks.hair_style]
        knots = [
            (0, top - 0.002), (16, top + 0.3 * recess), (27, top + recess), (36, top + 0.5 * recess - 0.006),
            (front - 36, 0.6 * top + 0.4 * brow), (front - 27, 0.3 * top + 0.7 * brow), (front - 22, brow - 0.002),
            (front - 13, eye - 0.002), (front - 7, ear_middle), (front, ear_middle + 0.01), (front + 5, ear_top),
            (back, ear_top), (back + 8, ear_middle), (back + 24, mouth + 0.018), (180, mouth + 0.004),
        ]  # fmt: skip
    degrees, heights = np.array(sorted(knots)).T
    fine = np.linspace(0, 180, 721)
    smooth = np.interp(fine, degrees, heights)
    width = 11
    kernel = np.hanning(2 * width + 3)[1:-1]
    smooth = np.convolve(np.pad(smooth, width, mode="reflect"), kernel / kernel.sum(), "valid")
    return np.interp(np.degrees(np.abs(angle)), fine, smooth)


def hair_thickness(
    rng: np.random.Generator, looks: Looks, angle: np.ndarray, q: np.ndarray, last: np.ndarray, arc: float
) -> np.ndarray:
    """Metres of hair above the skin `[rows, columns]`: full on top, thin at the hairline, in locks."""
    rows, columns = q.shape
    top, sides, rim, taper = {
        "short": (0.017, 0.007, 0.0006, 0.022),
        "parted": (0.030, 0.010, 0.0010, 0.024),
        "long": (0.018, 0.015, 0.0060, 0.020),
    }[looks.hair_style]
    down = np.clip(q / (0.5 * np.pi * arc), 0, 1)
    body = top + (sides - top) * down**1.6
    front = np.cos(angle / 2) ** 8
    ease_in = 1 - np.exp(-((down / 0.3) ** 2))  # all columns meet at the crown, so they must agree there
    if looks.hair_style == "parted":
        # Swept up and over from the part: high on the far side of it, a valley where it lies.
        over = 1.0 + 0.30 * front * ease_in * np.sin(np.clip(angle * -looks.part_side * 1.3, -1.5, 1.5))
        valley = np.exp(-(((angle - looks.part_side * 0.62) / 0.10) ** 2)) * (1 - down) * ease_in
        body = body * over * (1 - 0.40 * valley)
        rim = rim + 0.003 * front
        taper = taper - 0.008 * front
    if looks.hair_style == "long":
        valley = np.exp(-(((angle - looks.part_side * 0.15) / 0.10) ** 2)) * (1 - down) * ease_in
        body = body * (1 - 0.45 * valley)
    ease = 1 - np.exp(-(((last - q) / taper) ** 2))
    locks = noise(rng, rows, columns, 3.0, 34) * 0.5 + noise(rng, rows, columns, 7.0, 70) * 0.35
    locks[:, -columns // 12 :] *= np.linspace(1, 0, columns // 12)  # close the seam at the back
    locks[:, : columns // 12] *= np.linspace(0, 1, columns // 12)
    locks *= np.clip(down * 4, 0, 1)
    return rim + (body - rim) * ease + 0.11 * body * locks * ease


def cover_ears(points: np.ndarray, ears: np.ndarray, axis_z: float, reach: float) -> np.ndarray:
    """Push hair outwards where ears lie below it, with soft edges."""
    angle = np.arctan2(points[..., 0], points[..., 2] - axis_z)
    ear_angle = np.abs(np.arctan2(ears[:, 0], ears[:, 2] - axis_z))
    middle, half = 0.5 * (ear_angle.min() + ear_angle.max()), 0.5 * np.ptp(ear_angle)
    low, high = ears[:, 1].min(), ears[:, 1].max()
    around = np.exp(-(np.maximum((np.abs(angle) - middle) / (1.3 * half), -1) ** 4))
    upright = np.clip((high + 0.035 - points[..., 1]) / 0.045, 0, 1)
    upright = (
        upright * upright * (3 - 2 * upright) * np.clip(1 - 0.25 * np.maximum(low - points[..., 1], 0) / 0.05, 0, 1)
    )
    radius = np.hypot(points[..., 0], points[..., 2] - axis_z)
    wanted = np.maximum(radius, radius + (reach - radius) * around * upright)
    scale = wanted / np.maximum(radius, 1e-6)
    return np.stack([points[..., 0] * scale, points[..., 1], (points[..., 2] - axis_z) * scale + axis_z], -1)


# Shoulders and chest as (metres below the collar's rim, metres outwards of it), to the side, to the front and behind.
TORSO_SIDE = (
    (-0.014, -0.007), (-0.001, -0.001), (0.0, 0.0015), (0.002, 0.004), (0.015, 0.008), (0.0165, 0.0065),
    (0.020, 0.022), (0.029, 0.050), (0.039, 0.084), (0.050, 0.112), (0.068, 0.133), (0.100, 0.147), (0.170, 0.156),
    (0.330, 0.158),
)  # fmt: skip
TORSO_FRONT = (
    (-0.014, -0.007), (-0.001, -0.001), (0.0, 0.0015), (0.002, 0.004), (0.015, 0.009), (0.0165, 0.0075),
    (0.026, 0.016), (0.040, 0.026), (0.058, 0.038), (0.082, 0.052), (0.112, 0.064), (0.160, 0.076), (0.230, 0.086),
    (0.330, 0.088),
)  # fmt: skip
TORSO_BACK = (
    (-0.014, -0.007), (-0.001, -0.001), (0.0, 0.0015), (0.002, 0.004), (0.015, 0.008), (0.0165, 0.0065),
    (0.028, 0.014), (0.045, 0.022), (0.066, 0.030), (0.095, 0.038), (0.130, 0.044), (0.180, 0.048), (0.250, 0.050),
    (0.330, 0.050),
)  # fmt: skip


@dataclass(frozen=True)
class Collar:
    """The rim of a shirt around the neck, by angle about a vertical axis at x = 0."""

    angle: np.ndarray
    """`[C]` radians from -pi to pi, 0 in front."""
    height: np.ndarray
    """`[C]` y of the rim, metres; higher behind than in front, as necks lean forward."""
    radius: np.ndarray
    """`[C]` metres from the axis."""
    axis_z: float

    def hides(self, points: np.ndarray) -> np.ndarray:
        """Which of `points` `[K, 3]` the shirt covers: bool `[K]`."""
        angle = np.arctan2(points[:, 0], points[:, 2] - self.axis_z)
        height, radius = (np.interp(angle, self.angle, values) for values in (self.height, self.radius))
        outside = np.hypot(points[:, 0], points[:, 2] - self.axis_z) > radius + 0.002
        return (points[:, 1] < height - 0.012) | (outside & (points[:, 1] < height))


def fit_collar(
    landmarks: np.ndarray, neck: np.ndarray, surface: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Collar:
    """Lay a collar around a neutral head's neck, a few millimetres off it so that the neck can turn in it.

    Args:
        landmarks: `[478, 3]` of the neutral head.
        neck: `[K, 3]` vertices of the neck.
        surface: distance to the head along rays, as in `make_hair`.
    """
    angle = np.linspace(-np.pi, np.pi, TORSO_COLUMNS)
    chin, bottom = landmarks[CHIN, 1], float(neck[:, 1].min())
    front = bottom + max(0.40 * (chin - bottom), 0.022)
    back = front + 0.038
    height = front + (back - front) * (0.5 - 0.5 * np.cos(angle))
    low_neck = neck[neck[:, 1] < front + 0.03]
    axis_z = 0.5 * float(np.percentile(low_neck[:, 2], 2) + np.percentile(low_neck[:, 2], 98))
    direction = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], 1)
    centre = np.stack([np.zeros_like(height), height, np.full_like(height, axis_z)], 1)
    radius = 0.3 - surface(centre + 0.3 * direction, -direction)
    radius = np.where((radius > 0.02) & (radius < 0.12), radius, np.nan)
    radius = fill_and_smooth(np.repeat(radius[None], 9, 0))[4] + 0.006
    return Collar(angle, height, radius, axis_z)


def make_torso(rng: np.random.Generator, looks: Looks, collar: Collar) -> Shell:
    """Shoulders and chest in a shirt below a collar, in the world frame of the neutral head."""
    sine, cosine = np.sin(collar.angle), np.cos(collar.angle)
    # Rows are dense at the rim, where the profile bends.
    side, ahead, behind = (np.array(profile) for profile in (TORSO_SIDE, TORSO_FRONT, TORSO_BACK))
    knots = np.linspace(0, 1, len(side))
    share = np.linspace(0, 1, TORSO_ROWS)
    wide = looks.shoulder_width / 0.205

    def profile(axis: int, sharpness: float) -> np.ndarray:
        lateral, forward, backward = (
            smooth_interp(share, knots, values[:, axis])[:, None] for values in (side, ahead, behind)
        )
        if axis == 1:
            lateral = np.where(share[:, None] > knots[5], lateral * wide, lateral)
        aside = np.abs(sine) ** sharpness
        return aside * lateral + (1 - aside) * np.where(cosine > 0, forward, backward)

    # Shoulders are a ridge: the shirt falls off soon in front and behind, while the body's outline is a rounded box.
    down, out = profile(0, 3.0), profile(1, 1.5)
    folds = noise(rng, TORSO_ROWS, TORSO_COLUMNS, 6, 13) * 0.003 * np.clip((share - 0.42) / 0.15, 0, 1)[:, None]
    folds[:, -8:] *= np.linspace(1, 0, 8)
    folds[:, :8] *= np.linspace(0, 1, 8)
    # The rim's height differs around the neck; lower down the rows become level.
    level = np.clip((share - 0.3) / 0.5, 0, 1)[:, None]
    rest = 0.55 * collar.height.min() + 0.45 * collar.height.max()
    y = collar.height * (1 - level) + rest * level - down
    reach = collar.radius + out + folds
    points = np.stack([reach * sine, y, collar.axis_z + reach * cosine], -1)
    points[:, -1] = points[:, 0]
    return grid_shell(points)


def smooth_interp(x: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Monotone cubic interpolation (Fritsch and Carlson 1980 with harmonic means), no overshoot."""
    step = np.diff(values) / np.diff(knots)
    slope = np.zeros_like(values)
    same = step[1:] * step[:-1] > 0
    slope[1:-1] = np.where(same, 2 * step[1:] * step[:-1] / np.where(same, step[1:] + step[:-1], 1.0), 0.0)
    slope[0], slope[-1] = step[0], step[-1]
    cell = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    width = knots[cell + 1] - knots[cell]
    t = (x - knots[cell]) / width
    return (
        values[cell] * (1 + 2 * t) * (1 - t) ** 2
        + width * slope[cell] * t * (1 - t) ** 2
        + values[cell + 1] * t * t * (3 - 2 * t)
        + width * slope[cell + 1] * t * t * (t - 1)
    )
