"""What people give as a driver: taken where it is clear what is meant, else what is taken is listed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avatar.animation.driver_files import TAKEN, find_driver, load_driver, read_parameter_file
from avatar.animation.options import DriverPart
from avatar.base.errors import ConfigError, HeadModelError, InputError
from avatar.base.limits import MOST_FRAMES
from avatar.flame.library import load_head


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture
def run(tmp_path) -> Path:
    """The files of a run that a driver is found by."""
    run = tmp_path / "me"
    for name in ("checkpoints/latest", "config.yaml", "capture/transforms.json", "capture/images/00000.png"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("")
    (run / "capture.json").write_text(json.dumps({"folder": "capture", "fingerprint": "0"}))
    (run / "capture" / "flame_param").mkdir()
    np.savez(run / "capture" / "flame_param" / "00000.npz", expr=np.zeros((1, 52), np.float32))
    np.savez(run / "capture" / "landmarks.npz", pixels=np.zeros((1, 478, 2)))
    return run


@pytest.mark.parametrize(
    "given", [".", "checkpoints", "capture", "capture/flame_param", "capture/flame_param/00000.npz", "capture/images"]
)
def test_a_run_and_what_lies_in_a_capture_mean_the_capture(run, given):
    assert find_driver(run / given) == run / "capture"
    assert find_driver(run / "capture" / "transforms.json") == run / "capture"
    with pytest.raises(ConfigError, match="for a driver that is a video"):
        find_driver(run / given, DriverPart(start=1.0))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.csv", ["a table without the columns of Live Link Face", "np.savez"]),
        ("a.TSV", ["a table"]),
        ("a.pkl", ["never read", "np.savez"]),
        ("a.pt", ["never read"]),
        ("a.npy", ["a NumPy array without a name", "np.savez('driver.npz', expr=np.load('a.npy'), fps=25)"]),
        ("a.jpg", ["a picture", "avatar capture --image", "--driver CAPTURE"]),
        ("a.PNG", ["a picture"]),
        ("folder", ["without a capture", "me.wav"]),
        ("me/capture/images/00000.png", ["a picture", "--driver", "me/capture"]),
        ("none.mp4", ["does not exist"]),
    ],
)
def test_what_drives_nothing_is_told_what_does(run, tmp_path, name, words):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "me.wav").write_bytes(b"")
    elif name != "none.mp4":
        path.write_bytes(b"1,2,3\n")
    with pytest.raises(InputError) as caught:
        find_driver(path)
    message = str(caught.value)
    for word in (*words, TAKEN, "what to do"):
        assert word in message
    assert "ffmpeg" not in message


def test_a_file_of_an_unknown_kind_is_told_what_does(head, tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"something\n" * 50)
    with pytest.raises(InputError, match="the driver cannot be read") as caught:
        load_driver(tmp_path / "a.xyz", head)
    assert TAKEN in str(caught.value)


def test_a_single_frame_may_leave_out_its_first_dimension(head, tmp_path):
    rng = np.random.default_rng(0)
    one = {
        "expr": head.expression_count,
        "jaw_pose": 3,
        "eyes_pose": 6,
        "neck_pose": 3,
        "rotation": 3,
        "translation": 3,
    }
    arrays = {key: rng.normal(size=length).astype(np.float32) for key, length in one.items()}
    np.savez(tmp_path / "flat.npz", **arrays)
    np.savez(tmp_path / "whole.npz", **{key: array[None] for key, array in arrays.items()})
    np.savez(tmp_path / "mixed.npz", **arrays | {"expr": arrays["expr"][None]})
    flat, whole, mixed = (read_parameter_file(tmp_path / f"{name}.npz", head) for name in ("flat", "whole", "mixed"))
    for name in ("expr", "jaw", "eyes", "neck", "rotation", "translation"):
        assert getattr(flat.params, name).shape[0] == 1
        assert (getattr(flat.params, name) == getattr(whole.params, name)).all()
        assert (getattr(mixed.params, name) == getattr(whole.params, name)).all()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"expr": np.float32(1)}, InputError, ["expr has the wrong shape", "[]"]),
        ({"expr": np.zeros((2, 3, 4))}, InputError, ["expr has the wrong shape", "[2, 3, 4]"]),
        ({"expr": np.zeros(7)}, HeadModelError, ["(1, 7)", "52 columns", "open-head"]),
        ({"expr": np.zeros(51)}, HeadModelError, ["(1, 51)", "52 columns"]),
        ({"expr": np.zeros((0, 52))}, InputError, ["expr has the wrong shape", "[0, 52]", "np.savez"]),
        ({"expr": np.full((2, 52), np.nan)}, InputError, ["not a finite number", "frame 0"]),
        ({"expr": np.array([["a"] * 52] * 2)}, InputError, ["expr does not hold numbers"]),
        ({"head_fingerprint": np.array("f00")}, HeadModelError, ["another head model"]),
        ({"jaw_pose": np.zeros(3)}, InputError, ["jaw_pose has the wrong shape", "(3,)", "2 rows of 3"]),
        ({"expr": np.zeros((MOST_FRAMES + 1, 52))}, InputError, ["length is out of range", "36,000"]),
        ({"fps": np.float32(np.nan)}, InputError, ["fps is out of range"]),
        ({"fps": np.float32(1e9)}, InputError, ["fps is out of range"]),
    ],
)
def test_the_shape_that_was_found_is_printed(head, tmp_path, changes, error, words):
    np.savez(tmp_path / "p.npz", **{"expr": np.zeros((2, 52), np.float32)} | changes)
    with pytest.raises(error) as caught:
        read_parameter_file(tmp_path / "p.npz", head)
    for word in (*words, "what to do"):
        assert word in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_a_file_without_arrays_is_told_how_to_be_made(head, tmp_path, content):
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(InputError, match="the parameter file cannot be read") as caught:
        read_parameter_file(tmp_path / "p.npz", head)
    assert "np.savez" in str(caught.value.fix)
    np.savez(tmp_path / "none.npz")
    with pytest.raises(InputError, match="has no expressions") as caught:
        read_parameter_file(tmp_path / "none.npz", head)
    assert "np.savez" in str(caught.value.fix)


def test_a_file_without_expressions_lists_what_it_has(head, run):
    with pytest.raises(InputError, match="has no expressions") as caught:
        read_parameter_file(run / "capture" / "landmarks.npz", head)
    assert "pixels [1, 478, 2]" in str(caught.value)
    assert f"--driver {run}/capture" in str(caught.value)
