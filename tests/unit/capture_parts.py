"""Parts of a small capture with known contents, and the fake head it belongs to; shared by several test files."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera, look_at

VERTICES, SHAPES, EXPRESSIONS = 12, 4, 6


@dataclass
class Parts:
    """What was handed to write_capture, to compare with what is read."""

    images: np.ndarray
    masks: np.ndarray
    cameras: list[Camera]
    params: HeadParameters
    landmarks: np.ndarray
    visible: np.ndarray
    background: np.ndarray
    timestamps: list[float]

    def arguments(self) -> dict[str, Any]:
        return dict(vars(self), asset=fake_head(), fps=25.0, report={"frames_read": 31}, camera_mode="static")


def fake_head(name: str = "fake-head", fingerprint: str = "f" * 64) -> SimpleNamespace:
    """Only what a capture asks of a HeadAsset."""
    return SimpleNamespace(
        name=name,
        fingerprint=fingerprint,
        template=np.zeros((VERTICES, 3)),
        shapedirs=np.zeros((VERTICES, 3, SHAPES)),
        exprdirs=np.zeros((VERTICES, 3, EXPRESSIONS)),
    )


def make_parts(count: int = 30, width: int = 40, height: int = 32) -> Parts:
    rng = np.random.default_rng(5)

    def floats(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape).astype(np.float32))

    params = HeadParameters(
        shape=floats(SHAPES),
        expr=floats(count, EXPRESSIONS),
        rotation=floats(count, 3),
        translation=floats(count, 3),
        neck=floats(count, 3),
        jaw=floats(count, 3),
        eyes=floats(count, 6),
        static_offset=floats(VERTICES, 3),
    )
    cameras = [
        Camera(width, height, 50.0 + i, 51.0, 19.5, 17.25, look_at((0.1 * i, 0.2, 0.9), (0.0, 0.0, 0.0)))
        for i in range(count)
    ]
    masks = np.zeros((count, height, width), np.uint8)
    masks[:, 8:28, 10:30] = 255
    landmarks = rng.uniform(8, 28, size=(count, 478, 2)).astype(np.float32)
    landmarks[3] = np.nan
    return Parts(
        images=rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8),
        masks=masks,
        cameras=cameras,
        params=params,
        landmarks=landmarks,
        visible=np.isfinite(landmarks).all(-1),
        background=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        timestamps=[i / 25 for i in range(count)],
    )
