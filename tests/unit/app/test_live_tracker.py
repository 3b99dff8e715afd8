"""The tracker's side of `avatar live`: the newest picture is followed, the first second calibrates, errors travel."""

import json
import queue
import threading
import time

import numpy as np
import pytest
import torch

from avatar.app import live_messages as messages
from avatar.app import live_tracker
from avatar.app.live_process import TrackerProcess
from avatar.app.live_tracker import Performer, follow, open_source, serve
from avatar.base.errors import AvatarError, InputError
from avatar.flame.library import load_head
from avatar.flame.model import HeadParameters
from avatar.media.live_sources import LivePicture
from avatar.media.video import write_video
from avatar.viewer.live import LiveHead
from capture_tools.live_driver import Followed


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    images = (np.full((48, 64, 3), 120, np.uint8) for _ in range(10))
    return write_video(tmp_path_factory.mktemp("flat") / "flat.mp4", images, 25.0, synthetic=True)


class Source:
    """Gives `count` pictures, one each `pause` seconds."""

    name, size, fps = "a test", (8, 8), 25.0

    def __init__(self, count: int, pause: float = 0.0, error: Exception | None = None) -> None:
        self.count, self.pause, self.error = count, pause, error

    def pictures(self, stopped):
        for number in range(self.count):
            if stopped.wait(self.pause):
                return
            yield LivePicture(number, number / 25, time.monotonic(), np.full((8, 8, 3), number, np.uint8))
        if self.error is not None:
            raise self.error


def picture(number):
    return LivePicture(number, number / 25, 0.0, np.full((8, 8, 3), number, np.uint8))


def test_the_newest_picture_is_followed_and_the_others_are_counted(head):
    neutral, seen = HeadParameters.neutral(head, 1), []

    def slow(picture):
        seen.append(picture.number)
        time.sleep(0.05)
        return neutral

    found = list(follow(Source(60, 0.005), slow, threading.Event()))
    assert seen == sorted(set(seen))
    assert seen[-1] == 59, "the last one is never left out"
    assert 2 <= len(seen) < 40
    assert found[-1][2] + len(seen) == 60
    # what was left out while a picture was followed is known with it
    assert all(dropped >= one.number - index for index, (one, _, dropped) in enumerate(found))


def test_a_source_that_fails_fails_the_following(head):
    with pytest.raises(InputError, match="unplugged"):
        list(follow(Source(3, 0.0, InputError("unplugged")), lambda picture: None, threading.Event()))


def test_it_stops_when_asked(head):
    stopped, count = threading.Event(), 0
    for _ in follow(Source(100_000, 0.002), lambda picture: None, stopped):
        count += 1
        if count == 3:
            stopped.set()
    assert count == 3


class Driver:
    """A driver who is known after `wanted` pictures; the jaw is a hundredth of the picture's grey."""

    def __init__(self, head, wanted: int) -> None:
        self.neutral, self.wanted, self.watched = HeadParameters.neutral(head, 1), wanted, []
        self.calibrated, self.cut, self.seen = False, False, True

    @property
    def seconds_watched(self):
        return len(self.watched) / 25

    def head(self, image):
        params = self.neutral.clone()
        params.jaw[0, 0] = float(image[0, 0, 0]) / 100
        return params

    def watch(self, time, image):
        if self.seen:
            self.watched.append(self.head(image))
        return len(self.watched) >= self.wanted

    def calibrate(self):
        self.calibrated = bool(self.watched)
        return HeadParameters.concatenate(self.watched) if self.watched else None

    def follow(self, time, image):
        return Followed(self.head(image), self.seen)


class Transfer:
    def __init__(self):
        self.neutrals = []

    def calibrate(self, watched):
        self.neutrals.append([round(100 * float(jaw)) for jaw in watched.jaw[:, 0]])

    def __call__(self, frame):
        return frame


def test_a_camera_is_watched_for_its_first_second_and_then_followed(head):
    transfer = Transfer()
    performer = Performer(Driver(head, 3), transfer, 25.0)
    assert [performer(picture(number)) for number in range(3)] == [None, None, None]
    assert transfer.neutrals == [[0, 1, 2]]
    assert float(performer(picture(7)).jaw[0, 0]) == pytest.approx(0.07)
    assert performer.note == ""


def test_people_are_told_what_to_do(head):
    driver = Driver(head, 3)
    performer = Performer(driver, Transfer(), 25.0)
    driver.seen = False
    performer(picture(0))
    assert performer.note == "no face is seen"
    driver.cut = True
    performer(picture(1))
    assert "cut by the picture's edge" in performer.note
    driver.seen = True
    performer(picture(2))
    assert "relaxed face" in performer.note


def test_a_new_neutral_is_that_of_the_last_second(head):
    driver, transfer = Driver(head, 1), Transfer()
    performer = Performer(driver, transfer, 4.0)
    performer(picture(0))
    for number in range(10, 20):
        performer(picture(number))
    driver.seen = False
    performer(picture(99))  # without a face it does not count
    performer.renew()
    performer(picture(21))
    performer(picture(22))
    assert transfer.neutrals == [[0], [16, 17, 18, 19]]


