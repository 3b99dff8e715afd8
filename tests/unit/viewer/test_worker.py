"""The thread that draws: the newest request wins, sizes follow the pace, nothing outlives it."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from view_parts import wait_for

from avatar.viewer.player import Player
from avatar.viewer.quality import Quality
from avatar.viewer.state import Store, ViewState
from avatar.viewer.worker import RenderWorker

STATE = ViewState(np.eye(4), 0.7)


class Recorder:
    """Draws nothing, remembers what it was asked for, and can be held in the midst of a picture."""

    def __init__(self):
        self.asked, self.shown, self.pages, self.errors = [], [], [], []
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Event()

    def draw(self, state, height, between):
        self.asked.append((state.frame, height))
        self.entered.set()
        if state.frame == -1:
            raise ValueError("no such frame")
        while not self.free.is_set():
            between()
            time.sleep(0.002)
        return np.zeros((height, height, 3), np.uint8)

    def show(self, state, image, full):
        self.shown.append((image.shape[0], full))
        self.pages.append(state.page)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def worker(recorder):
    worker = RenderWorker(recorder.draw, recorder.show, Quality(256), recorder.errors.append)
    worker.start()
    yield worker
    assert worker.close()


def frame(number):
    return replace(STATE, frame=number)


def test_the_newest_request_wins(recorder, worker):
    recorder.free.clear()
    worker.submit(frame(0))
    assert recorder.entered.wait(5)
    for number in range(1, 20):
        worker.submit(frame(number))
    recorder.free.set()
    assert wait_for(lambda: recorder.shown[-1:] == [(256, True)])
    assert recorder.asked == [(0, 128), (19, 128), (19, 256)]


def test_full_size_comes_when_nothing_moves_any_more(recorder, worker):
    worker.submit(frame(1))
    assert wait_for(lambda: len(recorder.shown) == 2)
    assert recorder.shown == [(128, False), (256, True)]
    assert worker.pictures == 2


def test_a_full_picture_is_given_up_for_a_new_request(recorder, worker):
    worker.submit(frame(1))
    assert wait_for(lambda: len(recorder.shown) == 1)
    recorder.free.clear()
    assert wait_for(lambda: recorder.asked[-1] == (1, 256))
    worker.submit(frame(2))
    assert wait_for(lambda: recorder.asked[-1] == (2, 128))
    recorder.free.set()
    assert wait_for(lambda: recorder.shown[-1] == (256, True))
    assert recorder.asked == [(1, 128), (1, 256), (2, 128), (2, 256)]


def test_an_error_is_told_and_the_thread_goes_on(recorder, worker):
    worker.submit(frame(-1))
    assert wait_for(lambda: recorder.errors)
    worker.submit(frame(3))
    assert wait_for(lambda: recorder.shown)
    assert [str(error) for error in recorder.errors] == ["no such frame"]


def test_jobs_run_in_turn(recorder, worker):
    done = []
    for number in range(3):
        worker.post(lambda number=number: done.append((number, threading.current_thread().name)))
    assert wait_for(lambda: len(done) == 3)
    assert done == [(number, "avatar-viewer") for number in range(3)]


def test_it_ends_in_the_midst_of_a_picture(recorder):
    worker = RenderWorker(recorder.draw, recorder.show, Quality(256), recorder.errors.append)
    worker.start()
    recorder.free.clear()
    worker.submit(frame(0))
    assert recorder.entered.wait(5)
    began = time.monotonic()
    assert worker.close()
    assert time.monotonic() - began < 1
    assert (recorder.shown, recorder.errors) == ([], [])


def test_a_tick_is_called_as_often_as_it_asks(recorder):
    times = []

    def tick(now):
        times.append(now)
        return 0.02

    worker = RenderWorker(recorder.draw, recorder.show, Quality(256), recorder.errors.append, tick)
    worker.start()
    assert wait_for(lambda: len(times) > 5)
    assert worker.close()


def test_the_store_announces_in_order():
    seen = []
    store = Store(STATE, lambda state: seen.append(state.frame))
    store.update(frame=1)
    store.update(frame=2)
    store.set_amount("jawOpen", 0.5)
    assert seen == [1, 2, 2]
    assert store.state.amounts == {"jawOpen": 0.5}
    assert store.set_amount("jawOpen", 0.0).amounts == {}
    assert STATE.frame == 0


def test_sizes_fall_where_pictures_are_slow_and_rise_where_they_are_fast():
    quality = Quality(256)
    assert quality.moving == 128
    quality.took(128, 0.5)
    assert quality.moving == 128, "one slow picture may be another program's doing"
    quality.took(128, 0.5)
    assert quality.moving == 112
    for _ in range(20):
        quality.took(quality.moving, 1.0)
    assert quality.moving == 64
    for _ in range(40):
        quality.took(quality.moving, 0.001)
    assert quality.moving == 256


def test_sizes_settle_where_five_pictures_a_second_are_made():
    quality = Quality(512)
    for _ in range(50):
        quality.took(quality.moving, 0.15 * (quality.moving / 128) ** 2)
    assert quality.moving == 128


@pytest.mark.parametrize("at_rest", [40, 64, 100])
def test_moving_pictures_are_never_larger_than_those_at_rest(at_rest):
    quality = Quality(at_rest)
    for _ in range(20):
        assert quality.moving <= at_rest
        quality.took(quality.moving, 0.0)


def test_playing_goes_by_the_clock():
    player = Player()
    assert player.at(5.0) == (None, None)
    player.start(10.0, 0, 50, 25.0, loop=False)
    assert player.at(10.0) == (0, pytest.approx(0.04))
    assert player.at(11.01)[0] == 25
    assert player.at(13.0) == (49, None)
    assert not player.is_playing


def test_a_loop_begins_again():
    player = Player()
    player.start(0.0, 49, 50, 25.0, loop=True)
    assert player.at(0.0)[0] == 0, "from the last frame on it starts from the first"
    assert player.at(2.02)[0] == 0
    assert player.at(3.02)[0] == 25
    player.stop()
    assert player.at(4.0) == (None, None)
