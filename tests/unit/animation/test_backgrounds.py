"""What stands behind an avatar: each choice at its camera's size, and one message for what cannot be."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avatar.animation.backgrounds import check_background, choose_background
from avatar.animation.outputs import target_of
from avatar.base.errors import InputError
from avatar.geometry.cameras import Camera, look_at
from avatar.media.images import write_png

WIDTH, HEIGHT = 48, 36


@pytest.fixture
def avatar():
    """What a background asks of an avatar: a striped wall, seen by its camera."""
    wall = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8)
    wall[:, ::2] = 200
    camera = Camera(WIDTH, HEIGHT, 60.0, 60.0, WIDTH / 2, HEIGHT / 2, look_at((0, 0, 1.0), (0, 0, 0)))
    scene = SimpleNamespace(room=None)
    return SimpleNamespace(background=wall, camera=camera, device=torch.device("cpu"), scene=scene)


def test_the_scene_is_left_to_the_avatar(avatar):
    assert choose_background(avatar, "scene")(avatar.camera) is None


def test_blur_keeps_the_scene_s_light_and_loses_its_detail(avatar):
    soft = choose_background(avatar, "blur")(avatar.camera)
    assert soft.shape == (HEIGHT, WIDTH, 3)
    assert float(soft.mean()) == pytest.approx(100 / 255, abs=0.02)
    assert float(soft[:, 4:-4].std()) < 0.1 * (200 / 255)


@pytest.mark.parametrize(
    ("choice", "rgb"), [("white", (255, 255, 255)), ("#10ff80", (16, 255, 128)), ("Lime", (0, 255, 0))]
)
def test_colours_by_name_and_by_number(avatar, choice, rgb):
    larger = avatar.camera.scaled(96, 72)
    shown = choose_background(avatar, choice)(larger)
    assert shown.shape == (72, 96, 3)
    torch.testing.assert_close(shown[5, 7] * 255, torch.tensor(rgb).float())


def test_a_picture_of_the_same_shape_is_scaled_and_of_another_refused(avatar, tmp_path):
    picture = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
    picture[:, WIDTH:] = (200, 100, 50)
    path = write_png(tmp_path / "beach.png", picture)
    shown = choose_background(avatar, str(path))(avatar.camera)
    assert shown.shape == (HEIGHT, WIDTH, 3)
    torch.testing.assert_close(shown[10, 40] * 255, torch.tensor([200.0, 100.0, 50.0]), atol=0.6, rtol=0)
    assert float(shown[:, :20].max()) < 0.01
    wide = write_png(tmp_path / "wide.png", np.zeros((HEIGHT, 2 * WIDTH, 3), np.uint8))
    with pytest.raises(InputError, match="another shape") as error:
        choose_background(avatar, str(wide))
    assert f"{WIDTH} x {HEIGHT}" in str(error.value)


@pytest.mark.parametrize("choice", ["nowhere.png", "plaid", "#12", ""])
def test_what_is_no_background_is_named_before_any_work(avatar, choice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        check_background(choice, target_of(Path("out.mp4")))
    assert choice in str(error.value)
    with pytest.raises(InputError):
        choose_background(avatar, choice)


def test_an_mp4_cannot_be_transparent():
    for ending in (".PNG", ".webm", ".mov"):
        check_background("transparent", target_of(Path(f"out{ending}"), still=True))
    with pytest.raises(InputError, match="cannot be transparent"):
        check_background("transparent", target_of(Path("out.mp4")))
