from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from capture_parts import EXPRESSIONS, fake_head, make_parts

from avatar.base.errors import CaptureError, HeadModelError
from avatar.data.capture import read_capture, split_frames, write_capture


def edit_json(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def edit_arrays(path, **changes):
    with np.load(path) as data:
        values = dict(data)
    values.update(changes)
    np.savez(path, **{key: value for key, value in values.items() if value is not None})


# --- what is written is what is read -------------------------------------------------------------------------------


def test_everything_comes_back(capture_folder, parts):
    capture = read_capture(capture_folder, expect_head=fake_head())
    assert (capture.width, capture.height, capture.fps, capture.camera_mode) == (40, 32, 25.0, "static")
    assert (capture.head_name, capture.head_fingerprint) == ("fake-head", "f" * 64)
    for i in (0, 17, 29):
        np.testing.assert_array_equal(capture.read_image(i), parts.images[i])
        np.testing.assert_array_equal(capture.read_mask(i), parts.masks[i])
        read, written = capture.frames[i].camera, parts.cameras[i]
        np.testing.assert_allclose(read.world_from_cam, written.world_from_cam, atol=1e-12)
        assert (read.fl_x, read.fl_y, read.cx, read.cy) == (written.fl_x, written.fl_y, written.cx, written.cy)
        assert capture.frames[i].timestamp == parts.timestamps[i]
        assert capture.frames[i].timestep_index == i
    params = capture.parameters()
    for name in ("shape", "expr", "rotation", "translation", "neck", "jaw", "eyes", "static_offset"):
        assert torch.equal(getattr(params, name), getattr(parts.params, name)), name
    pixels, visible = capture.landmarks()
    np.testing.assert_array_equal(pixels, parts.landmarks)
    np.testing.assert_array_equal(visible, parts.visible)
    np.testing.assert_array_equal(capture.background(), parts.background)
    report = capture.report()
    assert report["frames_read"] == 31
    assert report["frames_used"] == 30
    assert report["landmark_error_iod"] is None
    assert report["focal_px"] == 50.0


def test_transform_matrix_on_disk_is_opengl(capture_folder, parts):
    frame = json.loads((capture_folder / "transforms.json").read_text())["frames"][4]
    matrix = np.array(frame["transform_matrix"])
    position = parts.cameras[4].world_from_cam[:3, 3]
    np.testing.assert_allclose(matrix[:3, 3], position, atol=1e-12)
    towards_origin = -position / np.linalg.norm(position)
    np.testing.assert_allclose(-matrix[:3, 2], towards_origin, atol=1e-9)  # an OpenGL camera looks along -z


def test_no_static_offset_and_no_background(tmp_path, parts):
    arguments = parts.arguments() | {"background": None}
    arguments["params"].static_offset = None
    capture = read_capture(write_capture(tmp_path / "c", **arguments))
    assert capture.background() is None
    assert capture.parameters().static_offset is None


def test_images_may_be_in_place_and_streamed(tmp_path, parts):
    folder = write_capture(tmp_path / "c", **parts.arguments() | {"images": iter(parts.images)})
    stamp = (folder / "images/00007.png").stat().st_mtime_ns
    write_capture(folder, **parts.arguments() | {"images": None, "masks": None})
    assert (folder / "images/00007.png").stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(read_capture(folder).read_image(7), parts.images[7])


# --- the split -----------------------------------------------------------------------------------------------------


def test_split_of_a_hundred_frames():
    splits = split_frames(100)
    assert splits["test"] == list(range(90, 100))
    assert splits["val"] == [9, 19, 29, 39, 49, 59, 69, 79, 89]
    assert sorted(splits["train"] + splits["val"] + splits["test"]) == list(range(100))


@pytest.mark.parametrize("count", [3, 4, 9, 11, 20, 57, 250])
def test_split_covers_and_never_overlaps(count):
    splits = split_frames(count)
    assert sorted(splits["train"] + splits["val"] + splits["test"]) == list(range(count))
    assert all(splits.values())
    assert 0 in splits["train"]
    assert max(splits["train"] + splits["val"]) < min(splits["test"])


# --- an interrupted write ------------------------------------------------------------------------------------------


def test_interrupted_write_never_looks_complete(tmp_path, parts):
    folder = tmp_path / "c"
    write_capture(folder, **parts.arguments())

    def breaking():
        yield from parts.images[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_capture(folder, **parts.arguments() | {"images": breaking()})
    assert not list(folder.glob("transforms*.json"))
    assert not list(folder.rglob("*.part*"))
    with pytest.raises(CaptureError, match="not a finished capture folder"):
        read_capture(folder)


@pytest.mark.parametrize("number", [29, 31])
def test_wrong_number_of_images(tmp_path, parts, number):
    images = [parts.images[0]] * number
    with pytest.raises(CaptureError, match="number of images"):
        write_capture(tmp_path / "c", **parts.arguments() | {"images": images})
    assert not (tmp_path / "c/transforms.json").exists()


def test_write_refuses_parameters_that_are_not_finite(tmp_path, parts):
    parts.params.jaw[7, 1] = float("nan")
    with pytest.raises(CaptureError, match="jaw is not finite"):
        write_capture(tmp_path / "c", **parts.arguments())


def test_write_refuses_parameters_of_another_size(tmp_path, parts):
    parts.params.expr = parts.params.expr[:, :-1]
    with pytest.raises(CaptureError, match="expr has the wrong shape"):
        write_capture(tmp_path / "c", **parts.arguments())


# --- reading is strict ---------------------------------------------------------------------------------------------


def test_another_head_model_names_both(capture_folder):
    with pytest.raises(HeadModelError) as caught:
        read_capture(capture_folder, expect_head=fake_head("flame2023", "a" * 64))
    message = str(caught.value)
    for part in ("flame2023", "aaaaaaaaaaaa", "fake-head", "ffffffffffff", "--head-model flame2023"):
        assert part in message


def test_another_version_of_the_head_model(capture_folder):
    with pytest.raises(HeadModelError, match="another version of the head model"):
        read_capture(capture_folder, expect_head=fake_head(fingerprint="0" * 64))


def test_unknown_schema_version(capture_folder):
    edit_json(capture_folder / "transforms.json", lambda v: v.update(schema_version=99))
    with pytest.raises(CaptureError, match=r"(?s)unknown schema_version.*expected: 1.*found: 99"):
        read_capture(capture_folder)


@pytest.mark.parametrize("name", ["images/00004.png", "fg_masks/00004.png", "flame_param/00004.npz"])
def test_a_missing_file_is_named_with_its_frame(capture_folder, name):
    (capture_folder / name).unlink()
    with pytest.raises(CaptureError, match=rf"(?s)frame 4.*{name}"):
        read_capture(capture_folder)


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "images/../../secret.png"])
def test_no_path_leaves_the_folder(capture_folder, path):
    (capture_folder.parent / "secret.png").write_bytes(b"x")
    edit_json(capture_folder / "transforms.json", lambda v: v["frames"][2].update(file_path=path))
    with pytest.raises(CaptureError, match="leaves its folder"):
        read_capture(capture_folder)


