"""The albedo of a person as far as a clip shows it, in the head's texture map.

The gain of every colour channel is free: no picture tells a light skin in dim light from a dark one in bright light.
Every albedo is divided by its mean colour over the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from capture_tools.model_learning.from_clips.reading import Clip
from capture_tools.report.texture import NO_SKIN, SurfaceSamples, gather_albedo, texels, vertices_as_samples
from capture_tools.track.clip_fit import WORLD_FROM_CAMERA_AXES

SIDE = 128
"""Texels across the map."""
SEEN_AT = 0.4
"""Sum of squared cosines between skin and view over the frames from which on a texel is seen well."""


@dataclass(frozen=True)
class SeenAlbedo:
    """The albedo of surface points."""

    linear: Tensor
    """`[P, 3]` float64, of mean one over the face in each channel."""
    seen: Tensor
    """`[P]` float64 in [0, 1], how well."""
    tone: Tensor
    """`[3]` linear: the mean that was divided out."""


def face_samples(asset: HeadAsset, side: int = SIDE) -> SurfaceSamples:
    """Texels of the face in the head's texture map, or its vertices for a head without one."""
    has_map = asset.uv is not None and asset.uv_faces is not None
    samples = texels(asset, side) if has_map else vertices_as_samples(asset)
    skin = asset.region("face").copy()
    for name in NO_SKIN:
        skin &= ~asset.regions.get(name, np.zeros(len(skin), bool))
    return samples.select(torch.as_tensor(skin[asset.faces].all(1))[samples.face])


def see_albedo(
    clip: Clip, asset: HeadAsset, parameters: HeadParameters, focal: float, lights: np.ndarray
) -> SeenAlbedo:
    """The albedo of `face_samples` in a clip's frames.

    parameters: of all frames, with the camera at the origin. lights: `[N, 9, 3]` of each frame.
    """
    crop, pictures = clip.pictures.crop, clip.pictures
    pose = np.eye(4)
    pose[:3, :3] = WORLD_FROM_CAMERA_AXES
    middle = clip.side / 2
    camera = Camera(crop.size, crop.size, focal, focal, middle - crop.x0, middle - crop.y0, pose)
    samples = face_samples(asset)
    found = gather_albedo(
        asset, samples, parameters, camera, pictures.images, pictures.masks, torch.tensor(lights, dtype=torch.float32)
    )
    return normalised(torch.as_tensor(found.linear).double(), torch.as_tensor(found.weight / SEEN_AT).double())


def normalised(linear: Tensor, weight: Tensor) -> SeenAlbedo:
    """An albedo `[P, 3]` with its mean divided out."""
    seen = weight.clamp(0, 1)
    tone = (seen[:, None] * linear).sum(0) / seen.sum().clamp_min(1e-9)
    return SeenAlbedo(linear / tone.clamp_min(1e-6), seen, tone)
