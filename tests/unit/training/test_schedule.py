"""Progress by steps and by the clock."""

import pytest

from avatar.training.schedule import FEWEST_STEPS, Schedule


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_progress_by_steps():
    schedule = Schedule(steps=200, minutes=0, final_rate=0.1, warmup=0)
    assert [schedule.progress(step) for step in (0, 50, 200, 300)] == [0, 0.25, 1, 1]
    assert not schedule.finished(199)
    assert schedule.finished(200)


def test_progress_by_the_clock_goes_on_after_a_resume():
    clock = Clock()
    schedule = Schedule(steps=10000, minutes=2, final_rate=0.1, warmup=0, elapsed=30, clock=clock)
    assert schedule.progress(2000) == pytest.approx(0.25)
    clock.now += 60
    assert schedule.progress(0) == pytest.approx(0.75)
    assert schedule.seconds() == pytest.approx(90)


def test_a_spent_budget_still_gives_some_steps():
    clock = Clock()
    schedule = Schedule(steps=1000, minutes=1, final_rate=0.1, warmup=0, clock=clock)
    clock.now += 500
    assert not schedule.finished(0)
    assert not schedule.finished(FEWEST_STEPS - 1)
    assert schedule.finished(FEWEST_STEPS)


def test_what_comes_first_ends_it():
    clock = Clock()
    schedule = Schedule(steps=400, minutes=2, final_rate=0.1, warmup=0, clock=clock)
    clock.now += 30
    assert schedule.progress(300) == pytest.approx(0.75)
    assert schedule.seconds_left(300, rate=10.0) == pytest.approx(10.0)
    assert schedule.seconds_left(300, rate=0.1) == pytest.approx(90.0)
    assert not schedule.finished(399)
    assert schedule.finished(400)
    clock.now += 90
    assert schedule.finished(200)


def test_rates_rise_then_fall_exponentially():
    schedule = Schedule(steps=100, minutes=0, final_rate=0.01, warmup=10)
    assert schedule.rate_factor(0, 0.0) == pytest.approx(0.1)
    assert schedule.rate_factor(9, 0.0) == pytest.approx(1.0)
    assert schedule.rate_factor(50, 0.5) == pytest.approx(0.1)
    assert schedule.rate_factor(99, 1.0) == pytest.approx(0.01)
