"""Held-out truth in an avatar's own world: cameras and parameters are carried over through the clip's frames."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avatar.base.errors import CaptureError, InputError
from avatar.base.files import write_json
from avatar.data.capture import read_capture
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, head_middle
from avatar.geometry.cameras import project
from avatar.synthetic import held_out
from avatar.synthetic.clip import make_synthetic_clip
from avatar.training.held_out import carry_over, find_held_out, match_frames, read_held_out

SIZE, FRAMES = 64, 20


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out, "VIEW_FRAMES", 2)
        make_synthetic_clip(folder, seed=1, size=SIZE, frames=FRAMES, held_out=True)
    return folder


@pytest.fixture(scope="module")
def avatar():
    """What carrying over asks of an avatar."""
    asset = load_head()
    return SimpleNamespace(asset=asset, head=HeadModel(asset), device=torch.device("cpu"))


@pytest.fixture
def truth(clip, avatar):
    return read_capture(clip / "truth", expect_head=avatar.asset)


def sets_of(clip, avatar, capture):
    return {folder.name: read_held_out(folder, avatar, capture) for folder in find_held_out(clip)}


@pytest.mark.parametrize("below", [".", "truth", "truth/held_out"])
def test_sets_are_found_from_the_clip_its_truth_or_their_own_folder(clip, below):
    assert [folder.name for folder in find_held_out(clip / below)] == ["expressions", "view_15", "view_30", "view_45"]
    assert [folder.name for folder in find_held_out(clip / "truth/held_out/view_15")] == ["view_15"]


def test_names_of_sets_stay_in_the_evaluation(clip, tmp_path, monkeypatch):
    """A set's name becomes a folder of the run: `.` and `..` have names too, and no set takes the place of another."""
    monkeypatch.chdir(clip / "truth/held_out/view_15")
    assert [folder.name for folder in find_held_out(Path("."))] == ["view_15"]
    assert "view_15" in [folder.name for folder in find_held_out(Path(".."))]
    for name in ("a/view_15", "b/view_15", "c/val"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "held_out.json").write_text("{}")
    for folder in (tmp_path, tmp_path / "c"):
        with pytest.raises(InputError, match="cannot be told apart"):
            find_held_out(folder)


@pytest.mark.parametrize("name", ["nothing", "."])
def test_a_folder_without_truth_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="no held-out truth"):
        find_held_out(tmp_path / name)


def test_the_truth_itself_is_carried_over_unchanged(clip, avatar, truth):
    for held in sets_of(clip, avatar, truth).values():
        pairs = list(match_frames(held, truth))
        assert len(pairs) == len(held.frames)
        for index, frame in pairs:
            params, camera = carry_over(held, index, avatar, truth, frame)
            expected = held.frames[index].camera
            np.testing.assert_allclose(camera.world_from_cam, expected.world_from_cam, atol=1e-6)
            assert (camera.fl_x, camera.cx, camera.width) == (expected.fl_x, expected.cx, expected.width)
            for name in ("expr", "jaw", "eyes", "rotation", "translation"):
                wanted = getattr(held.capture.parameters(), name)[index]
                torch.testing.assert_close(getattr(params, name)[0], wanted, msg=name)


