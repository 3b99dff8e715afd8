"""A live driver in the viewer, without one: pictures that come at will, and an avatar whose grey is the jaw."""

import dataclasses
import threading
import time

import pytest
from view_parts import GreyAvatar, make_run, wait_for

from avatar.animation.path_faces import AT_REST
from avatar.base.errors import InputError
from avatar.flame.library import load_head
from avatar.flame.model import HeadParameters
from avatar.viewer.live import LiveHead, LiveStage
from avatar.viewer.session import Session
from avatar.viewer.state import LIVE


@pytest.fixture(scope="module")
def head():
    return load_head()


class Tracker:
    """Gives a head each `pause` seconds whose jaw opens by a hundredth a picture; of the first `unknown` ones none."""

    name = "a test"

    def __init__(self, head, count, pause=0.0, *, unknown=0, dropped=0, note="", error=None) -> None:
        self.neutral = HeadParameters.neutral(head, 1)
        self.count, self.pause, self.unknown, self.dropped = count, pause, unknown, dropped
        self.note, self.error = note, error
        self.given, self.renewed = 0, 0
        self.closed = threading.Event()

    def heads(self):
        for number in range(self.count):
            if self.closed.wait(self.pause):
                return
            jaw = self.neutral.jaw.clone()
            jaw[0, 0] = number / 100
            params = None if number < self.unknown else dataclasses.replace(self.neutral, jaw=jaw)
            self.given += 1
            part = (number, number / 25, time.monotonic(), params, number * self.dropped, 0.0, self.note)
            yield LiveHead(*part)
        if self.error is not None:
            raise self.error

    def renew(self):
        self.renewed += 1

    def close(self):
        self.closed.set()


@pytest.fixture
def stage_of(head, tmp_path):
    opened = []

    def make(count, pause=0.0, seconds=0.0, **options):
        session = Session(make_run(tmp_path / "run"), GreyAvatar(head, seconds))
        session.start()
        stage = LiveStage(session, Tracker(head, count, pause, **options))
        opened.append((session, stage))
        return stage

    yield make
    for session, stage in opened:
        assert stage.close()
        assert session.close()


def jaws(shown):
    return [round(float(image[0, 0, 0]) / 255 * 100) for _, image in shown]


def test_what_the_driver_does_is_shown_in_order_and_its_last_frame_too(stage_of):
    stage, shown = stage_of(40, 0.01), []
    stage.showed = lambda frame, image: shown.append((frame, image))
    stage.start()
    assert stage.ended.wait(20)
    numbers = [frame.number for frame, _ in shown]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 39
    assert jaws(shown) == numbers, "each picture is that of its own frame"
    assert stage.delays.whole().tracked == 40
    assert stage.failure is None


def test_slow_pictures_of_the_avatar_do_not_hold_the_tracking_up(stage_of):
    """Nor do they queue: what is shown is the newest when its drawing began."""
    stage, shown = stage_of(60, 0.01, seconds=0.1), []
    stage.showed = lambda frame, image: shown.append((frame.number, stage.tracker.given))
    stage.start()
    assert stage.ended.wait(20)
    assert stage.tracker.given == 60 > 3 * len(shown)
    assert shown[-1][0] == 59
    figures = stage.delays.whole()
    assert figures.shown == len(shown)
    # one that was being drawn when the last one came: had they queued, it would be seconds late
    assert all(figures.delay < 2.0 for figures in (stage.delays.whole(), stage.delays.recent(time.monotonic())))


def test_what_is_left_out_is_counted_and_what_was_before_the_driver_was_known_apart(stage_of):
    stage = stage_of(20, unknown=5, dropped=3)
    stage.start()
    assert stage.ended.wait(20)
    figures = stage.delays.whole()
    assert (figures.tracked, figures.dropped) == (15, 15 * 3)
    assert stage.unused == 5 + 4 * 3
    assert stage.first_time == pytest.approx(5 / 25)


def test_a_tracker_that_fails_ends_it_with_its_error(stage_of):
    stage = stage_of(5, 0.01, error=InputError("the camera gives no pictures any more"))
    stage.start()
    assert stage.ended.wait(20)
    assert "no pictures any more" in str(stage.failure)


def test_the_first_failure_counts(stage_of):
    stage = stage_of(5)
    stage.fail(OSError("first"))
    stage.fail(OSError("second"))
    assert str(stage.failure) == "first"
    assert stage.ended.is_set()


def test_other_performances_can_be_looked_at_meanwhile(stage_of):
    stage, shown = stage_of(100_000, 0.005), []
    stage.showed = lambda frame, image: shown.append(frame.number)
    stage.start()
    assert wait_for(lambda: len(shown) > 3)
    stage.session.perform(AT_REST)
    assert wait_for(lambda: unchanged(shown))
    given = stage.tracker.given
    assert wait_for(lambda: stage.tracker.given > given + 3)
    stage.session.perform(LIVE)
    before = len(shown)
    assert wait_for(lambda: len(shown) > before + 3)


def unchanged(shown):
    before = len(shown)
    time.sleep(0.2)
    return len(shown) == before


def test_the_live_performance_is_not_for_the_record_button(stage_of):
    stage = stage_of(3)
    stage.start()
    assert stage.ended.wait(20)
    with pytest.raises(InputError, match="nothing to record"):
        stage.session.record()


def test_the_avatar_keeps_its_own_shape(stage_of):
    stage = stage_of(1)
    stage.session.painter.own.shape[:] = 0.25
    stage.start()
    assert stage.ended.wait(20)
    assert stage.session.store.state.live.params.shape.unique().tolist() == [0.25]


def test_closing_ends_the_thread_in_the_midst_of_it(stage_of):
    before = {thread.name for thread in threading.enumerate()}
    stage = stage_of(100_000, 0.01, seconds=0.5)
    stage.start()
    assert wait_for(lambda: stage.delays.whole().tracked > 2)
    assert stage.close()
    assert stage.tracker.closed.is_set()
    assert stage.ended.is_set()
    assert stage.failure is None
    assert stage.session.close()
    assert {thread.name for thread in threading.enumerate()} <= before


def test_people_read_how_it_goes(stage_of):
    stage, said = stage_of(200, 0.01, note="no face is seen"), []
    stage.status_changed = said.append
    stage.say("getting to know the driver's face")
    stage.start()
    assert stage.ended.wait(20)
    assert said[0] == "getting to know the driver's face"
    assert any("no face is seen; delay " in text and "a second followed" in text for text in said)
    assert len(said) < 20
