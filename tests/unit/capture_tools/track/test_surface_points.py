"""The landmark-only head gives the model's own landmarks, and the offset space is what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from capture_tools.track.offset_space import SCALES, offset_space
from capture_tools.track.surface_points import SurfacePoints


@pytest.fixture(scope="module")
def asset() -> HeadAsset:
    return load_head()


def random_parameters(asset: HeadAsset, count: int) -> HeadParameters:
    generator = torch.Generator().manual_seed(3)
    p = HeadParameters.neutral(asset, count)
    for name in ("expr", "rotation", "translation", "neck", "jaw", "eyes"):
        value = getattr(p, name)
        setattr(p, name, 0.3 * torch.randn(value.shape, generator=generator))
    p.shape = torch.randn(asset.shape_count, generator=generator)
    return p


def test_same_landmarks_as_the_full_model(asset: HeadAsset) -> None:
    space = offset_space(asset)
    latents = torch.randn(space.count, 3, generator=torch.Generator().manual_seed(4))
    p = random_parameters(asset, 6)
    model = HeadModel(asset)
    points = SurfacePoints(asset, asset.mediapipe_faces, asset.mediapipe_barycentrics, space.basis)
    plain = model.landmarks(model(p).vertices)
    assert (points.at(p, None) - plain).abs().max() < 2e-6
    p.static_offset = space.offsets(latents)
    moved = model.landmarks(model(p).vertices)
    assert (moved - plain).norm(dim=-1).max() > 1e-3
    assert (points.at(p, latents) - moved).abs().max() < 2e-6


def test_offsets_are_smooth_and_fade(asset: HeadAsset) -> None:
    """Samples of the process have the stated size on the face, differ little between neighbours and end at the nape."""
    space = offset_space(asset)
    generator = torch.Generator().manual_seed(5)
    samples = torch.stack([space.offsets(torch.randn(space.count, 3, generator=generator)) for _ in range(60)]).numpy()
    deviation = samples.std(axis=(0, 2))
    expected = np.sqrt(sum(s**2 for s, _ in SCALES))
    face = asset.regions["face"]
    assert np.median(deviation[face]) == pytest.approx(expected, rel=0.15)
    back = asset.template[:, 2] < asset.template[:, 2].min() + 0.03
    assert deviation[back].max() < 0.1 * expected
    edges = asset.faces[asset.regions["face"][asset.faces].all(1)][:, :2]
    step = np.linalg.norm(samples[:, edges[:, 0]] - samples[:, edges[:, 1]], axis=-1)
    length = np.linalg.norm(asset.template[edges[:, 0]] - asset.template[edges[:, 1]], axis=-1)
    assert np.percentile(step / length, 95) < 1.0  # no folds
    ball = samples[:, asset.regions["left_eyeball"]]
    assert np.ptp(ball, axis=1).max() < 1e-6  # moved, not bent
