"""Accounts of delay: what was left out, how old what is shown is, and that figures of a moment forget the past."""

import math

import pytest

from avatar.viewer.delays import RECENT, Delays, figure_lines, figure_status


def test_delay_age_and_rates():
    delays = Delays()
    for number in range(50):  # a picture each 40 ms from 100 s on, followed 20 ms later
        delays.track(100.02 + number * 0.04, dropped=1 if number == 10 else 0)
    for number in range(0, 50, 5):  # each fifth is shown, 100 ms after that
        delays.show(100.12 + number * 0.04, 100.0 + number * 0.04)
    figures = delays.whole()
    assert (figures.tracked, figures.dropped, figures.shown) == (50, 1, 10)
    assert figures.seconds == pytest.approx(49 * 0.04)
    assert figures.tracked_rate == pytest.approx(50 / 1.96)
    assert figures.delay == pytest.approx(0.12)
    assert figures.longest_delay == pytest.approx(0.12)
    # shown pictures stay for 200 ms: from 0.12 to 0.32 s old
    assert figures.age == pytest.approx(0.22)
    assert figures.oldest == pytest.approx(0.32)


def test_the_age_goes_on_rising_while_nothing_new_is_shown():
    delays = Delays()
    delays.track(1.0, 0)
    delays.show(1.1, 1.0)
    delays.track(1.5, 0)
    assert delays.recent(1.6).oldest == pytest.approx(0.6)
    assert delays.recent(1.6).age == pytest.approx((0.1 + 0.6) / 2)
    assert delays.whole().oldest == pytest.approx(0.1), "the whole ends with the last picture"


def test_a_queue_that_grew_would_show():
    delays = Delays()
    for number in range(100):
        delays.track(number * 0.1, 0)
        delays.show(number * 0.1, number * 0.05)  # half as fast as the source
    assert delays.recent(9.9).delay > 4
    assert delays.whole().longest_delay == pytest.approx(99 * 0.05)


def test_figures_of_the_moment_forget_what_is_past():
    delays = Delays()
    delays.track(0.0, 5)
    delays.show(3.0, 0.0)
    for number in range(100):
        now = 10.0 + number * 0.05
        delays.track(now, 0)
        delays.show(now, now - 0.1)
    recent = delays.recent(14.95)
    assert recent.tracked_rate == pytest.approx(20, abs=1)
    assert recent.shown_rate == pytest.approx(20, abs=1)
    assert recent.longest_delay == pytest.approx(0.1)
    assert recent.dropped == 5, "what was left out counts from the beginning"
    assert delays.whole().longest_delay == pytest.approx(3.0)
    assert len(delays._tracks) < 50
    assert len(delays._shows) < 50
    assert delays.recent(14.95 + 2 * RECENT).shown_rate == 0


def test_nothing_yet():
    figures = Delays().whole()
    assert (figures.tracked, figures.shown, figures.tracked_rate) == (0, 0, 0.0)
    assert math.isnan(figures.delay)
    assert figure_lines(figures) == []
    assert "0 pictures a second followed" in figure_status(Delays().recent(5.0))


def test_what_people_read():
    delays = Delays()
    for number in range(3):
        delays.track(float(number), 2)
        delays.show(number + 0.25, float(number))
    lines = figure_lines(delays.whole(), behind=1.25)
    assert lines[0] == "followed 3 pictures in 2.2 s (1.3 a second, 6 left out)"
    assert "0.25 s after the driver's on average, 0.25 s at most" in lines[1]
    assert lines[2] == "age of what was shown: 0.75 s on average, 1.25 s at most"
    assert "it ran 1.2 s longer" in lines[3]
    assert "none left out" in figure_lines(_none_left_out())[0]
    assert figure_status(delays.recent(2.5)).startswith("delay 0.25 s")


def _none_left_out():
    delays = Delays()
    delays.track(0.0, 0)
    delays.show(0.1, 0.0)
    return delays.whole()
