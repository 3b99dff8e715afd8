"""Where the camera moves, the presets learn the room in a field of its own, behind a person trained as ever."""

import numpy as np
import pytest
import torch
from test_surroundings_training import error_of_sky, sky, turning_capture  # noqa: F401

from avatar.animation.backgrounds import choose_background
from avatar.config import load_preset
from avatar.data.capture import PLAIN_GREY, read_capture
from avatar.data.checkpoint import load_avatar
from avatar.geometry.cameras import turn_camera
from avatar.training.evaluate import evaluate
from avatar.training.room import PLAIN, RoomSampler, beside_person, detail_share
from avatar.training.trainer import train


@pytest.fixture
def small():
    config = load_preset("cpu")
    config.training.minutes, config.training.preview_interval = 0.0, 0.0
    config.field.room.hash.log2_entries, config.field.room.hash.finest_resolution = 13, 256
    return config


@pytest.mark.slow
def test_the_room_is_learned_and_shown_from_any_camera(turning_capture, small, tmp_path):  # noqa: F811
    run, capture = tmp_path / "run", read_capture(turning_capture)
    small.training.steps = 120
    train(turning_capture, run, small, progress=False)
    evaluate(run, splits=("val",), detect=lambda image: (None, None), progress=False)
    assert error_of_sky(run, capture) > 24

    avatar = load_avatar(run)
    assert avatar.shows_room
    params, camera = avatar.parameters.frame(0), avatar.camera
    black = torch.zeros(camera.height, camera.width, 3)
    alone = avatar.render_frame(params, camera, background=black)
    empty = alone.opacity < 0.01
    assert empty.float().mean() > 0.1
    assert alone.image[empty].max() < 0.02
    room, soft = avatar.empty_room(camera), choose_background(avatar, "blur")(camera)
    truth = torch.tensor(sky(camera) / 255)
    assert (room - truth).abs().mean() < 0.05
    assert (soft - truth).abs().mean() < 0.08
    assert soft.diff(dim=1).abs().max() < 0.8 * truth.diff(dim=1).abs().max()
    # a camera that looks further aside than any of the clip: what nobody saw goes on as what is beside it
    aside = turn_camera(camera, camera.position, 0.6, 0.0)
    shown = avatar.render_frame(params, aside).image
    edge = shown[2:6].mean((0, 1))
    assert (edge - torch.tensor(sky(aside)[2:6].mean((0, 1)) / 255)).abs().max() < 0.12


@pytest.mark.slow
def test_a_run_without_a_room_stands_over_grey(turning_capture, small, tmp_path):  # noqa: F811
    small.training.steps, small.field.room.enabled = 2, False
    train(turning_capture, tmp_path / "run", small, progress=False)
    avatar = load_avatar(tmp_path / "run")
    assert not avatar.shows_room
    shown = avatar.render_frame(avatar.parameters.frame(0), avatar.camera)
    corner = shown.image[:4, :4][shown.opacity[:4, :4] < 0.01]
    assert (corner * 255 - PLAIN_GREY).abs().max() < 2


@pytest.mark.slow
def test_training_goes_on_with_its_room(turning_capture, small, tmp_path):  # noqa: F811
    small.training.steps = 4
    train(turning_capture, tmp_path / "whole", small, progress=False)
    small.training.steps = 2
    train(turning_capture, tmp_path / "halves", small, progress=False)
    before = load_avatar(tmp_path / "halves").scene.state_dict()
    small.training.steps = 4
    train(turning_capture, tmp_path / "halves", small, resume=True, progress=False)
    after = load_avatar(tmp_path / "halves").scene.state_dict()
    assert {name for name in after if name.startswith("room.")} == {
        *("room.table", "room.cameras", "room.gains", "room.views", "room.middle", "room.radius"),
        *("room.memory", "room.seen"),
        *(
            f"room.{net}.layers.{i}.{part}"
            for net in ("density_network", "colour_network")
            for i in (0, 1)
            for part in ("weight", "bias")
        ),
    }
    assert not torch.equal(before["room.table"], after["room.table"])
    assert (after["room.seen"] > 0).sum() >= (before["room.seen"] > 0).sum() > 0


def test_rays_pass_beside_the_person_and_prefer_texture(turning_capture, small):  # noqa: F811
    from avatar.flame.library import load_head
    from avatar.training.prepare import load_training_data

    capture = read_capture(turning_capture)
    training = load_training_data(capture, load_head(capture.head_name), small, torch.device("cpu"))
    rays = RoomSampler(training, 400).draw(torch.Generator().manual_seed(0))
    through = rays.room == 0
    assert 0 < through.float().mean() < 0.3
    masks = training.frames.masks
    free = beside_person(masks)
    assert (free[masks > 0] == 0).all()
    assert (free == 255).any()
    # the head stands before the camera, and nothing of the room before the head
    assert (rays.clear > 0.1).all()
    assert (rays.origins + rays.clear[:, None] * rays.directions).norm(dim=1).min() > 0.1

    flat = torch.full((1, 32, 32, 3), 90, dtype=torch.uint8)
    flat[:, 16:] = 200
    share = detail_share(flat)[0].float() / 255
    assert share[15:17].min() == 1
    assert share[:12].max() == pytest.approx(PLAIN, abs=0.01)
    assert np.isclose(float(share[20:].mean()), PLAIN, atol=0.01)
