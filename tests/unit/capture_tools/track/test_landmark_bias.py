"""A known shift of landmarks off the skin is measured from where they are seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera, look_at, project
from avatar.geometry.rotations import axis_angle_to_matrix
from capture_tools.track.landmark_bias import bias_of, measure_bias, with_bias


def test_a_known_shift_is_found() -> None:
    """Heads turned rigidly about the world's origin, so that the truth needs no skinning to be written down."""
    asset = load_head()
    rng = np.random.default_rng(0)
    shift = torch.as_tensor(rng.normal(0, 0.002, (478, 3)), dtype=torch.float32)
    model = HeadModel(asset)
    params, cameras, pixels = [], [], []
    with torch.no_grad():
        neutral = model(HeadParameters.neutral(asset))
        rest, root = model.landmarks(neutral.vertices)[0] + shift, neutral.joints[0, 0]
        for _ in range(60):
            p = HeadParameters.neutral(asset)
            p.rotation[0] = torch.tensor([rng.normal(0, 0.15), rng.normal(0, 0.3), rng.normal(0, 0.1)])
            p.translation[0] = torch.as_tensor(rng.normal(0, 0.02, 3))
            distance = rng.uniform(0.5, 1.2)
            camera = Camera(512, 512, 900.0, 900.0, 256, 256, look_at((0, 0, distance), (0, 0, 0)))
            turned = (rest - root) @ axis_angle_to_matrix(p.rotation)[0].T + root + p.translation[0]
            seen = project(turned, camera)[0].numpy() + rng.normal(0, 0.5, (478, 2))
            wrong = rng.random(478) < 0.05
            seen[wrong] += rng.normal(0, 40, (wrong.sum(), 2))
            params.append(p)
            cameras.append(camera)
            pixels.append(seen)
    found = measure_bias(asset, params, cameras, np.stack(pixels))
    error = np.abs(found - shift.numpy()).mean(0)
    assert error[:2].max() < 0.0002
    assert error[2] < 0.0008  # depth is seen only where the head turns
    assert np.corrcoef(found[:, 2], shift[:, 2])[0, 1] > 0.8


def test_the_shipped_head_carries_its_bias_and_others_have_none() -> None:
    asset = load_head()
    bias = bias_of(asset).norm(dim=-1)
    assert 0.0003 < float(bias.mean()) < 0.003
    assert float(bias.max()) < 0.02
    assert bias_of(replace(asset, extras={})).abs().max() == 0
    assert torch.equal(bias_of(with_bias(asset, np.ones((478, 3)))), torch.ones(478, 3))
