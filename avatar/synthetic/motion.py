"""Motion of the person of a synthetic clip: head, eyes, blinks, speech and expressions as smooth curves over time.

Everything is a function of the seed and of time in seconds, so that clips of another frame rate show the same motion.
Expression weights use ARKit's names and lie in [0, 1], as on real faces; jaw opening is a rotation of the jaw joint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RATE = 200.0
"""Samples per second of the internal curves; frames are read from them by interpolation."""

YAW, PITCH, ROLL = 0.33, 0.12, 0.09
"""Largest head rotations in radians."""
FRONTAL = 0.25
"""Factor on the rotations of a person who hardly turns: yaw and pitch stay within 5 degrees."""
TRANSLATION = (0.014, 0.007, 0.012)
"""Largest head translations in metres."""

# Mouth shapes of speech sounds (visemes): jaw rotation in radians and ARKit weights; "L R" names set both sides.
VOWELS: dict[str, tuple[float, dict[str, float]]] = {
    "a": (0.20, {"mouthLowerDown*": 0.20, "mouthUpperUp*": 0.25}),
    "e": (0.11, {"mouthStretch*": 0.25, "mouthSmile*": 0.15, "mouthLowerDown*": 0.20, "mouthUpperUp*": 0.25}),
    "i": (0.05, {"mouthSmile*": 0.25, "mouthStretch*": 0.25, "mouthLowerDown*": 0.25, "mouthUpperUp*": 0.20}),
    "o": (0.15, {"mouthFunnel": 0.45}),
    "u": (0.06, {"mouthPucker": 0.60, "mouthFunnel": 0.15}),
}
CONSONANTS: dict[str, dict[str, float]] = {
    "m": {"mouthPress*": 0.30, "mouthRollLower": 0.15, "mouthRollUpper": 0.15},
    "f": {"mouthRollLower": 0.35, "mouthUpperUp*": 0.15},
    "s": {"mouthStretch*": 0.20, "mouthLowerDown*": 0.15},
    "-": {},
}
# Slow expressions: weights at full strength.
EXPRESSIONS: dict[str, dict[str, float]] = {
    "smile": {
        "mouthSmile*": 0.75,
        "mouthUpperUp*": 0.20,
        "cheekSquint*": 0.45,
        "eyeSquint*": 0.20,
        "mouthDimple*": 0.15,
    },
    "brows": {"browInnerUp": 0.75, "browOuterUp*": 0.70, "eyeWide*": 0.30},
    "frown": {"browDown*": 0.65, "mouthFrown*": 0.35, "eyeSquint*": 0.15},
    "aside": {"mouthLeft": 0.45, "browOuterUpLeft": 0.35},
    "sneer": {"noseSneer*": 0.45, "mouthUpperUp*": 0.25},
}


@dataclass(frozen=True)
class Motion:
    """Per-frame head parameters; arrays are float32, frames first."""

    expr: np.ndarray
    """`[N, E]` expression weights in the order of the head's expression names."""
    rotation: np.ndarray
    """`[N, 3]` axis-angle of the root, radians."""
    translation: np.ndarray
    """`[N, 3]` metres."""
    jaw: np.ndarray
    """`[N, 3]` axis-angle, radians."""
    eyes: np.ndarray
    """`[N, 6]` left then right, axis-angle, radians."""


