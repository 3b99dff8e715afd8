"""A first guess as prior of the identity, and the bias of the detector on a person."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from capture_tools.track.clip_fit import ClipFit, IdentityPrior, TrackSettings


def seen_landmarks(head: HeadAsset, count: int) -> np.ndarray:
    """Landmarks `[count, 478, 2]` of the mean head, turned a little from frame to frame."""
    params = HeadParameters.neutral(head, count)
    params.rotation[:, 1] = torch.linspace(-0.2, 0.2, count)
    model = HeadModel(head)
    points = model.landmarks(model(params).vertices) + torch.tensor([0.0, 0.0, -0.8])
    return (600 * points[..., :2] * torch.tensor([1.0, -1.0]) / -points[..., 2:] + 200).numpy()


def fitted(head: HeadAsset, prior: IdentityPrior | None) -> ClipFit:
    settings = TrackSettings(rigid_steps=30, face_steps=30, offset_steps=30, identity=prior)
    fit = ClipFit(seen_landmarks(head, 4), np.arange(4) / 25, 400, 400, head, settings)
    fit.run(lambda done, note: None)
    return fit


@pytest.mark.parametrize(("precision", "near"), [(1e4, True), (1e-2, False)])
def test_the_identity_keeps_to_the_guess_as_firmly_as_it_is_known(head, precision, near):
    mean = np.zeros(head.shape_count)
    mean[0], mean[3] = 2.0, -1.5
    found = fitted(head, IdentityPrior(mean, precision * np.eye(len(mean)))).v["shape"].detach().numpy()
    assert (np.abs(found - mean).max() < 0.02) == near


def test_the_bias_takes_its_part_of_the_offset_and_landmarks_stay_where_they_were(head):
    fit = fitted(head, None)
    assert not fit.v["bias"].any()  # without pictures nothing tells it from shape
    params = fit.parameters(with_offset=False)
    whole, before = fit.v["offset"].detach().clone(), fit.landmark_points(params, True)
    fit._split_offset()
    assert torch.allclose(fit.landmark_points(params, True), before, atol=1e-6)
    share = fit.w.bias / (fit.w.offset + fit.w.bias)
    assert torch.allclose(fit.v["offset"], share * whole, atol=1e-6)
    assert float(whole.norm()) > 0
