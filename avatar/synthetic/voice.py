"""Voice of a synthetic clip: vowels whose loudness and formants follow the jaw and the lips. It exercises every step
that carries audio; it is no speech."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np

from avatar.base.files import write_bytes

SAMPLE_RATE = 16_000
HIGHEST = 3_600.0
"""Hertz above which nothing sounds."""


def synthesise_voice(seed: int, jaw: np.ndarray, rounding: np.ndarray, spread: np.ndarray, fps: float) -> np.ndarray:
    """Sound of one clip.

    jaw `[N]` radians of opening; rounding, spread `[N]` of the lips, 0 to 1, per frame. Harmonics of a gliding pitch
    are weighted by two formants (F1 rises as the jaw opens, F2 falls as lips round: Peterson and Barney 1952).
    Returns float64 samples in [-1, 1] at SAMPLE_RATE, as long as the frames; silence where the mouth is shut.
    """
    rng = np.random.default_rng([seed, 12])
    count = round(len(jaw) / fps * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE
    at = (np.arange(len(jaw)) + 0.5) / fps
    jaw, rounding, spread = (np.interp(time, at, values) for values in (jaw, rounding, spread))
    pitch = rng.uniform(105, 210)
    glide = 0.07 * np.sin(2 * np.pi * 0.6 * time + rng.uniform(0, 6)) + 0.012 * np.sin(2 * np.pi * 5.1 * time)
    phase = 2 * np.pi * np.cumsum(pitch * (1 + glide)) / SAMPLE_RATE
    first = 280 + 2300 * np.clip(jaw, 0, 0.25)
    second = np.clip(1500 + 900 * spread - 800 * rounding, 700, 2400)
    sound = np.zeros(count)
    for harmonic in range(1, int(HIGHEST / pitch) + 1):
        frequency = harmonic * pitch
        formants = np.exp(-(((frequency - first) / 130) ** 2)) + 0.5 * np.exp(-(((frequency - second) / 200) ** 2))
        sound += (formants + 0.02) / harmonic**0.6 * np.sin(harmonic * phase)
    loudness = np.clip((jaw - 0.012) / 0.10, 0, 1)
    sound *= loudness
    return 0.5 * sound / max(float(np.abs(sound).max()), 1e-9)


def write_wav(path: Path, samples: np.ndarray) -> Path:
    """Write samples in [-1, 1] as 16-bit mono, atomically."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return write_bytes(path, buffer.getvalue())
