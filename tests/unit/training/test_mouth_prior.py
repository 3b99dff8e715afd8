"""Mouths wider than in the clip: which, what their inside shows, and that training learns it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from avatar.data.capture import read_capture
from avatar.flame.library import load_head
from avatar.training.mouth_prior import (
    BRIGHTNESS,
    WIDER,
    WIDEST,
    brightness_of,
    opened,
    openings,
    part_of_faces,
    wide_mouths,
)
from avatar.training.prepare import load_training_data, make_avatar
from avatar.training.step import TrainState, train_step


@pytest.fixture
def parts(nodding_capture, tiny_config) -> SimpleNamespace:
    tiny_config.field.warp.torso = False  # it takes longest to prepare
    training = load_training_data(read_capture(nodding_capture), load_head(), tiny_config, torch.device("cpu"))
    training.identity.params.jaw *= 0.4  # a clip that opens the mouth by 0.12 rad at most
    return SimpleNamespace(training=training, avatar=make_avatar(tiny_config, training), config=tiny_config)


def test_mouths_open_wider_in_the_clips_proportion(parts) -> None:
    asset, params = parts.avatar.asset, parts.training.identity.params.frame(0)
    index, unit = asset.expression_index("jawOpen"), float(asset.extras["jaw_open_angle"])
    params.jaw[0, 0], params.expr[0, index] = 0.03, 0.09 / unit
    wide = opened(params, asset, [0.2, 0.4])
    torch.testing.assert_close(openings(wide, asset), torch.tensor([0.2, 0.4]))
    torch.testing.assert_close(wide.jaw[:, 0], torch.tensor([0.2, 0.4]) * 0.04 / 0.14)
    other = [i for i in range(asset.expression_count) if i != index]
    torch.testing.assert_close(wide.expr[:, other], params.expr[:, other].expand(2, -1))


def test_rays_see_the_parts_of_the_mouth(parts) -> None:
    prior = wide_mouths(parts.avatar, parts.training)
    assert prior is not None
    assert len(prior.frame) > 100
    assert (prior.frame.bincount()[1:] >= prior.frame.bincount()[:-1]).all(), "wider mouths show more"
    red, green, _ = prior.colour.unbind(1)
    teeth = green > 0.75 * red  # tongue and palate are red
    assert 0.02 < float(teeth.float().mean()) < 0.9
    assert float(prior.colour[teeth].mean()) > float(prior.colour[~teeth].mean())


def test_a_clip_that_opens_the_mouth_all_the_way_needs_none(parts) -> None:
    identity = parts.training.identity
    identity.params.jaw[1, 0] = 1.01 * WIDEST / WIDER
    assert wide_mouths(parts.avatar, parts.training) is None
    nameless = replace(parts.avatar.asset, expression_names=("a",) * parts.avatar.asset.expression_count)
    parts.avatar.identity.asset = nameless
    assert wide_mouths(parts.avatar, parts.training) is None


def test_the_clip_tells_how_bright_the_inside_is(parts) -> None:
    """Frames with an open mouth, all pixels of half the brightness of others': so are the factors, within limits."""
    training, identity = parts.training, parts.training.identity
    part = part_of_faces(identity.asset, torch.device("cpu"))
    identity.params.jaw[:, 0] = 0.42
    found = []
    for grey in (60, 30):
        training.frames.images[:] = grey
        found.append(brightness_of(training, part, openings(identity.params, identity.asset)))
    told = (found[0] != 1) & (found[1] > BRIGHTNESS[0])
    assert told.any(), found
    torch.testing.assert_close(found[0][told], 2 * found[1][told], rtol=0.05, atol=0)
    identity.params.jaw[:, 0] = 0.0
    closed = brightness_of(training, part, openings(identity.params, identity.asset))
    assert (closed == 1).all(), "a closed mouth tells nothing"


@pytest.mark.slow
def test_training_learns_the_wide_mouth(parts, tmp_path) -> None:
    losses = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        parts.config.training.loss.mouth = weight
        avatar = make_avatar(parts.config, parts.training)
        state = TrainState.make(avatar, parts.training)
        assert ("mouth" in state.faces) == (weight > 0)
        for step in range(40):
            train_step(state, step, step / 40, 1.0, tmp_path)
        prior = wide_mouths(avatar, parts.training)
        assert prior is not None
        with torch.no_grad():
            losses[weight] = float(prior.loss(avatar.scene, 1.0, torch.Generator().manual_seed(1)))
    assert losses[1.0] < 0.7 * losses[0.0]
