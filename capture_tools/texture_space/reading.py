"""What captures show of people's albedo, in the texture map of one head and at one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar.base.errors import CaptureError, HeadModelError, InputError
from avatar.base.files import distinct_names, read_json
from avatar.data.capture import read_capture
from avatar.flame.assets import HeadAsset
from avatar.media.images import read_png
from capture_tools.report.texture import ALBEDO, FOLDER, LIGHT, SEEN, SurfaceSamples, texels
from capture_tools.texture_space.space import averaged

FEWEST = 3
"""Captures below which nothing is common to people."""
LEAST_SEEN = 0.02
"""Share of the map below which a capture shows nothing of use."""


@dataclass(frozen=True)
class SeenTexture:
    """The albedo of one person as far as it was seen."""

    name: str
    srgb: np.ndarray
    """`[P, 3]` float32 in [0, 1]; zero where nothing was seen."""
    seen: np.ndarray
    """`[P]` float32 in [0, 1], how well."""


def map_of(asset: HeadAsset, size: int) -> SurfaceSamples:
    """The texels of a head's map. Raises HeadModelError for a head without one."""
    if asset.uv_fingerprint is None:
        raise HeadModelError(
            f"the head model {asset.name} has no texture map",
            expected="a head with texture coordinates",
            fix="use the open head, or a FLAME file that has them",
        )
    return texels(asset, size)


def check_enough(captures: int, components: int) -> None:
    """Raise InputError where there are too few captures for the components that are asked for."""
    if captures < FEWEST:
        raise InputError(
            "there are too few captures for a texture space",
            expected=f"{FEWEST} or more, each of another person; several dozen make a useful space",
            found=captures,
        )
    if components >= captures:
        raise InputError(
            "there are fewer captures than components",
            expected=f"more than {components} captures, each of another person",
            found=f"{captures} captures",
            fix=f"give more captures, or --components {captures - 1}",
        )


def read_textures(places: Sequence[Path], asset: HeadAsset, place: np.ndarray, size: int) -> list[SeenTexture]:
    """The texture of each capture at the texels `place` `[P]` of a map of `size` texels.

    Raises CaptureError for a capture without albedo or that does not say what was seen, HeadModelError for the texture
    of another head.
    """
    named = zip(distinct_names(places), places, strict=True)
    return [read_texture(name, folder, asset, place, size) for name, folder in named]


def read_texture(name: str, folder: Path, asset: HeadAsset, place: np.ndarray, size: int) -> SeenTexture:
    """The texture of one capture, called `name`; see `read_textures`."""
    capture = read_capture(folder)
    albedo, seen, light = (capture.folder / FOLDER / file for file in (ALBEDO, SEEN, LIGHT))
    again = "capture it again: avatar capture VIDEO --out CAPTURE"
    if not (albedo.is_file() and light.is_file()):
        raise CaptureError(
            "the capture has no albedo", where=folder, expected=f"{FOLDER}/{ALBEDO} and {LIGHT}", fix=again
        )
    written = read_json(light, CaptureError)
    made_for = written.get("uv_fingerprint") if isinstance(written, dict) else None
    if made_for != asset.uv_fingerprint:
        raise HeadModelError(
            "the texture of a capture is in another head's map",
            where=folder,
            expected=f"{asset.name}, map {str(asset.uv_fingerprint)[:12]}",
            found=f"{capture.head_name}, map {str(made_for)[:12]}",
            fix=f"leave it out, capture it again with {asset.name}, or give only captures of {capture.head_name} and "
            f"--head-model {capture.head_name}",
        )
    if not seen.is_file():
        raise CaptureError(
            "the capture does not say which texels were seen",
            where=folder,
            expected=f"{FOLDER}/{SEEN}, which captures of earlier versions lack",
            fix=again,
        )
    return from_pictures(name, read_png(albedo, CaptureError), read_png(seen, CaptureError), place, size)


def from_pictures(name: str, albedo: np.ndarray, seen: np.ndarray, place: np.ndarray, size: int) -> SeenTexture:
    """A texture `[T, T, 3]` and how well it was seen `[T, T]`, uint8 each, at `size` texels.

    Raises CaptureError where they do not fit together or show nearly nothing.
    """
    if albedo.shape != (*seen.shape, 3) or len(albedo) != albedo.shape[1]:
        raise CaptureError(
            f"albedo and seen texels of {name} do not fit together",
            expected="two square pictures of one size, in colour and grey",
            found=f"{albedo.shape} and {seen.shape}",
            fix="capture it again: avatar capture VIDEO --out CAPTURE",
        )
    colours, weight = averaged(albedo.astype(np.float32) / 255, seen.astype(np.float32) / 255, size)
    colours, weight = colours.reshape(-1, 3)[place], weight.reshape(-1)[place]
    if (weight > 0.5).mean() < LEAST_SEEN:
        raise CaptureError(
            f"the capture {name} shows nearly nothing of the head's texture",
            expected=f"{LEAST_SEEN:.0%} of the map, seen well",
            found=f"{(weight > 0.5).mean():.1%}",
            fix="leave it out",
        )
    return SeenTexture(name, (colours * (weight > 0)[:, None]).astype(np.float32), weight.astype(np.float32))
