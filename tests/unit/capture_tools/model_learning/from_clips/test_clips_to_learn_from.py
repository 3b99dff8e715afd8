"""What cannot be learned from is refused in plain words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.base.errors import CaptureError, HeadModelError, InputError
from avatar.data.capture import write_capture
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from capture_tools.dense_landmarks.placing import place_dense_landmarks
from capture_tools.detect.selection import Crop
from capture_tools.model_learning.from_clips.reading import check_enough, find_captures, read_clips

WIDTH, HEIGHT, COUNT = 48, 40, 6


@pytest.fixture(scope="module")
def asset() -> HeadAsset:
    return load_head()


def capture(folder: Path, asset: HeadAsset, *, faces: bool = True) -> Path:
    """A capture of COUNT frames, of which the second has no face; yaw rises."""
    rng = np.random.default_rng(0)
    params = HeadParameters.neutral(asset, COUNT)
    params.rotation[:, 1] = 0.1 * torch.arange(COUNT)
    marks = rng.uniform(5, 35, (COUNT, 478, 2)).astype(np.float32)
    marks[1 if faces else slice(None)] = np.nan
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    return write_capture(
        folder,
        images=[np.full((HEIGHT, WIDTH, 3), 10 * i, np.uint8) for i in range(COUNT)],
        masks=[np.full((HEIGHT, WIDTH), 255, np.uint8)] * COUNT,
        cameras=Camera(WIDTH, HEIGHT, 60.0, 60.0, 20.0, 30.0, pose),
        params=params,
        asset=asset,
        fps=25,
        timestamps=[i / 25 for i in range(COUNT)],
        landmarks=marks,
        visible=np.isfinite(marks).all(-1),
        background=None,
        report={},
        camera_mode="static",
    )


def test_a_clip_holds_frames_with_a_face_about_the_principal_point(asset: HeadAsset, tmp_path: Path) -> None:
    folder = capture(tmp_path / "anna", asset)
    (clip,) = read_clips([folder], asset, 3)
    assert clip.name == "anna"
    assert clip.times.tolist() == pytest.approx([0, 3 / 25, 5 / 25])  # first, middle and last turn, without the second
    assert clip.pictures.images.shape == (3, WIDTH, WIDTH, 3)
    assert not clip.pictures.masks[:, HEIGHT:].any()
    # The principal point (20, 30) of the capture is the middle of the clip's frame.
    assert (clip.pictures.crop.x0 + 20, clip.pictures.crop.y0 + 30) == (clip.side / 2, clip.side / 2)
    assert clip.select([1]).landmarks.shape == (1, 478, 2)


def test_a_clip_has_dense_landmarks_in_its_frame(asset: HeadAsset, tmp_path: Path) -> None:
    """They are those of the capture's pictures, moved with the principal point."""
    (clip,) = read_clips([capture(tmp_path / "anna", asset)], asset, 3)
    corner = np.array([clip.pictures.crop.x0, clip.pictures.crop.y0])
    plain = Crop(0, 0, WIDTH, WIDTH)
    expected = place_dense_landmarks(asset, clip.pictures.images, plain, clip.landmarks - corner)
    assert clip.dense is not None
    assert expected is not None
    np.testing.assert_allclose(clip.dense.places - corner, expected.places, atol=1e-3)
    part = clip.select([1]).dense
    assert part is not None
    np.testing.assert_array_equal(part.places, clip.dense.places[1:2])
    np.testing.assert_array_equal(part.deviation, clip.dense.deviation[1:2])


def test_captures_that_cannot_be_used_are_refused(asset: HeadAsset, tmp_path: Path) -> None:
    folder = capture(tmp_path / "anna", asset)
    with pytest.raises(InputError, match="named twice"):
        find_captures([folder, tmp_path / "." / "anna"])
    with pytest.raises(HeadModelError, match="another"):
        read_clips([folder], replace(asset, name="other", fingerprint="0" * 64), 3)
    with pytest.raises(CaptureError, match="no frame of the capture has landmarks"):
        read_clips([capture(tmp_path / "nobody", asset, faces=False)], asset, 3)
    (folder / "images" / "00003.png").unlink()
    with pytest.raises(CaptureError, match="missing"):
        read_clips([folder], asset, 3)


def test_too_few_captures_are_refused() -> None:
    check_enough(5, 4, 4)
    with pytest.raises(InputError, match="too few captures"):
        check_enough(2, 1, 1)
    with pytest.raises(InputError, match="fewer captures than directions") as told:
        check_enough(5, 5, 2)
    assert "--directions 4" in str(told.value)
    with pytest.raises(InputError, match="--albedo-directions 4"):
        check_enough(5, 2, 9)
