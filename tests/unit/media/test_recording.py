"""Recording what is shown at an uneven pace, and the virtual camera."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from avatar.base.errors import InputError, MissingDependencyError, OutputError
from avatar.media.recording import Recorder, fitted, steady
from avatar.media.video import has_synthetic_tag, probe_video, read_video
from avatar.media.virtual_camera import VirtualCamera


def test_pictures_are_repeated_until_the_next_is_due():
    pictures = [(2.0, "a"), (2.2, "b"), (2.21, "c"), (2.4, "d")]
    assert list(steady(pictures, 10.0)) == ["a", "a", "c", "c", "d"]
    assert list(steady([(7.0, "only")], 25.0)) == ["only"]
    assert list(steady([], 25.0)) == []


def test_a_long_recording_keeps_in_step_with_the_clock():
    pictures = [(number / 7.3, number) for number in range(1000)]
    frames = list(steady(pictures, 25.0))
    assert len(frames) == round(999 / 7.3 * 25) + 1
    shown = [pictures[number][0] for number in frames]
    assert all(time - 0.04 <= frame / 25.0 < time + 1 / 7.3 + 0.04 for frame, time in enumerate(shown))


def test_pictures_are_cut_or_filled_at_the_sides_to_one_size():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60] = 200  # what the captured view shows
    assert (fitted(image, 40, 40) == 200).all()
    assert fitted(image, 40, 20).shape == (20, 40, 3)
    narrow = fitted(np.full((40, 20, 3), 200, np.uint8), 40, 40)
    assert narrow.shape == (40, 40, 3)
    assert (narrow[:, 10:30] == 200).all()
    assert not narrow[:, :10].any()
    assert not narrow[:, 30:].any()
    assert fitted(np.zeros((64, 64, 3), np.uint8), 192, 192).shape == (192, 192, 3)


def test_a_recording_has_the_length_of_what_happened_and_the_tag(tmp_path):
    recorder = Recorder(tmp_path / "out.mp4", 25.0, (48, 32))
    for number in range(6):
        recorder.show(number * 0.2, np.full((24, 36, 3), 40 * number, np.uint8))
        assert recorder.failure is None
    assert recorder.close() == tmp_path / "out.mp4"
    info = probe_video(tmp_path / "out.mp4")
    assert (info.width, info.height, info.fps) == (48, 32, pytest.approx(25.0))
    assert has_synthetic_tag(tmp_path / "out.mp4")
    # pictures may be left out, but the last one is not, and time is kept
    frames = [image for _, image in read_video(tmp_path / "out.mp4")]
    assert len(frames) == recorder.frames <= 26
    assert abs(float(frames[-1].mean()) - 200) < 4


def test_without_a_picture_there_is_no_file(tmp_path):
    assert Recorder(tmp_path / "out.mp4", 25.0, (48, 32)).close() is None
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path):
    (tmp_path / "out.mp4").mkdir()
    recorder = Recorder(tmp_path / "out.mp4", 25.0, (48, 32))
    recorder.show(0.0, np.zeros((32, 48, 3), np.uint8))
    with pytest.raises(OutputError, match="cannot be written"):
        recorder.close()
    recorder.show(0.1, np.zeros((32, 48, 3), np.uint8))  # by then the drawing thread may not know yet
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert list((tmp_path / "out.mp4").iterdir()) == []


def test_a_virtual_camera_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(MissingDependencyError, match="pip install pyvirtualcam"):
        VirtualCamera((32, 32), 25.0)


def test_a_virtual_camera_needs_a_device(monkeypatch):
    def none(**options):
        raise RuntimeError("no device found")

    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=none))
    with pytest.raises(InputError, match=r"no virtual camera that is free[^$]*no device found"):
        VirtualCamera((32, 32), 25.0)


def test_a_virtual_camera_gets_pictures_of_its_size(monkeypatch):
    sent, closed = [], []

    def camera(**options):
        return SimpleNamespace(device="/dev/video9", send=sent.append, close=lambda: closed.append(options))

    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=camera))
    opened = VirtualCamera((48, 32), 30.0)
    opened.show(np.full((16, 40, 3), 9, np.uint8))
    opened.close()
    assert opened.device == "/dev/video9"
    assert [image.shape for image in sent] == [(32, 48, 3)]
    assert closed == [{"width": 48, "height": 32, "fps": 30.0}]
