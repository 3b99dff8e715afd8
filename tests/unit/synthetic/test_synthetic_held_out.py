"""What a synthetic clip does not show: stronger expressions and cameras off its path, with their truth."""

import json

import numpy as np
import pytest
import torch

from avatar.data.capture import PLAIN_GREY, read_capture
from avatar.flame.landmark_sets import lip_distance
from avatar.flame.library import load_head
from avatar.flame.model import head_middle
from avatar.geometry.cameras import project
from avatar.synthetic import held_out
from avatar.synthetic.clip import make_synthetic_scene
from avatar.synthetic.held_out import EXPRESSIONS, expression_weights, view_frames, write_held_out
from avatar.synthetic.motion import make_motion

SIZE, FRAMES = 96, 40


@pytest.fixture(scope="module")
def scene():
    return make_synthetic_scene(seed=2, size=SIZE, frames=FRAMES)


@pytest.fixture(scope="module")
def folders(scene, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out, "VIEW_FRAMES", 2)
        return {folder.name: folder for folder in write_held_out(tmp_path_factory.mktemp("held"), scene)}


@pytest.mark.parametrize("seed", range(5))
def test_every_expression_leaves_the_range_of_the_clip(seed):
    asset = load_head()
    motion = make_motion(seed, 150, 25.0, asset.expression_names)
    for name, (jaw, weights) in EXPRESSIONS.items():
        beyond = expression_weights(weights, asset).numpy() - motion.expr.max(0)
        assert max(beyond.max(), 2 * (jaw - motion.jaw[:, 0].max())) > 0.05, name


def test_the_sets_are_captures_of_the_person_over_grey(scene, folders):
    assert sorted(folders) == ["expressions", "view_15", "view_30", "view_45"]
    for folder in folders.values():
        capture = read_capture(folder, expect_head=scene.person.asset)
        assert torch.equal(capture.parameters().shape[0], scene.person.parameters.shape[0])
        for index in range(len(capture.frames)):
            image, mask = capture.read_image(index), capture.read_mask(index)
            assert np.abs(image[mask == 0].astype(int) - PLAIN_GREY).max() <= 1
            assert 0.1 < (mask > 127).mean() < 0.8


def test_expressions_keep_pose_and_camera_of_a_frame_of_the_clip(scene, folders):
    capture = read_capture(folders["expressions"])
    params = capture.parameters()
    assert len(capture.frames) == len(EXPRESSIONS)
    for index, frame in enumerate(capture.frames):
        of_clip = round(frame.timestamp * scene.fps)
        assert of_clip < 0.9 * FRAMES, "the clip's end is another split"
        for name in ("rotation", "translation", "eyes"):
            expected = getattr(scene.person.parameters, name)[of_clip]
            torch.testing.assert_close(getattr(params, name)[index], expected)
        np.testing.assert_allclose(frame.camera.world_from_cam, scene.camera.world_from_cam)
    widest = list(EXPRESSIONS).index("wide open")
    assert float(params.jaw[widest, 0]) == pytest.approx(EXPRESSIONS["wide open"][0])


@pytest.mark.parametrize("degrees", [15, 30, 45])
def test_views_turn_about_the_head_by_their_angle(scene, degrees):
    frames = view_frames(scene, degrees)
    assert {frame.name for frame in frames} == {"left", "right"}
    for frame in frames:
        captured = scene.camera_at(frame.index)
        turn = frame.camera.world_from_cam[:3, :3].T @ captured.world_from_cam[:3, :3]
        assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) == pytest.approx(degrees, abs=1e-6)
        assert (frame.camera.position[0] > captured.position[0]) == (frame.name == "left")  # the person's left is +x
        middle = torch.tensor(head_middle(scene.person.model, frame.params))
        before, after = (project(middle, camera)[0] for camera in (captured, frame.camera))
        torch.testing.assert_close(before, after, atol=1e-6, rtol=0)


def test_the_turn_between_the_cameras_is_written(scene, folders):
    folder = folders["view_30"]
    capture, described = read_capture(folder), json.loads((folder / "held_out.json").read_text())
    assert (described["kind"], described["degrees"]) == ("view", 30)
    for frame, item in zip(capture.frames, described["frames"], strict=True):
        clip_camera = scene.camera_at(round(frame.timestamp * scene.fps))
        expected = frame.camera.cam_from_world @ clip_camera.world_from_cam
        np.testing.assert_allclose(item["cam_from_clip_cam"], expected, atol=1e-9)


def test_pictures_fit_their_parameters_and_cameras(scene, folders):
    """The landmarks of the truth lie on the person, and the jaw has gone down where the mouth is open."""
    capture = read_capture(folders["view_30"])
    pixels, visible = capture.landmarks()
    for index in range(len(capture.frames)):
        x, y = pixels[index][visible[index]].astype(int).T
        assert (capture.read_mask(index)[y, x] > 127).mean() > 0.97
    opened = read_capture(folders["expressions"])
    wide, kiss = (list(EXPRESSIONS).index(name) for name in ("wide open", "kiss"))
    gaps = lip_distance(opened.landmarks()[0])
    assert gaps[wide] > 0.3
    assert gaps[kiss] < 0.1
    lips = opened.landmarks()[0][wide]
    x, y = ((lips[13] + lips[14]) / 2).astype(int)
    skin_x, skin_y = lips[4].astype(int)  # the tip of the nose
    image = opened.read_image(wide).astype(int)
    assert image[y, x].sum() < 0.7 * image[skin_y, skin_x].sum(), "it is dark inside"


@pytest.mark.slow
def test_before_a_moving_camera_the_room_is_shown_from_off_the_trajectory(tmp_path):
    scene = make_synthetic_scene(seed=2, size=64, frames=30, camera="moving")
    folder = {path.name: path for path in write_held_out(tmp_path, scene)}["room_15"]
    capture = read_capture(folder)
    assert json.loads((folder / "held_out.json").read_text())["kind"] == "room"
    azimuth = [np.degrees(np.arctan2(*pose[[0, 2], 3])) for pose in scene.path]
    for index, frame in enumerate(capture.frames):
        outside = capture.read_image(index)[capture.read_mask(index) == 0].astype(int)
        assert outside.std() > 15, "the room has texture"
        height = np.degrees(np.arcsin(frame.camera.position[1] / np.linalg.norm(frame.camera.position)))
        beyond = abs(np.degrees(np.arctan2(*frame.camera.position[[0, 2]]))) - np.abs(azimuth).max()
        assert max(height, beyond) > 3
