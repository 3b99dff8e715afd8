"""The bias of the detector on a person."""

from __future__ import annotations

import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from capture_tools.track.clip_fit import ClipFit, TrackSettings


def seen_landmarks(head: HeadAsset, count: int) -> np.ndarray:
    """Landmarks `[count, 478, 2]` of the mean head, turned a little from frame to frame."""
    params = HeadParameters.neutral(head, count)
    params.rotation[:, 1] = torch.linspace(-0.2, 0.2, count)
    model = HeadModel(head)
    points = model.landmarks(model(params).vertices) + torch.tensor([0.0, 0.0, -0.8])
    return (600 * points[..., :2] * torch.tensor([1.0, -1.0]) / -points[..., 2:] + 200).numpy()


def test_the_bias_takes_its_part_of_the_offset_and_landmarks_stay_where_they_were(head):
    settings = TrackSettings(rigid_steps=30, face_steps=30, offset_steps=30)
    fit = ClipFit(seen_landmarks(head, 4), np.arange(4) / 25, 400, 400, head, settings)
    fit.run(lambda done, note: None)
    assert not fit.v["bias"].any()  # without pictures nothing tells it from shape
    params = fit.parameters(with_offset=False)
    whole, before = fit.v["offset"].detach().clone(), fit.landmark_points(params, True)
    fit._split_offset()
    assert torch.allclose(fit.landmark_points(params, True), before, atol=1e-6)
    share = fit.w.bias / (fit.w.offset + fit.w.bias)
    assert torch.allclose(fit.v["offset"], share * whole, atol=1e-6)
    assert float(whole.norm()) > 0
