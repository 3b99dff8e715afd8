"""A capture folder, and its export, hold what the readers of GaussianAvatars and VHAP ask of them, in their shapes.

The steps below are those of GaussianAvatars' scene/__init__.py, scene/dataset_readers.py and
scene/flame_gaussian_model.py, and of VHAP's vhap/data/nerf_dataset.py, done again in plain numpy.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from capture_parts import EXPRESSIONS, SHAPES, VERTICES, Parts

from avatar.data.capture import read_capture
from avatar.export.capture_copy import copy_capture
from avatar.media.images import read_png

PARAMETER_SHAPES = {
    "translation": (1, 3),
    "rotation": (1, 3),
    "neck_pose": (1, 3),
    "jaw_pose": (1, 3),
    "eyes_pose": (1, 6),
    "expr": (1, EXPRESSIONS),
    "shape": (SHAPES,),
    "static_offset": (1, VERTICES, 3),
}


@pytest.fixture(params=["written", "exported"])
def folder(request: pytest.FixtureRequest, capture_folder: Path, tmp_path: Path) -> Path:
    if request.param == "written":
        return capture_folder
    exported = copy_capture(read_capture(capture_folder), tmp_path / "exported")
    shutil.rmtree(capture_folder)  # nothing of it may be needed
    return exported


def gaussian_avatars_meshes(folder: Path, split: str) -> dict[int, dict[str, np.ndarray]]:
    """Timestep to parameters, as its reader of meshes collects them."""
    meshes: dict[int, dict[str, np.ndarray]] = {}
    for frame in json.loads((folder / f"transforms_{split}.json").read_text())["frames"]:
        if frame["timestep_index"] not in meshes:
            with np.load(folder / frame["flame_param_path"], allow_pickle=False) as data:
                meshes[frame["timestep_index"]] = dict(data)
    return meshes


def test_gaussian_avatars_knows_the_folder_for_one_with_a_head(folder: Path) -> None:
    """Without this file it would read a static scene, without a word."""
    with np.load(folder / "canonical_flame_param.npz") as data:
        arrays = dict(data)
    assert {key: value.shape for key, value in arrays.items()} == PARAMETER_SHAPES
    with np.load(folder / "flame_param" / "00007.npz") as data:
        np.testing.assert_array_equal(arrays["shape"], data["shape"])
        np.testing.assert_array_equal(arrays["static_offset"], data["static_offset"])
        assert np.abs(data["expr"]).max() > 0
    np.testing.assert_allclose(arrays["jaw_pose"], [[0.3, 0, 0]])
    assert not any(arrays[key].any() for key in ("translation", "rotation", "neck_pose", "eyes_pose", "expr"))


def test_gaussian_avatars_reads_the_cameras(folder: Path, parts: Parts) -> None:
    steps = []
    for split in ("train", "val", "test"):
        contents = json.loads((folder / f"transforms_{split}.json").read_text())
        assert contents["camera_angle_x"] > 0
        for frame in contents["frames"]:
            assert ".png" in frame["file_path"]  # or it appends it
            image = read_png(folder / frame["file_path"])
            assert (frame["w"], frame["h"]) == (image.shape[1], image.shape[0]) == (40, 32)
            step = frame["timestep_index"]
            np.testing.assert_array_equal(image, parts.images[step])
            camera_to_world = np.array(frame["transform_matrix"])
            camera_to_world[:3, 1:3] *= -1
            world_to_camera = np.linalg.inv(camera_to_world)
            np.testing.assert_allclose(world_to_camera, parts.cameras[step].cam_from_world, atol=1e-9)
            focal = frame["w"] / (2 * np.tan(frame["camera_angle_x"] / 2))
            assert focal == pytest.approx(parts.cameras[step].fl_x)
            assert "camera_id" in frame
            assert frame["camera_index"] == 0
            steps.append(step)
    assert sorted(steps) == list(range(30))


def test_gaussian_avatars_loads_the_meshes(folder: Path, parts: Parts) -> None:
    train, test = (gaussian_avatars_meshes(folder, split) for split in ("train", "test"))
    meshes = train | test
    count = max(meshes) + 1
    assert count == 30
    assert 0 in meshes  # the identity is taken from there
    offset = meshes[0]["static_offset"]
    padded = np.pad(offset, ((0, 0), (0, VERTICES + 5 - offset.shape[1]), (0, 0)))  # teeth are added to its mesh
    assert padded.shape == (1, VERTICES + 5, 3)
    assert (meshes[0]["shape"][None].shape, meshes[0]["expr"].shape[1]) == ((1, SHAPES), EXPRESSIONS)
    stacked = {key: np.zeros((count, *shape[1:])) for key, shape in PARAMETER_SHAPES.items() if shape[0] == 1}
    for step, mesh in meshes.items():
        assert {key: value.shape for key, value in mesh.items()} == PARAMETER_SHAPES
        assert all(value.dtype == np.float32 for value in mesh.values())
        for key in stacked:
            stacked[key][step] = mesh[key]
    named = {"jaw_pose": "jaw", "eyes_pose": "eyes", "neck_pose": "neck"}
    for key in ("translation", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "expr"):
        written = getattr(parts.params, named.get(key, key)).numpy()
        np.testing.assert_array_equal(stacked[key][sorted(meshes)], written[sorted(meshes)])


def test_vhap_reads_every_frame(folder: Path, parts: Parts) -> None:
    contents = json.loads((folder / "transforms.json").read_text())
    assert len(contents["timestep_indices"]) == max(contents["timestep_indices"]) + 1  # it refuses gaps
    assert contents["camera_indices"] == [0]
    for step, frame in enumerate(contents["frames"]):
        assert (frame["timestep_index"], frame["camera_index"]) == (step, 0)
        lens = np.eye(3)
        lens[[0, 1, 0, 1], [0, 1, 2, 2]] = [frame[key] for key in ("fl_x", "fl_y", "cx", "cy")]
        np.testing.assert_allclose(lens, parts.cameras[step].intrinsics())
        assert np.linalg.inv(np.array(frame["transform_matrix"])).shape == (4, 4)
        assert read_png(folder / frame["file_path"]).shape == (frame["h"], frame["w"], 3)
        np.testing.assert_array_equal(read_png(folder / frame["fg_mask_path"]), parts.masks[step])
        with np.load(folder / frame["flame_param_path"]) as data:
            assert {key: data[key].shape for key in data.files} == PARAMETER_SHAPES
