"""Textures of made-up people in the open head's map, and capture folders that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avatar.base.files import write_json
from avatar.data.capture import write_capture
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from avatar.media.images import to_uint8, write_png

SIZE = 64


def invented(count: int, place: np.ndarray, seed: int = 0) -> np.ndarray:
    """Albedos `[N, P, 3]` of people who differ in tone, in the colour of a band, and in a spot on both cheeks."""
    rng = np.random.default_rng(seed)
    x, y = (place % SIZE + 0.5) / SIZE, (place // SIZE + 0.5) / SIZE
    band = np.exp(-(((y - 0.3) / 0.06) ** 2))[:, None] * np.array([0.3, -0.2, -0.2])
    spots = np.exp(-(((np.abs(x - 0.5) - 0.2) ** 2 + (y - 0.55) ** 2) / 0.01))[:, None] * np.array([-0.1, 0.1, 0.2])
    tones = rng.uniform(0.35, 0.6, (count, 1, 3))
    parts = rng.uniform(-0.7, 0.7, (2, count, 1, 1))
    grain = rng.normal(0, 0.005, (count, len(place), 3))
    return (tones + parts[0] * band + parts[1] * spots + grain).clip(0, 1).astype(np.float32)


def capture(folder: Path, asset: HeadAsset) -> Path:
    """A capture of one frame without any appearance."""
    return write_capture(
        folder,
        images=[np.full((16, 16, 3), 90, np.uint8)],
        masks=[np.full((16, 16), 255, np.uint8)],
        cameras=Camera(16, 16, 30.0, 30.0, 8.0, 8.0, np.diag([1.0, -1.0, -1.0, 1.0])),
        params=HeadParameters.neutral(asset),
        asset=asset,
        fps=25,
        timestamps=[0.0],
        landmarks=np.full((1, 478, 2), 8.0, np.float32),
        visible=np.ones((1, 478), bool),
        background=None,
        report={},
        camera_mode="static",
    )


def textured(folder: Path, asset: HeadAsset, albedo: np.ndarray, seen: np.ndarray, uv: str | None = None) -> Path:
    """A capture with albedo and seen texels `[T, T, 3]` and `[T, T]` in [0, 1]; uv: another map's fingerprint."""
    capture(folder, asset)
    write_png(folder / "appearance" / "albedo.png", to_uint8(albedo))
    write_png(folder / "appearance" / "seen.png", to_uint8(seen))
    write_json(folder / "appearance" / "light.json", {"uv_fingerprint": uv or asset.uv_fingerprint})
    return folder
