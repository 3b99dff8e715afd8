"""Work beside the drawing: it tells how far it is, and ends when it is told to."""

import threading

import pytest
from view_parts import wait_for

from avatar.base.errors import InputError
from avatar.base.progress import Progress
from avatar.viewer.errands import Errand


@pytest.fixture
def errand():
    errand = Errand("test")
    yield errand
    assert errand.close()


def test_its_progress_bars_are_heard_and_print_nothing(errand, capsys):
    heard, ended = [], []
    errand.progressed = lambda label, share: heard.append((label, share))

    def work():
        with Progress("driver", 4) as bar:
            for done in range(4):
                bar.update(done + 1)
        with Progress("reading", None) as bar:
            bar.update(1)

    errand.start(work, pytest.fail, ended.append)
    assert wait_for(lambda: ended == [False])
    assert heard == [("driver", 0.25), ("driver", 0.5), ("driver", 0.75), ("driver", 1.0), ("reading", None)]
    assert capsys.readouterr().err == ""


def test_it_is_given_up_at_the_next_step(errand):
    ended, stepping = [], threading.Event()

    def work():
        with Progress("driver", None) as bar:
            while True:
                bar.update(1)
                stepping.set()

    errand.start(work, pytest.fail, ended.append)
    assert stepping.wait(10)
    errand.stop()
    assert wait_for(lambda: ended == [True])


def test_a_failure_is_handed_on(errand):
    failures, ended = [], []

    def work():
        raise InputError("no face was found")

    errand.start(work, failures.append, ended.append)
    assert wait_for(lambda: ended == [False])
    assert [str(error) for error in failures] == ["no face was found"]


def test_one_thing_at_a_time(errand):
    going_on = threading.Event()
    errand.start(lambda: going_on.wait(10), pytest.fail)
    with pytest.raises(InputError, match="wait for it"):
        errand.start(lambda: None, pytest.fail)
    going_on.set()
    assert wait_for(lambda: not errand.is_busy)
    errand.start(lambda: None, pytest.fail)
