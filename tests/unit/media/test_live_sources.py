"""Live sources: a file runs by the clock, a camera gives what it has, and what is absent is told."""

import threading

import numpy as np
import pytest

from avatar.base.errors import InputError
from avatar.media import live_sources
from avatar.media.live_sources import CameraSource, FileSource, camera_number, cameras
from avatar.media.video import write_video

FPS = 100.0


@pytest.fixture
def clip(tmp_path):
    images = (np.full((16, 24, 3), 10 * number, np.uint8) for number in range(12))
    return write_video(tmp_path / "clip.mp4", images, FPS, synthetic=True)


class Clock:
    """A clock that goes by a given number of seconds each time it is read, and a wait that takes no time."""

    def __init__(self, step: float) -> None:
        self.now, self.step, self.waits = 0.0, step, []

    def __call__(self) -> float:
        self.now += self.step
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return False


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("12", 12), ("/dev/video2", 2), ("clip.mp4", None), ("0.mp4", None), ("-1", None)]
)
def test_what_a_source_means(text, number):
    assert camera_number(text) == number


def test_a_file_is_played_at_its_own_rate(clip):
    clock = Clock(0.001)
    source = FileSource(clip, clock=clock)
    pictures = list(source.pictures(clock))
    assert (source.size, source.fps, source.has_audio) == ((24, 16), pytest.approx(FPS), False)
    assert [picture.number for picture in pictures] == list(range(12))
    times = np.array([picture.time for picture in pictures])
    np.testing.assert_allclose(times, np.arange(12) / FPS, atol=1e-4)
    # they happen when they are due, whatever the reading takes
    np.testing.assert_allclose(np.array([p.captured for p in pictures]) - times, pictures[0].captured, atol=1e-9)
    assert clock.now - pictures[0].captured == pytest.approx(11 / FPS, abs=1e-3)
    assert source.behind == 0.0
    assert [int(picture.image.mean()) for picture in pictures] == pytest.approx(list(range(0, 120, 10)), abs=3)


def test_a_short_pause_is_caught_up_with(clip):
    clock = Clock(0.001)
    source = FileSource(clip, clock=clock)
    late = []
    for picture in source.pictures(clock):
        late.append(clock.now - picture.captured)
        if picture.number == 3:
            clock.now += 0.05
    assert late[4] > 0.03
    assert max(late[-2:]) < 0.01, "nothing of it is left at the end"
    assert source.behind == 0.0


def test_a_file_that_cannot_be_read_fast_enough_runs_slower_and_lateness_does_not_add_up(clip):
    clock = Clock(0.06)
    source = FileSource(clip, clock=clock)
    late = [clock.now - picture.captured for picture in source.pictures(clock)]
    assert max(late) <= live_sources.LATEST
    assert source.behind > 0.2


def test_a_file_stops_when_asked(clip):
    stopped = threading.Event()
    pictures = FileSource(clip).pictures(stopped)
    next(pictures)
    stopped.set()
    assert list(pictures) == []


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "a.mp4").write_text("no")
    with pytest.raises(InputError, match=r"a\.mp4"):
        FileSource(tmp_path / "a.mp4")


class FakeCapture:
    """As OpenCV's, of a camera that gives a few pictures, blue first."""

    released = 0

    def __init__(self, pictures: int = 4, opens: bool = True, rate: float = 30.0) -> None:
        self.left, self.opens, self.rate = pictures, opens, rate

    def isOpened(self):
        return self.opens

    def read(self):
        if self.left == 0:
            return False, None
        self.left -= 1
        image = np.zeros((12, 20, 3), np.uint8)
        image[..., 0] = 200
        return True, image

    def get(self, what):
        return self.rate

    def release(self):
        FakeCapture.released += 1


@pytest.fixture
def machine(monkeypatch):
    """A machine with camera 1 alone; give the capture that OpenCV opens."""
    import cv2

    FakeCapture.released = 0
    monkeypatch.setattr(live_sources, "cameras", lambda: [1])

    def having(capture):
        monkeypatch.setattr(cv2, "VideoCapture", lambda number: capture)

    return having


def test_a_camera_gives_rgb_pictures_with_times_and_its_end_is_an_error(machine):
    machine(FakeCapture(pictures=4))
    source = CameraSource(1)
    assert (source.size, source.fps, source.name) == ((20, 12), 30.0, "camera 1")
    pictures = []
    with pytest.raises(InputError, match="gives no pictures any more"):
        pictures.extend(source.pictures(threading.Event()))
    pictures = []
    machine(FakeCapture(pictures=4))
    source = CameraSource(1, rotate=90)
    assert source.size == (12, 20)
    stopped = threading.Event()
    for picture in source.pictures(stopped):
        pictures.append(picture)
        if len(pictures) == 3:
            stopped.set()
    assert [picture.number for picture in pictures] == [0, 1, 2]
    assert pictures[0].time == 0.0
    assert pictures[0].captured <= pictures[1].captured
    assert pictures[0].image[3, 3].tolist() == [0, 0, 200]
    source.close()
    assert FakeCapture.released == 1


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e6])
def test_a_rate_that_cannot_be_is_taken_as_the_usual_one(machine, rate):
    machine(FakeCapture(rate=rate))
    assert CameraSource(1).fps == 25.0


def test_a_camera_that_is_not_there(machine):
    machine(FakeCapture())
    with pytest.raises(InputError, match=r"no such camera \(--source 0\)[^$]*found: 1"):
        CameraSource(0)


def test_a_camera_that_another_program_has(machine):
    machine(FakeCapture(opens=False))
    with pytest.raises(InputError, match="no such camera"):
        CameraSource(1)
    machine(FakeCapture(pictures=0))
    with pytest.raises(InputError, match=r"gives no picture \(camera 1\)"):
        CameraSource(1)
    assert FakeCapture.released == 2, "it is given back"


def test_no_camera_at_all_prints_nothing_of_opencv(capfd):
    if cameras() != []:
        pytest.skip("this machine has a camera, or does not tell")
    with pytest.raises(InputError, match="found: none"):
        CameraSource(0)
    assert capfd.readouterr().err == ""
