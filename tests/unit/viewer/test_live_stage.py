"""A live driver in the viewer, without one: pictures that come at will, and an avatar whose grey is the jaw."""

import dataclasses
import threading
import time

import numpy as np
import pytest
from view_parts import GreyAvatar, make_run, wait_for

from avatar.base.errors import InputError
from avatar.flame.library import load_head
from avatar.flame.model import HeadParameters
from avatar.media.live_sources import LivePicture
from avatar.viewer.live import LiveStage
from avatar.viewer.session import Session
from avatar.viewer.state import AT_REST, LIVE


@pytest.fixture(scope="module")
def head():
    return load_head()


class Source:
    """Gives `count` pictures, one each time `more` is set, or one each `pause` seconds."""

    name, size, fps = "a test", (8, 8), 25.0

    def __init__(self, count: int, pause: float = 0.0, error: Exception | None = None) -> None:
        self.count, self.pause, self.error, self.closed = count, pause, error, False

    def pictures(self, stopped):
        for number in range(self.count):
            if stopped.wait(self.pause):
                return
            yield LivePicture(number, number / 25, time.monotonic(), np.full((8, 8, 3), number, np.uint8))
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed = True


class Perform:
    """Opens the jaw by a hundredth a picture; the first `unknown` ones are not enough to know the driver."""

    note = ""

    def __init__(self, head, unknown: int = 0, seconds: float = 0.0) -> None:
        self.neutral = HeadParameters.neutral(head, 1)
        self.unknown, self.seconds, self.seen, self.renewed = unknown, seconds, [], 0
        self.entered, self.free = threading.Event(), threading.Event()
        self.free.set()

    def __call__(self, picture):
        self.entered.set()
        assert self.free.wait(20)
        time.sleep(self.seconds)
        self.seen.append(picture.number)
        if len(self.seen) <= self.unknown:
            return None
        jaw = self.neutral.jaw.clone()
        jaw[0, 0] = picture.number / 100
        return dataclasses.replace(self.neutral, jaw=jaw)

    def renew(self):
        self.renewed += 1


@pytest.fixture
def stage_of(head, tmp_path):
    opened = []

    def make(source, perform, seconds=0.0):
        session = Session(make_run(tmp_path / "run"), GreyAvatar(head, seconds))
        session.start()
        stage = LiveStage(session, source, perform)
        opened.append((session, stage))
        return stage

    yield make
    for session, stage in opened:
        assert stage.close()
        assert session.close()


def jaws(shown):
    return [round(float(image[0, 0, 0]) / 255 * 100) for _, image in shown]


def test_what_the_driver_does_is_shown_in_order_and_its_last_frame_too(stage_of, head):
    stage, shown = stage_of(Source(40, 0.01), Perform(head)), []
    stage.showed = lambda frame, image: shown.append((frame, image))
    stage.start()
    assert stage.ended.wait(20)
    numbers = [frame.number for frame, _ in shown]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 39
    assert jaws(shown) == numbers, "each picture is that of its own frame"
    figures = stage.delays.whole()
    assert figures.tracked + figures.dropped == 40
    assert stage.failure is None


def test_the_newest_picture_is_followed_and_the_others_are_counted(stage_of, head):
    perform = Perform(head)
    stage = stage_of(Source(30), perform)
    perform.free.clear()
    stage.start()
    assert perform.entered.wait(20)
    assert wait_for(lambda: stage._pictures.given == 30)
    perform.free.set()
    assert stage.ended.wait(20)
    assert perform.seen[-1] == 29
    assert len(perform.seen) <= 2, "the one that was held up, and the newest"
    assert stage.delays.whole().dropped + len(perform.seen) == 30


def test_slow_pictures_of_the_avatar_do_not_hold_the_tracking_up(stage_of, head):
    """Nor do they queue: what is shown is the newest when its drawing began."""
    perform = Perform(head)
    stage, shown = stage_of(Source(60, 0.01), perform, seconds=0.1), []
    stage.showed = lambda frame, image: shown.append((frame.number, len(perform.seen)))
    stage.start()
    assert stage.ended.wait(20)
    assert len(perform.seen) > 3 * len(shown)
    assert shown[-1][0] == 59
    figures = stage.delays.whole()
    # a picture takes 0.1 s; had they queued, the last ones would be seconds late
    assert figures.longest_delay < 2.0
    assert figures.shown == len(shown)


def test_pictures_before_the_driver_is_known_are_no_delay(stage_of, head):
    perform = Perform(head, unknown=3, seconds=0.05)
    stage = stage_of(Source(40, 0.01), perform)
    stage.start()
    assert wait_for(lambda: len(perform.seen) >= 2)
    assert stage.delays.whole().tracked == 0
    assert stage.ended.wait(20)
    figures = stage.delays.whole()
    assert stage.unused >= perform.seen[2] + 1
    assert figures.tracked + figures.dropped + stage.unused == 40
    assert stage.first_time == perform.seen[3] / 25


def test_a_source_that_fails_ends_it_with_its_error(stage_of, head):
    stage = stage_of(Source(5, 0.01, InputError("the camera gives no pictures any more")), Perform(head))
    stage.start()
    assert stage.ended.wait(20)
    assert "no pictures any more" in str(stage.failure)


def test_a_tracker_that_fails_ends_it_with_its_error(stage_of, head):
    class Broken(Perform):
        def __call__(self, picture):
            raise ValueError("no tracker")

    stage = stage_of(Source(1000, 0.01), Broken(head))
    stage.start()
    assert stage.ended.wait(20)
    assert str(stage.failure) == "no tracker"


def test_other_performances_can_be_looked_at_meanwhile(stage_of, head):
    stage, shown = stage_of(Source(10_000, 0.005), Perform(head)), []
    stage.showed = lambda frame, image: shown.append(frame.number)
    stage.start()
    assert wait_for(lambda: len(shown) > 3)
    stage.session.perform(AT_REST)
    assert wait_for(lambda: stage.session.worker.pictures and unchanged(shown))
    assert stage.delays.whole().tracked > 0
    stage.session.perform(LIVE)
    before = len(shown)
    assert wait_for(lambda: len(shown) > before + 3)


def unchanged(shown):
    before = len(shown)
    time.sleep(0.2)
    return len(shown) == before


def test_the_live_performance_is_not_for_the_record_button(stage_of, head):
    stage = stage_of(Source(3), Perform(head))
    stage.start()
    assert stage.ended.wait(20)
    with pytest.raises(InputError, match="nothing to record"):
        stage.session.record()


def test_closing_ends_every_thread_in_the_midst_of_it(stage_of, head):
    before = {thread.name for thread in threading.enumerate()}
    source = Source(10_000, 0.01)
    stage = stage_of(source, Perform(head))
    stage.start()
    assert wait_for(lambda: stage.delays.whole().tracked > 2)
    assert stage.close()
    assert source.closed
    assert stage.ended.is_set()
    assert stage.failure is None
    assert stage.session.close()
    assert {thread.name for thread in threading.enumerate()} <= before


def test_people_read_how_it_goes(stage_of, head):
    perform = Perform(head)
    perform.note = "no face is seen"
    stage, said = stage_of(Source(200, 0.01), perform), []
    stage.status_changed = said.append
    stage.start()
    assert stage.ended.wait(20)
    assert any("no face is seen; delay " in text and "a second followed" in text for text in said)
    assert len(said) < 20