def test_a_file_calibrates_on_its_first_second_or_what_there_is(head, tmp_path):
    frames = [(number / 25, picture(number).image) for number in range(20)]
    for wanted, used in ((5, 5), (100, 20)):
        transfer = Transfer()
        Performer(Driver(head, wanted), transfer, 25.0).prepare(iter(frames), tmp_path / "a.mp4")
        assert transfer.neutrals == [list(range(used))]
    driver = Driver(head, 5)
    driver.seen = False
    with pytest.raises(InputError, match=r"no face was found in the driver[^$]*a\.mp4"):
        Performer(driver, Transfer(), 25.0).prepare(iter(frames), tmp_path / "a.mp4")
    driver.cut = True
    with pytest.raises(InputError, match="cut by the picture's edge in the whole driver"):
        Performer(driver, Transfer(), 25.0).prepare(iter(frames), tmp_path / "a.mp4")


def test_a_head_survives_the_way(head):
    params = HeadParameters.neutral(head, 1)
    params.expr[0, 3], params.eyes[0, 5] = 0.123456, -0.2
    sent = LiveHead(7, 0.28, 12.5, params, 3, 0.5, "no face is seen")
    got = messages.head_of(json.loads(messages.head_line(sent)))
    assert (got.number, got.time, got.captured, got.dropped, got.behind, got.note) == (
        *(7, 0.28, 12.5, 3, 0.5),
        "no face is seen",
    )
    assert all(torch.equal(getattr(got.params, name), getattr(params, name)) for name in messages.PER_FRAME)
    assert messages.head_of(json.loads(messages.head_line(LiveHead(0, 0.0, 0.0, None)))).params is None


@pytest.mark.parametrize(
    "error", [InputError("no", where="a.mp4", frame=3, expected="b", found=4, fix="c"), AvatarError("plain")]
)
def test_an_error_survives_the_way(error):
    got = messages.failure_of(json.loads(messages.failure_line(error)))
    assert (type(got), str(got)) == (type(error), str(error))


def test_a_fault_of_the_program_stays_one():
    got = messages.failure_of(json.loads(messages.failure_line(KeyError("x"))))
    assert not isinstance(got, AvatarError)
    assert "KeyError: 'x'" in str(got)
    odd = messages.failure_of({"type": "annotations", "what": "x"})
    assert isinstance(odd, RuntimeError)


class Lines:
    """What the program sends, as the tracker reads it: it waits for the next line until there is none any more."""

    def __init__(self):
        self.queue = queue.SimpleQueue()

    def __iter__(self):
        return iter(self.queue.get, None)


def test_the_conversation(head, monkeypatch):
    """Opened, told whom it moves, started, followed to the end."""
    monkeypatch.setattr(live_tracker, "open_source", lambda text, rotate: Closing(6))
    monkeypatch.setattr(live_tracker, "LiveDriver", lambda asset, width, height: Driver(head, 2))
    lines, sent = Lines(), []
    person = HeadParameters.neutral(head, 5)
    person.shape[3], person.static_offset = 0.5, torch.full(head.template.shape, 0.001)
    own = messages.numbers_of(person, shared=True)
    told = messages.params_of(json.loads(json.dumps(own)))
    assert all(torch.equal(getattr(told, name), getattr(person, name)) for name in vars(person))
    settings = {"transfer": "relative", "neutral": None, "gain": "", "head_motion": "still"}
    for kind, content in (
        (messages.AVATAR, {"head": "open-head", "own": own, "settings": settings}),
        (messages.START, {}),
    ):
        lines.queue.put(messages.line_of(kind, **content))
    serve("0", "auto", lines, lambda line: sent.append(json.loads(line)))
    kinds = [message["kind"] for message in sent]
    assert kinds[:2] == [messages.OPENED, messages.READY]
    assert kinds[-1] == messages.ENDED
    assert set(kinds[2:-1]) == {messages.HEAD}
    assert sent[0]["fps"] == 25.0
    assert sent[-2]["number"] == 5
    assert Closing.closed
    lines.queue.put(None)


class Closing(Source):
    closed = False

    def __init__(self, count):
        super().__init__(count, 0.01)

    def close(self):
        Closing.closed = True


@pytest.mark.parametrize("told", [[], [messages.line_of(messages.START)]])
def test_it_ends_where_the_program_is_gone(told, flat):
    lines, sent = Lines(), []
    for line in (*told, None):
        lines.queue.put(line)
    serve(str(flat), 0, lines, lambda line: sent.append(json.loads(line)["kind"]))
    assert sent == [messages.OPENED]


def test_what_a_source_is(flat):
    opened = open_source(str(flat), "auto")
    assert (opened.name, opened.size, opened.rotate) == (str(flat), (64, 48), 0)
    assert open_source(str(flat), 90).size == (48, 64)


def test_a_process_tells_its_source_and_ends(flat):
    tracker = TrackerProcess(str(flat), "auto")
    try:
        opened = tracker.open()
        assert (opened.name, opened.frames, opened.audio) == (str(flat), 10, False)
        assert opened.fps == pytest.approx(25.0)
    finally:
        tracker.close()
    assert tracker._process.returncode is not None
    tracker.close()
    tracker.renew()  # to nobody


def test_a_process_tells_what_is_wrong(tmp_path):
    tracker = TrackerProcess(str(tmp_path / "none.mp4"), "auto")
    with pytest.raises(InputError, match=r"none\.mp4"):
        tracker.open()
    tracker.close()
    assert tracker._process.returncode == 1


def test_a_process_that_dies_is_told(flat):
    tracker = TrackerProcess(str(flat), "auto")
    tracker.open()
    tracker._process.kill()
    with pytest.raises(RuntimeError, match="ended by itself"):
        list(tracker.heads())
    tracker.close()