@pytest.mark.parametrize("name", ["images", "flame_param"])
def test_a_link_to_another_folder_is_named_with_what_to_do(capture_folder, name):
    elsewhere = (capture_folder / name).rename(capture_folder.parent / "elsewhere")
    (capture_folder / name).symlink_to(elsewhere)
    with pytest.raises(CaptureError, match="leaves its folder") as caught:
        read_capture(capture_folder)
    assert str(elsewhere) in str(caught.value)
    assert "where that is a link, put what it leads to in its place" in str(caught.value.fix)


@pytest.mark.parametrize("key", ["schema_version", "head_model", "camera_mode", "fps", "frames"])
def test_a_missing_key_is_named(capture_folder, key):
    edit_json(capture_folder / "transforms.json", lambda v: v.pop(key))
    with pytest.raises(CaptureError, match=key):
        read_capture(capture_folder)


@pytest.mark.parametrize("key", ["transform_matrix", "timestep_index", "timestamp", "flame_param_path"])
def test_a_missing_frame_key_is_named(capture_folder, key):
    edit_json(capture_folder / "transforms.json", lambda v: v["frames"][6].pop(key))
    with pytest.raises(CaptureError, match=rf"(?s){key}.*frame 6"):
        read_capture(capture_folder)


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, 0, 0]] * 4,
        np.diag([2.0, 2, 2, 1]).tolist(),
        np.diag([1.0, 1, -1, 1]).tolist(),
        [[1, 0], [0, 1]],
        "identity",
        np.full((4, 4), np.inf).tolist(),
    ],
)
def test_a_transform_that_is_not_rigid(capture_folder, matrix):
    edit_json(capture_folder / "transforms.json", lambda v: v["frames"][1].update(transform_matrix=matrix))
    with pytest.raises(CaptureError, match=r"transform_matrix"):
        read_capture(capture_folder)


@pytest.mark.parametrize("value", [0, -5, "wide", None, True])
def test_bad_focal_length(capture_folder, value):
    edit_json(capture_folder / "transforms.json", lambda v: v["frames"][1].update(fl_x=value))
    with pytest.raises(CaptureError, match="fl_x"):
        read_capture(capture_folder)


def test_damaged_json(capture_folder):
    (capture_folder / "transforms_val.json").write_text("{")
    with pytest.raises(CaptureError, match=r"transforms_val\.json"):
        read_capture(capture_folder)


def test_split_that_shares_a_frame(capture_folder):
    shared = json.loads((capture_folder / "transforms_train.json").read_text())["frames"][0]
    edit_json(capture_folder / "transforms_val.json", lambda v: v["frames"].append(shared))
    with pytest.raises(CaptureError, match=r"(?s)do not cover.*in several: \[0\]"):
        read_capture(capture_folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("w", 100_000), ("h", 0), ("w", -4), ("h", float("nan")), ("w", 10**400), ("fps", 1e9), ("fps", 1e-9), ("fps", 0)],
)
def test_numbers_beyond_reason(capture_folder, key, value):
    def change(values):
        values[key] = value
        for frame in values["frames"]:
            frame.pop(key, None)

    edit_json(capture_folder / "transforms.json", change)
    with pytest.raises(CaptureError, match=rf"the entry {key} is (out of range|not a number)"):
        read_capture(capture_folder)


