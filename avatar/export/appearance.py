"""The colours of a head for its mesh: the capture's completed texture where it fits, else those of its vertices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.base.errors import CaptureError
from avatar.base.files import read_json
from avatar.data.capture_arrays import checked, load_arrays
from avatar.media.images import read_png

if TYPE_CHECKING:
    from avatar.flame.assets import HeadAsset

FOLDER, LIGHT, TEXTURE, PER_VERTEX = "appearance", "light.json", "albedo.png", "albedo.npz"
SKIN = (0.60, 0.37, 0.28)
"""Linear colour of a head whose own is not known."""


@dataclass(frozen=True)
class Appearance:
    """Either a texture, or colours of vertices, or neither; and why."""

    texture: np.ndarray | None = None
    """`[T, T, 3]` uint8 sRGB in the head's texture map; the first row is v = 1."""
    colours: np.ndarray | None = None
    """`[V, 3]` float32, linear."""
    note: str | None = None


def read_appearance(capture: Path | None, asset: HeadAsset) -> Appearance:
    """The colours that a capture holds of a head. Raises CaptureError where they are damaged."""
    if capture is None:
        return Appearance(note="the model has one plain colour: the run's capture, which has its texture, is not there")
    folder = capture / FOLDER
    if (folder / TEXTURE).is_file() and (folder / LIGHT).is_file():
        light = read_json(folder / LIGHT, CaptureError)
        made_for = light.get("uv_fingerprint") if isinstance(light, dict) else None
        if asset.uv_fingerprint is not None and made_for == asset.uv_fingerprint:
            image = read_png(folder / TEXTURE, CaptureError)
            return Appearance(texture=image if image.ndim == 3 else image[..., None].repeat(3, 2))
        return Appearance(
            note="the model has one plain colour: the capture's texture was made for another texture map "
            "(capture the clip again)"
        )
    if (folder / PER_VERTEX).is_file():
        arrays = load_arrays(folder / PER_VERTEX, None, ("linear", "seen"))
        linear = checked(arrays["linear"], (asset.vertex_count, 3), "linear", folder / PER_VERTEX, None)
        seen = np.asarray(arrays["seen"], bool).reshape(-1)
        if seen.shape == (asset.vertex_count,) and seen.any():
            linear = np.where(seen[:, None], linear, linear[seen].mean(0))
        return Appearance(colours=linear.clip(0, 1).astype(np.float32))
    return Appearance(note="the model has one plain colour: the capture has no texture")
