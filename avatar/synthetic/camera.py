"""Trajectories of the cameras of synthetic clips: carried around the person, or held in front by a hand that sways."""

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

SWAY_WAVES = ((0.15, 0.5, 2, 1.0), (1.0, 4.0, 2, 0.15))
"""Waves of a swaying hand: frequencies in hertz from, to, how many, relative amplitude: a slow drift and a shake."""
SWAY_SECONDS = 30.0
"""A swaying camera's extent is measured over this time, so that it does not depend on the clip's length."""


def carried_path(seed: int, frames: int, fps: float, distance: float) -> np.ndarray:
    """Poses `world_from_cam` `[frames, 4, 4]` float64 (OpenCV axes, metres) of a camera carried around the origin.

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


def swaying_path(seed: int, frames: int, fps: float, distance: float, focal_share: float, sway: float) -> np.ndarray:
    """Poses `world_from_cam` `[frames, 4, 4]` float64 (OpenCV axes, metres) of a phone held at arm's length.

    The hand drifts and shakes, half by rotating and half by moving. sway: extent of what the origin's displacement in
    the picture reaches in SWAY_SECONDS, as a share of the picture's width. focal_share: focal length over that width.
    The trajectory depends on the seed and on time only.
    """
    rng = np.random.default_rng([seed, 13])
    waves = [
        (rng.uniform(low, high, (4, count)), rng.uniform(0, 2 * math.pi, (4, count)), size)
        for low, high, count, size in SWAY_WAVES
    ]

    def curves(time: np.ndarray) -> np.ndarray:
        """`[T, 4]`: sideways and up, by moving the camera and by rotating it."""
        total = np.zeros((len(time), 4))
        for frequency, phase, size in waves:
            total += size * np.sin(2 * math.pi * frequency * time[:, None, None] + phase).sum(-1)
        return total

    measured = curves(np.arange(0.0, SWAY_SECONDS, 0.02))
    together = measured[:, :2] + measured[:, 2:]
    shown = curves(np.arange(frames) / fps) * (sway / focal_share) / np.ptp(together, axis=0).max()
    path = np.empty((frames, 4, 4))
    for index, (right, up, yaw, pitch) in enumerate(shown):
        position = np.array([-right * distance, -up * distance, distance])
        aim = position + np.array([-math.tan(yaw), -math.tan(pitch), -1.0])
        path[index] = look_at(position, aim, (0.0, 1.0, 0.0))
    return path