def test_a_tracked_world_of_another_focal_length_crop_and_size(clip, avatar, truth, monkeypatch):
    """A tracker that took the lens for shorter put the head nearer, and its mesh a little beside the person: the person
    has to appear where it does in truth."""
    share, size, x0, y0, side, pixels = 0.7, 1.04, 6, 3, 50, 100
    beside = np.array([0.003, -0.002, 0.0])
    tracked = read_capture(clip / "truth", expect_head=avatar.asset)
    true_camera = truth.frames[0].camera
    cropped = true_camera.cropped(x0, y0, side, side).scaled(pixels, pixels)
    shorter = replace(cropped, fl_x=share * cropped.fl_x, fl_y=share * cropped.fl_y)
    tracked.frames = [replace(frame, camera=shorter) for frame in tracked.frames]
    tracked.width = tracked.height = pixels
    report = {"crop": {"x0": x0, "y0": y0, "side": side}, "video": {"width": SIZE, "height": SIZE}}
    monkeypatch.setattr(tracked, "report", lambda: report)
    true_params = truth.parameters()
    middles = np.stack([head_middle(avatar.head, true_params.select([i])) for i in range(FRAMES)])
    inside = middles @ true_camera.cam_from_world[:3, :3].T + true_camera.cam_from_world[:3, 3]
    axes, position = true_camera.world_from_cam[:3, :3], true_camera.world_from_cam[:3, 3]
    person = size * inside * (1, 1, share) @ axes.T + position  # behind the same pixels, where the shorter lens puts it
    moved = torch.from_numpy(person + beside @ axes.T - middles).float()
    tracked._parameters = replace(true_params, translation=true_params.translation + moved)
    for held in sets_of(clip, avatar, tracked).values():
        assert held.window == (x0, y0, side, side)
        for index, frame in match_frames(held, tracked):
            params, camera = carry_over(held, index, avatar, tracked, frame)
            assert (camera.width, camera.height) == (side, side)
            assert camera.fl_x == pytest.approx(share * true_camera.fl_x)
            assert torch.equal(params.translation[0], tracked.parameters().translation[frame])
            if held.kind == "expression":
                np.testing.assert_allclose(camera.world_from_cam, tracked.frames[frame].camera.world_from_cam)
                assert torch.equal(params.jaw[0], held.capture.parameters().jaw[index])
                continue
            true_middle = head_middle(avatar.head, held.capture.parameters().select([index]))
            true_pixel, _ = project(torch.tensor(true_middle), held.frames[index].camera)
            pixel, _ = project(torch.tensor(person[frame]), camera)
            torch.testing.assert_close(pixel, true_pixel - torch.tensor([x0, y0]), atol=1e-3, rtol=0)
            turn = camera.world_from_cam[:3, :3].T @ tracked.frames[frame].camera.world_from_cam[:3, :3]
            np.testing.assert_allclose(turn, held.cam_from_clip_cam[index][:3, :3], atol=1e-9)


def test_pictures_are_cut_as_the_capture_was(clip, avatar, truth, monkeypatch):
    report = {"crop": {"x0": -4, "y0": 8, "side": 40}, "video": {"width": SIZE, "height": SIZE}}
    monkeypatch.setattr(truth, "report", lambda: report)
    held = sets_of(clip, avatar, truth)["view_15"]
    assert held.window == (0, 8, 36, 40)
    np.testing.assert_array_equal(held.read_picture(2), held.capture.read_image(2)[8:48, 0:36])


def test_frames_the_capture_left_out_are_left_out(clip, avatar, truth):
    held = sets_of(clip, avatar, truth)["expressions"]
    gone = round(held.frames[0].timestamp * truth.fps)
    truth.frames.pop(gone)
    pairs = dict(match_frames(held, truth))
    assert 0 not in pairs
    assert len(pairs) == len(held.frames) - 1
    for index, frame in pairs.items():
        assert truth.frames[frame].timestamp == pytest.approx(held.frames[index].timestamp)


def test_another_clip_is_refused(clip, avatar, truth, monkeypatch):
    report = {"crop": {"x0": 0, "y0": 0, "side": 64}, "video": {"width": 640, "height": 480}}
    monkeypatch.setattr(truth, "report", lambda: report)
    with pytest.raises(InputError, match="not of the clip"):
        sets_of(clip, avatar, truth)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(kind="something"),
        lambda d: d["frames"].pop(),
        lambda d: d["frames"][0].update(cam_from_clip_cam=[[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
)
def test_damaged_descriptions_are_named(clip, avatar, truth, tmp_path, spoil):
    import shutil

    folder = tmp_path / "view_15"
    shutil.copytree(clip / "truth/held_out/view_15", folder)
    described = json.loads((folder / "held_out.json").read_text())
    spoil(described)
    write_json(folder / "held_out.json", described)
    with pytest.raises(CaptureError, match="held_out"):
        read_held_out(folder, avatar, truth)
