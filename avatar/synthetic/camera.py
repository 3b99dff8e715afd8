"""Trajectory of a hand-held camera around the person of a synthetic clip."""

from __future__ import annotations

import math

import numpy as np

from avatar.geometry.cameras import look_at

ORBIT = math.radians(12.0)
"""Largest azimuth around the person to each side, radians."""
RISE = math.radians(3.5)
"""Largest elevation upwards and downwards, radians."""
DOLLY = 0.04
"""Largest change of the distance to the person, metres."""
SHAKE = 0.0015
"""Amplitude of each wave of hand shake, metres."""
SHAKE_ROTATION = math.radians(0.12)
"""Amplitude of each wave of rotational shake, radians."""


def hand_held_path(seed: int, frames: int, fps: float, distance: float) -> np.ndarray:
    """Poses `world_from_cam` `[frames, 4, 4]` float64 (OpenCV axes, metres) of a camera around the origin.

    One slow sweep to both sides takes about six seconds. The trajectory depends on the seed and on time only.
    """
    rng = np.random.default_rng([seed, 12])
    time = np.arange(frames) / fps

    def waves(low: float, high: float, amplitude: float, count: int) -> np.ndarray:
        total = np.zeros(frames)
        for frequency, phase in zip(rng.uniform(low, high, count), rng.uniform(0, 2 * math.pi, count), strict=True):
            total += amplitude * np.sin(2 * math.pi * frequency * time + phase)
        return total

    yaw = ORBIT * np.sin(2 * math.pi * time / rng.uniform(5.6, 6.4) + rng.uniform(-0.6, 0.6))
    pitch = waves(0.12, 0.22, RISE, 1)
    away = distance + waves(0.1, 0.2, DOLLY, 1)
    position = np.stack([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], 1) * away[:, None]
    position += np.stack([waves(1.0, 4.0, SHAKE, 3) for _ in range(3)], 1)
    # The camera's aim drifts, and so does the person about the middle of the picture.
    aim = np.stack([waves(0.15, 0.35, 0.012, 2), waves(0.15, 0.35, 0.012, 2), np.zeros(frames)], 1)
    aim += SHAKE_ROTATION * distance * np.stack([waves(1.0, 4.0, 1.0, 2), waves(1.0, 4.0, 1.0, 2), np.zeros(frames)], 1)
    roll = waves(0.1, 0.3, math.radians(1.0), 1) + waves(1.0, 4.0, SHAKE_ROTATION, 2)
    path = np.empty((frames, 4, 4))
    for index in range(frames):
        up = (math.sin(roll[index]), math.cos(roll[index]), 0.0)
        path[index] = look_at(position[index], aim[index], up)
    return path