def make_motion(
    seed: int, frames: int, fps: float, expression_names: tuple[str, ...], *, frontal: bool = False
) -> Motion:
    """Motion of `frames` frames at `fps` frames per second.

    frontal: the same performance by a person who hardly turns the head. Names the head does not have are left out:
    what remains of an expression is still a valid one.
    """
    duration = max(frames / fps, 1.0)
    time = np.arange(0.0, duration + 0.5, 1.0 / RATE)
    still = smoothstep(time, 0.25, 0.7)  # the clip opens with a neutral face
    rng = np.random.default_rng([seed, 11])

    jaw, weights = speech(rng, time)
    for name, curve in slow_expressions(rng, time).items():
        add_weights(weights, EXPRESSIONS[name], curve)
    gape = 0.30 * bump(time, rng.uniform(0.55, 0.7) * duration, 0.35)  # one clearly open mouth in every clip
    jaw = np.maximum(jaw, gape) * still
    blinks = blink_curve(rng, time)
    weights = {name: curve * still for name, curve in weights.items()}
    add_weights(weights, {"eyeBlink*": 1.0}, blinks)
    # A blink pushes squints aside, or the lids would pass through each other.
    for name in [name for name in weights if name.startswith(("eyeSquint", "eyeWide"))]:
        weights[name] = weights[name] * (1.0 - blinks)

    at = np.arange(frames) / fps
    expr = np.zeros((frames, len(expression_names)), np.float32)
    for column, name in enumerate(expression_names):
        if name in weights:
            expr[:, column] = np.interp(at, time, np.clip(weights[name], 0.0, 1.0))
    rotation, translation = head_motion(rng, time, at, FRONTAL if frontal else 1.0)
    eyes = gaze(rng, time, at, rotation)
    jaw_rotation = np.stack([np.interp(at, time, jaw), np.zeros(frames), np.zeros(frames)], 1)
    arrays = (expr, rotation, translation, jaw_rotation, eyes)
    return Motion(*(np.ascontiguousarray(array, dtype=np.float32) for array in arrays))


def smoothstep(value: np.ndarray, low: float, high: float) -> np.ndarray:
    x = np.clip((value - low) / (high - low), 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def bump(time: np.ndarray, centre: float, half_width: float) -> np.ndarray:
    """A raised cosine of height 1."""
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((time - centre) / half_width, -1.0, 1.0))


def plateau(time: np.ndarray, start: float, end: float, ramp: float) -> np.ndarray:
    return smoothstep(time, start, start + ramp) * (1.0 - smoothstep(time, end - ramp, end))


def band_noise(rng: np.random.Generator, time: np.ndarray, low: float, high: float, waves: int = 5) -> np.ndarray:
    """A random curve with frequencies between `low` and `high` hertz and a root mean square of about 1."""
    frequency = np.exp(rng.uniform(np.log(low), np.log(high), waves))
    phase, size = rng.uniform(0, 2 * np.pi, waves), rng.uniform(0.6, 1.0, waves) / np.sqrt(frequency / low)
    curve = (size * np.sin(2 * np.pi * frequency * time[:, None] + phase)).sum(1)
    return curve / np.sqrt(0.5 * (size**2).sum())


def add_weights(weights: dict[str, np.ndarray], shape: dict[str, float], curve: np.ndarray) -> None:
    """Add `curve` times a named shape to the curves in `weights`; `name*` means both sides of the face."""
    for name, size in shape.items():
        sides = (f"{name[:-1]}Left", f"{name[:-1]}Right") if name.endswith("*") else (name,)
        for side in sides:
            weights[side] = weights.get(side, 0.0) + size * curve


