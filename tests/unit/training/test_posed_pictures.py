"""What `Avatar.pose` keeps for several pictures changes none of them; the viewer's overlays on a trained avatar."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_clip import shrink

from avatar.config import load_preset
from avatar.data.checkpoint import load_avatar
from avatar.geometry.cameras import turn_camera
from avatar.training.trainer import train
from avatar.viewer.painter import Painter
from avatar.viewer.session import Session


@pytest.fixture(scope="module")
def run(tiny_capture, tmp_path_factory):
    folder = tmp_path_factory.mktemp("posed")
    config = shrink(load_preset("cpu"))
    config.training.loss.surface = config.training.loss.mouth = config.training.loss.lids = 0.0
    train(tiny_capture, folder, config, progress=False)
    return folder


@pytest.mark.parametrize("azimuth", [0.0, 0.3])
def test_pictures_of_a_posed_head_are_those_of_its_parameters(run, azimuth):
    avatar = load_avatar(run, device="cpu")
    camera = turn_camera(avatar.camera, np.zeros(3), azimuth, 0.0)
    posed = avatar.pose(avatar.parameters.frame(5))
    avatar.render_frame(posed, avatar.camera)
    kept = avatar.render_frame(posed, camera)
    alone = load_avatar(run, device="cpu").render_frame(avatar.parameters.frame(5), camera)
    for name in ("image", "opacity", "mask", "depth"):
        assert torch.equal(getattr(kept, name), getattr(alone, name)), name


def test_what_is_called_in_between_can_end_a_picture(run):
    avatar = load_avatar(run, device="cpu")
    calls = []

    def enough():
        calls.append(1)
        if len(calls) == 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        avatar.render_frame(avatar.parameters.frame(0), avatar.camera, between=enough)
    assert len(calls) == 2


def test_the_viewer_lays_mesh_and_outline_over_the_head_alone(run):
    avatar = load_avatar(run, device="cpu")
    session = Session(run, avatar)
    painter, state = Painter(avatar, 25.0), replace(session.store.state, aspect=1.0)
    plain = painter.draw(state, 40, lambda: None)
    mask = avatar.identity.silhouette(painter.parameters(state), painter.camera(state, 40)).numpy()
    meshed = painter.draw(replace(state, mesh=True), 40, lambda: None)
    outlined = painter.draw(replace(state, silhouette=True), 40, lambda: None)
    assert plain.shape == (40, 40, 3)
    assert (meshed != plain).any(-1)[mask].mean() > 0.9
    assert not (meshed != plain)[~mask].any()
    assert 0 < (outlined != plain).any(-1).sum() < mask.sum()
    assert not (outlined != plain)[~mask].any()