def test_arrays_that_declare_more_than_they_hold(capture_folder):
    header, path = io.BytesIO(), capture_folder / "flame_param" / "00000.npz"
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**11, 52)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("expr.npy", header.getvalue())
    with pytest.raises(CaptureError, match=r"(?s)damaged.*00000\.npz.*100000000000"):
        read_capture(capture_folder).parameters()


def test_frames_out_of_order(capture_folder):
    edit_json(capture_folder / "transforms.json", lambda v: v["frames"].reverse())
    with pytest.raises(CaptureError, match="time order"):
        read_capture(capture_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jaw_pose": np.full((1, 3), np.nan)}, "jaw_pose is not finite"),
        ({"expr": np.zeros((1, 5))}, "expr has the wrong shape"),
        ({"expr": np.zeros(6)}, "expr has the wrong shape"),
        ({"eyes_pose": np.zeros((1, 3))}, "eyes_pose has the wrong shape"),
        ({"shape": np.zeros(3)}, "shape has the wrong shape"),
        ({"shape": np.zeros(4)}, "shape differs between frames"),
        ({"static_offset": np.zeros((1, 11, 3))}, "static_offset has the wrong shape"),
        ({"static_offset": None}, "static_offset differs between frames"),
        ({"rotation": None}, "array is missing"),
        ({"rotation": np.array([["a", "b", "c"]])}, "rotation has the wrong shape"),
        ({"neck_pose": np.array([[None, None, None]], dtype=object)}, "file is damaged"),
    ],
)
def test_bad_parameters_are_named_with_their_frame(capture_folder, change, message):
    edit_arrays(capture_folder / "flame_param/00005.npz", **change)
    capture = read_capture(capture_folder, expect_head=fake_head())
    with pytest.raises(CaptureError, match=rf"{message}.*00005\.npz, frame 5"):
        capture.parameters()


def test_sizes_are_checked_against_the_head(tmp_path, parts):
    capture = read_capture(write_capture(tmp_path / "c", **parts.arguments()), expect_head=fake_head())
    for i in range(30):
        edit_arrays(capture.folder / f"flame_param/{i:05d}.npz", expr=np.zeros((1, EXPRESSIONS + 1)))
    with pytest.raises(CaptureError, match="expr has the wrong shape"):
        capture.parameters()


class Bomb:
    def __reduce__(self):
        return (open, ("bomb-went-off", "w"))


def test_pickles_are_never_opened(capture_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = capture_folder / "flame_param/00000.npz"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CaptureError, match="damaged"):
        read_capture(capture_folder).parameters()
    np.savez(path, expr=np.array([Bomb()], dtype=object))
    with pytest.raises(CaptureError):
        read_capture(capture_folder).parameters()
    assert not (tmp_path / "bomb-went-off").exists()


def test_cut_files(capture_folder):
    capture = read_capture(capture_folder)
    for name, read in (
        ("images/00002.png", lambda: capture.read_image(2)),
        ("flame_param/00002.npz", capture.parameters),
        ("landmarks.npz", capture.landmarks),
    ):
        path = capture_folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(CaptureError, match=path.name):
            read()


def test_image_of_another_size(capture_folder, parts):
    from avatar.media.images import write_png

    write_png(capture_folder / "images/00002.png", parts.images[2][:-1])
    with pytest.raises(CaptureError, match=r"(?s)wrong size.*frame 2.*\(32, 40, 3\).*\(31, 40, 3\)"):
        read_capture(capture_folder).read_image(2)


def test_landmarks_are_checked(capture_folder, parts):
    np.savez(capture_folder / "landmarks.npz", pixels=parts.landmarks[:-1], visible=parts.visible)
    with pytest.raises(CaptureError, match="pixels has the wrong shape"):
        read_capture(capture_folder).landmarks()
    np.savez(capture_folder / "landmarks.npz", pixels=parts.landmarks, visible=np.ones_like(parts.visible))
    with pytest.raises(CaptureError, match="a visible landmark has no position"):
        read_capture(capture_folder).landmarks()


def test_not_a_capture(tmp_path):
    with pytest.raises(CaptureError, match="does not exist"):
        read_capture(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CaptureError, match=r"(?s)not a finished capture folder.*notes\.txt"):
        read_capture(tmp_path)


def test_parts_that_do_not_fit(tmp_path):
    parts = make_parts()
    with pytest.raises(CaptureError, match="cameras do not fit"):
        write_capture(tmp_path / "c", **parts.arguments() | {"cameras": parts.cameras[:-1]})
    with pytest.raises(CaptureError, match="landmarks do not fit"):
        write_capture(tmp_path / "c", **parts.arguments() | {"landmarks": parts.landmarks[:, :468]})
    with pytest.raises(CaptureError, match="camera_mode"):
        write_capture(tmp_path / "c", **parts.arguments() | {"camera_mode": "shaky"})
