"""Lids that the clip never shuts: which, what they look like, and that training learns it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from avatar.data.capture import read_capture
from avatar.flame.library import load_head
from avatar.training.lid_prior import CLOSINGS, ENOUGH, SHUT, closed, closings, shut_eyes
from avatar.training.prepare import load_training_data, make_avatar
from avatar.training.step import TrainState, train_step


@pytest.fixture
def parts(nodding_capture, tiny_config) -> SimpleNamespace:
    tiny_config.field.warp.torso = False  # it takes longest to prepare
    training = load_training_data(read_capture(nodding_capture), load_head(), tiny_config, torch.device("cpu"))
    params = training.identity.params
    params.expr[:] = closed(params.frame(0), training.identity.asset, [(0.0, 0.0)]).expr
    return SimpleNamespace(training=training, avatar=make_avatar(tiny_config, training), config=tiny_config)


def test_the_lids_alone_are_closed(parts) -> None:
    asset, params = parts.avatar.asset, parts.training.identity.params.frame(0)
    shut = closed(params, asset, CLOSINGS)
    assert closings(shut, asset).tolist() == [list(pair) for pair in CLOSINGS]
    others = [i for i, name in enumerate(asset.expression_names) if not name.startswith("eyeBlink")]
    assert torch.equal(shut.expr[:, others], params.expr[:, others].expand(len(CLOSINGS), -1))


def test_rays_see_the_lids_that_are_shut(parts) -> None:
    """Each lid alone, then both; nearly shut, they leave a little of the eyes, at which there is no ray."""
    rays = shut_eyes(parts.avatar, parts.training)
    assert rays is not None
    nearly, both, left, right, half = (
        {tuple(direction) for direction in rays.directions[rays.frame == k].tolist()} for k in range(len(CLOSINGS))
    )
    assert left | right == both
    assert left < both, "each shuts its own eye"
    assert right < both
    assert 0.3 * len(both) < len(half) < len(nearly) <= len(both)
    assert float(rays.colour.min()) > 0.02
    assert float(rays.colour.max()) < 0.98


def test_a_clip_that_blinks_often_enough_needs_none(parts) -> None:
    identity = parts.training.identity
    lids = [identity.asset.expression_index(f"eyeBlink{side}") for side in ("Left", "Right")]
    identity.params.expr[: ENOUGH - 1, lids] = SHUT
    assert shut_eyes(parts.avatar, parts.training) is not None
    identity.params.expr[ENOUGH - 1, lids] = SHUT
    assert shut_eyes(parts.avatar, parts.training) is None


@pytest.mark.slow
def test_training_learns_to_shut_the_lids(parts, tmp_path) -> None:
    losses = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        parts.config.training.loss.lids = weight
        avatar = make_avatar(parts.config, parts.training)
        state = TrainState.make(avatar, parts.training)
        assert ("lids" in state.faces) == (weight > 0)
        for step in range(40):
            train_step(state, step, step / 40, 1.0, tmp_path)
        rays = shut_eyes(avatar, parts.training)
        assert rays is not None
        with torch.no_grad():
            losses[weight] = float(rays.loss(avatar.scene, 1.0, torch.Generator().manual_seed(1)))
    assert losses[1.0] < 0.7 * losses[0.0]
