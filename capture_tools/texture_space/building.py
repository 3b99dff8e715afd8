"""From textures seen in part to a texture space: their mean, their completion, principal components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.kernels.runtime.threads import one_torch_thread
from capture_tools.camera.background import fill_smoothly
from capture_tools.model_learning.linear import principal_directions
from capture_tools.report.texture import has_symmetric_map
from capture_tools.texture_space.inpainting import Inpainter, Maps, complete_texture, gains, train_inpainter
from capture_tools.texture_space.reading import SeenTexture
from capture_tools.texture_space.settings import TextureSettings
from capture_tools.texture_space.space import TextureSpace, unpacked

SEEN_AT_ALL = 0.05
"""Sum of how well a texel was seen in all people from which on its mean is known."""
TONE_PASSES = 5


@dataclass(frozen=True)
class Built:
    """A texture space, and how it came about."""

    space: TextureSpace
    completed: np.ndarray
    """`[N, P, 3]` float32: the people's textures, completed."""
    losses: list[float]
    """Of the network, per step, sRGB."""
    network: Inpainter | None
    maps: Maps


def build(textures: Sequence[SeenTexture], asset: HeadAsset, place: np.ndarray, settings: TextureSettings) -> Built:
    """A texture space from N people's textures at the texels `place` `[P]`. The head has a texture map."""
    srgb, seen = np.stack([one.srgb for one in textures]), np.stack([one.seen for one in textures])
    maps = maps_of(srgb, seen, asset, place, settings.size)
    pictures = np.stack([unpacked(one, place, settings.size)[0] for one in srgb])
    weights = np.stack([unpacked(one[:, None], place, settings.size)[0][..., 0] for one in seen])
    network, losses = None, []
    with one_torch_thread():
        if settings.steps and (seen > 0.5).any():
            network, losses = train_inpainter(pictures, weights, maps, steps=settings.steps, seed=settings.seed)
        completed = [
            complete_texture(network, picture, weight, maps).reshape(-1, 3)[place]
            for picture, weight in zip(pictures, weights, strict=True)
        ]
    samples = np.stack(completed)
    return Built(space_of(samples, asset, place, settings), samples, losses, network, maps)


def maps_of(srgb: np.ndarray, seen: np.ndarray, asset: HeadAsset, place: np.ndarray, size: int) -> Maps:
    """The mean of textures `[N, P, 3]` where they were seen (`[N, P]`), and filled in elsewhere.

    Every person has a tone, one gain a channel, which is divided out: else the mean would change its tone wherever
    somebody's part begins. By turns, tones and mean follow from each other.
    """
    total, tones = seen.sum(0), np.ones((len(srgb), 3))
    mean = np.zeros(srgb.shape[1:])
    for _ in range(TONE_PASSES):
        scaled = seen[..., None] * tones[:, None]
        mean = (scaled * srgb).sum(0) / np.maximum((scaled * tones[:, None]).sum(0), 1e-6)
        tones = np.stack([gains(one, mean, weight) for one, weight in zip(srgb, seen, strict=True)])
        tones /= tones.mean(0)
    picture, covered = unpacked(mean, place, size)
    known = unpacked(total[:, None], place, size)[0][..., 0] > SEEN_AT_ALL
    symmetric = has_symmetric_map(asset)
    if symmetric:
        other = known[:, ::-1] & ~known
        picture, known = np.where(other[..., None], picture[:, ::-1], picture), known | other
    return Maps(fill_smoothly(picture, known).astype(np.float32), covered, symmetric)


def space_of(samples: np.ndarray, asset: HeadAsset, place: np.ndarray, settings: TextureSettings) -> TextureSpace:
    """Mean and principal components of N complete textures `[N, P, 3]`."""
    mean = samples.mean(0)
    flat = torch.from_numpy((samples - mean).reshape(len(samples), -1)).double()
    directions, _, variances = principal_directions(flat, settings.components)
    deviations = directions.norm(dim=1)
    assert asset.uv_fingerprint is not None
    return TextureSpace(
        asset.name,
        asset.fingerprint,
        asset.uv_fingerprint,
        size=settings.size,
        place=place,
        mean=mean.astype(np.float32),
        components=(directions / deviations[:, None]).reshape(-1, *mean.shape).numpy().astype(np.float32),
        deviations=deviations.numpy().astype(np.float32),
        explained=(variances / variances.sum().clamp_min(1e-30)).numpy().astype(np.float32),
        people=len(samples),
    )
