"""Several open pages: each has its own camera, everything else is shared."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from view_parts import any_pose, wait_for

from avatar.animation.path_files import View
from avatar.viewer.quality import Quality
from avatar.viewer.state import Store, ViewState
from avatar.viewer.worker import RenderWorker

FIRST = ViewState(np.eye(4), 0.7)
ASIDE, ABOVE = View(any_pose(1), 0.5, 1.2), View(any_pose(2), 0.6, 1.5)


@pytest.fixture
def announced():
    return []


@pytest.fixture
def store(announced):
    return Store(FIRST, announced.append)


def test_a_camera_is_its_pages_own(store, announced):
    store.enter(1, 1.2)
    store.move(1, ASIDE)
    store.enter(2, 1.5)
    announced.clear()
    store.move(2, ABOVE)
    assert [(state.page, state.fov) for state in announced] == [(2, 0.6)]
    announced.clear()
    store.set_amount("jawOpen", 0.5)
    seen = {state.page: state for state in announced}
    assert {page: (state.fov, state.aspect) for page, state in seen.items()} == {1: (0.5, 1.2), 2: (0.6, 1.5)}
    assert all(state.amounts == {"jawOpen": 0.5} for state in announced)
    assert np.array_equal(seen[1].world_from_cam, ASIDE.world_from_cam)


def test_the_page_used_last_leads(store, announced):
    for page, view in ((1, ASIDE), (2, ABOVE)):
        store.enter(page, 1.0)
        store.move(page, view)
    assert (store.state.page, store.state.fov) == (2, 0.6)
    announced.clear()
    store.lead(1)
    assert (store.state.page, store.state.fov) == (1, 0.5)
    assert announced == [], "it looks as before"
    store.update(fov=0.9)
    assert [(state.page, state.fov) for state in announced] == [(1, 0.9)]
    store.lead(2)
    assert store.state.fov == 0.6


def test_a_page_opened_again_goes_on_where_it_was(store):
    store.enter(1, 1.2)
    store.move(1, ASIDE)
    store.leave(1)
    assert store.state.page is None
    again = store.enter(2, 2.0)
    assert (again.fov, again.aspect) == (0.5, 2.0)
    assert np.array_equal(again.world_from_cam, ASIDE.world_from_cam)


def test_a_page_that_is_closed_leaves_the_others_alone(store, announced):
    store.enter(1, 1.2)
    store.move(1, ASIDE)
    store.enter(2, 1.5)
    store.move(2, ABOVE)
    announced.clear()
    store.leave(2)
    assert (store.state.page, store.state.fov) == (1, 0.5)
    store.move(2, ABOVE)
    store.lead(2)
    assert (store.state.page, announced) == (1, []), "what a closed page still says is not heard"


def test_while_no_page_is_open_the_picture_is_nobodys(store, announced):
    store.update(fov=0.4)
    store.refresh()
    assert [state.page for state in announced] == [None, None]


def test_everything_is_drawn_again_for_all(store, announced):
    store.enter(1, 1.0)
    store.enter(2, 1.0)
    announced.clear()
    store.refresh()
    assert sorted(state.page for state in announced) == [1, 2]


def test_the_worker_draws_each_pages_newest_state_in_turn():
    shown, free = [], threading.Event()

    def draw(state, height, between):
        free.wait(10)
        return np.zeros((height, height, 3), np.uint8)

    worker = RenderWorker(
        draw, lambda state, image, full: shown.append((state.page, state.frame, full)), Quality(256), print
    )
    worker.start()
    worker.submit(replace(FIRST, page=3))
    assert wait_for(lambda: not worker._pending)
    for frame in (1, 2):
        for page in (1, 2):
            worker.submit(replace(FIRST, page=page, frame=frame))
    worker.submit(replace(FIRST, page=4))
    worker.forget(4)
    free.set()
    assert wait_for(lambda: len(shown) == 6)
    assert shown[:3] == [(3, 0, False), (1, 2, False), (2, 2, False)]
    assert sorted(shown[3:]) == [(1, 2, True), (2, 2, True), (3, 0, True)]
    assert worker.close()


def test_a_page_that_moves_does_not_keep_another_from_its_full_picture():
    """The full picture of a page that rests is given up for the other's, and drawn afterwards."""
    shown, entered = [], threading.Event()
    free = threading.Event()

    def draw(state, height, between):
        if (state.page, height) == (1, 256) and not free.is_set():
            entered.set()
            while not free.wait(0.002):
                between()
        return np.zeros((height, height, 3), np.uint8)

    worker = RenderWorker(draw, lambda state, image, full: shown.append((state.page, full)), Quality(256), print)
    worker.start()
    worker.submit(replace(FIRST, page=1))
    assert entered.wait(10)
    worker.submit(replace(FIRST, page=2))
    assert wait_for(lambda: (2, False) in shown)
    free.set()
    assert wait_for(lambda: (1, True) in shown and (2, True) in shown)
    assert worker.close()