def speech(rng: np.random.Generator, time: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Phrases of syllables with pauses between: the jaw's curve in radians and the weights of the mouth shapes."""
    jaw = np.zeros_like(time)
    weights: dict[str, np.ndarray] = {}
    now, loudness = rng.uniform(0.5, 0.9), rng.uniform(0.85, 1.15)
    while now < time[-1]:
        for _ in range(rng.integers(5, 12)):
            length = rng.uniform(0.19, 0.34)
            opening, shape = VOWELS[str(rng.choice(list(VOWELS), p=[0.32, 0.2, 0.16, 0.18, 0.14]))]
            strength = loudness * rng.uniform(0.65, 1.15)
            vowel = bump(time, now + 0.55 * length, 0.62 * length)
            jaw = np.maximum(jaw, opening * strength * vowel)
            add_weights(weights, shape, min(strength, 1.1) * vowel)
            consonant = CONSONANTS[str(rng.choice(list(CONSONANTS), p=[0.25, 0.15, 0.25, 0.35]))]
            add_weights(weights, consonant, bump(time, now, 0.075))
            now += length
        now += rng.uniform(0.35, 0.9)
    return jaw, weights


def slow_expressions(rng: np.random.Generator, time: np.ndarray) -> dict[str, np.ndarray]:
    """Smiles, raised brows and others one after another, each once before any comes again."""
    curves = {name: np.zeros_like(time) for name in EXPRESSIONS}
    order = [
        "smile",
        "brows",
        *map(str, rng.permutation([name for name in EXPRESSIONS if name not in ("smile", "brows")])),
    ]
    now = rng.uniform(0.9, 1.4)
    while now < time[-1]:
        if not order:
            order = ["smile", *map(str, rng.permutation(list(EXPRESSIONS)))]
        name = order.pop(0)
        length = rng.uniform(0.9, 1.9)
        curves[name] = np.maximum(curves[name], rng.uniform(0.65, 1.0) * plateau(time, now, now + length, 0.32))
        now += length * rng.uniform(0.8, 1.1) + rng.uniform(0.0, 0.7)
    return curves


def blink_curve(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """Blinks of about five frames at 25 frames per second: lids close faster than they open."""
    curve = np.zeros_like(time)
    now = rng.uniform(0.8, 1.6)
    while now < time[-1]:
        curve = np.maximum(
            curve, smoothstep(time, now, now + 0.085) * (1.0 - smoothstep(time, now + 0.115, now + 0.24))
        )
        now += rng.uniform(1.3, 3.6)
    return curve


def head_motion(
    rng: np.random.Generator, time: np.ndarray, at: np.ndarray, turning: float
) -> tuple[np.ndarray, np.ndarray]:
    """Root rotation `[N, 3]`, its angles times `turning`, and translation `[N, 3]`: a drift that nods with speech."""
    start = smoothstep(time, 0.16, 1.0)

    def curve(low: float, high: float, largest: float) -> np.ndarray:
        values = band_noise(rng, time, low, high)
        values = (values - values[0]) * start
        seen = np.abs(values[time <= at[-1]]).max()  # not at the frames only: a clip's rate must not change it
        return np.interp(at, time, values * (largest / max(seen, 1e-3)))

    yaw = curve(0.15, 0.45, YAW * rng.uniform(0.9, 1.0))
    pitch = curve(0.2, 0.6, PITCH) + curve(1.2, 2.2, 0.018)
    roll = curve(0.15, 0.5, ROLL)
    translation = np.stack([curve(0.12, 0.4, size) for size in TRANSLATION], 1)
    return compose_rotation(turning * yaw, turning * pitch, turning * roll), translation


def compose_rotation(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Axis-angle `[N, 3]` of the rotation by roll (z), then pitch (x), then yaw (y), radians."""

    def quaternion(angle: np.ndarray, axis: int) -> np.ndarray:
        q = np.zeros((len(angle), 4))
        q[:, 0], q[:, 1 + axis] = np.cos(angle / 2), np.sin(angle / 2)
        return q

    q = multiply(multiply(quaternion(yaw, 1), quaternion(pitch, 0)), quaternion(roll, 2))
    q = np.where(q[:, :1] < 0, -q, q)
    sine = np.linalg.norm(q[:, 1:], axis=1)
    angle = 2.0 * np.arctan2(sine, q[:, 0])
    return q[:, 1:] * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 2.0)[:, None]


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton products of quaternions `[N, 4]` (w, x, y, z)."""
    real = a[:, :1] * b[:, :1] - (a[:, 1:] * b[:, 1:]).sum(1, keepdims=True)
    return np.concatenate([real, a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + np.cross(a[:, 1:], b[:, 1:])], 1)


def gaze(rng: np.random.Generator, time: np.ndarray, at: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Eye rotations `[N, 6]` (radians): mostly at the camera while the head turns, with saccades to the side."""
    targets = np.zeros((len(time), 2))
    now = rng.uniform(0.9, 1.5)
    while now < time[-1]:
        until = now + rng.uniform(0.4, 1.3)
        if rng.random() < 0.6:
            away = np.array([rng.uniform(-0.10, 0.10), rng.uniform(-0.30, 0.30)])
            targets += away * plateau(time, now, until, 0.07)[:, None]
        now = until + rng.uniform(0.0, 0.4)
    gaze = np.stack([np.interp(at, time, targets[:, axis]) for axis in range(2)], 1)
    angles = np.clip(gaze - 0.6 * rotation[:, :2], (-0.18, -0.40), (0.18, 0.40))
    eye = np.concatenate([angles, np.zeros((len(at), 1))], 1)
    return np.concatenate([eye, eye], 1)
