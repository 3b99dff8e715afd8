"""A clip that lies on its side, or upside down, is set upright by its faces, in every pass and in no good clip."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from painted_clip import PaintedClip

from avatar.base.errors import InputError, OutputError
from avatar.flame.assets import HeadAsset
from avatar.media.video import probe_video, read_video, write_video
from capture_tools.detect.observing import observe
from capture_tools.detect.selection import select_frames
from capture_tools.detect.turning import chosen_rotation, turned_note, upright_rotation
from capture_tools.driver import track_driver
from capture_tools.pipeline import capture
from capture_tools.settings import CaptureSettings
from capture_tools.stages import tracking as fitting
from capture_tools.track.clip_tracking import TrackSettings

QUICK = TrackSettings(rigid_steps=60, face_steps=120, offset_steps=60)


def lying(path: Path, images: list[np.ndarray], degrees: int) -> Path:
    """A clip whose frames have to be turned by so many degrees clockwise; its file says nothing of it."""
    stored = [np.ascontiguousarray(np.rot90(image, degrees // 90)) for image in images]
    return write_video(path, stored, 25, synthetic=True)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_faces_tell_which_way_is_up(painted: PaintedClip, tmp_path: Path, degrees: int) -> None:
    video = lying(tmp_path / "clip.mp4", painted.images, degrees)
    _, selection = select_frames(video)
    assert chosen_rotation(video, selection) == degrees
    assert chosen_rotation(video, selection, 0) == 0
    assert chosen_rotation(video, selection, 90) == 90
    assert probe_video(video, rotate=degrees).width == 320
    _, image = next(read_video(video, rotate=degrees))
    assert np.abs(image.astype(int) - painted.images[0]).mean() < 4


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_one_picture_is_enough(painted: PaintedClip, degrees: int) -> None:
    assert upright_rotation([np.rot90(painted.images[3], degrees // 90)]) == degrees


def test_what_does_not_tell_is_left_alone(painted: PaintedClip) -> None:
    assert upright_rotation([painted.wall] * 5) == 0
    assert upright_rotation([]) == 0
    tilt = cv2.getRotationMatrix2D((160, 120), 42, 1)
    assert upright_rotation([cv2.warpAffine(image, tilt, (320, 240)) for image in painted.images[::4]]) == 0
    sides = [np.rot90(image, 1 if i % 2 else 3) for i, image in enumerate(painted.images[::4])]
    assert upright_rotation(sides) == 0  # they do not agree


def test_another_angle_is_refused(painted_video: Path, head: HeadAsset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--rotate is unknown"):
        capture(painted_video, tmp_path / "out", CaptureSettings(rotate=45))
    with pytest.raises(InputError, match="--rotate is unknown"):
        track_driver(painted_video, head, rotate="left")


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.slow
def test_a_driver_is_set_upright(painted: PaintedClip, head: HeadAsset, tmp_path: Path, live: bool) -> None:
    video = lying(tmp_path / "clip.mp4", painted.images, 180)
    found = track_driver(video, head, settings=QUICK, live=live)
    assert found.notes == tuple(turned_note(180, "driver"))
    assert np.corrcoef(found.params.rotation[:, 1], painted.params.rotation[:, 1])[0, 1] > 0.97
    assert np.nanmean(found.landmarks[:, 10, 1]) < np.nanmean(found.landmarks[:, 152, 1])  # the brow above the chin


@pytest.mark.slow
def test_a_dark_clip_on_its_side_whose_face_leaves(painted: PaintedClip, tmp_path: Path, monkeypatch) -> None:
    """All of it is said, in the report and to the user, and the frames with half a face are left out by name."""
    from avatar.app.cli import main

    images = [np.rint(0.35 * image).astype(np.uint8) for image in painted.images]
    for row in range(12, 16):
        images[row] = np.concatenate([images[row][:, 150:], np.rint(0.35 * painted.wall[:, :150])], 1).astype(np.uint8)
    video, out = lying(tmp_path / "clip.mp4", images, 90), tmp_path / "capture"
    original = fitting.track
    monkeypatch.setattr(fitting, "track", lambda *a, **k: original(*a[:5], QUICK, a[6], **k))
    assert main(["capture", str(video), "--out", str(out), "--size", "128", "--no-photometric"]) == 0
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["video"] | {"width": 320, "height": 240, "rotate": 90} == report["video"]
    assert {entry["frame"] for entry in report["frames_dropped"]} == {12, 13, 14, 15}
    assert all("by the picture's edge" in entry["reason"] for entry in report["frames_dropped"])
    assert report["landmark_error_iod"] < 0.03
    words = "\n".join(report["warnings"])
    for part in ("lies on its side", "the face is very dark", "cut by the picture's edge: 12-15"):
        assert part in words
    settings = CaptureSettings(size=128, photometric=False)
    assert capture(video, out, settings) == out
    with pytest.raises(OutputError, match="another capture"):
        capture(video, out, CaptureSettings(size=128, photometric=False, rotate=0))


def test_without_a_turn_the_face_lies(painted: PaintedClip, tmp_path: Path) -> None:
    """What a user asks for is done: with 0 the landmarks lie on their side."""
    video = lying(tmp_path / "clip.mp4", painted.images[:4], 90)
    seen = observe(video, select_frames(video)[1])
    brow, chin = seen.faces[0, 10, :2], seen.faces[0, 152, :2]
    assert abs(chin[0] - brow[0]) > 3 * abs(chin[1] - brow[1])
