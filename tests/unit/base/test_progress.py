import io

import pytest

from avatar.base.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (75, "1:15"), (3725, "1:02:05"), (-3, "0:00")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_line_shows_share_rate_and_time_left():
    bar = Progress("render", 40, stream=io.StringIO())
    bar.done = 10
    line = bar.line(bar._began + 5.0)
    assert line == "render: [######..................]  25% 10/40 frames, 2.0 frames/s, 0:15 left"


def test_rate_counts_only_what_this_run_did():
    bar = Progress("train", 300, unit="step", start=200, stream=io.StringIO())
    bar.done = 250
    assert "50.0 steps/s, 0:01 left" in bar.line(bar._began + 1.0)


def test_unknown_total_has_no_bar():
    bar = Progress("read", None, stream=io.StringIO())
    bar.done = 10
    assert bar.line(bar._began + 40.0) == "read: 10 frames, 4.0 s/frame"


def test_log_stays_short_and_ends_with_the_count():
    stream = io.StringIO()
    with Progress("render", 500, stream=stream) as bar:
        for done in range(500):
            bar.update(done + 1)
    assert len(stream.getvalue().splitlines()) == 1
    assert stream.getvalue().startswith("render: 500/500 frames in 0:00")


def test_terminal_redraws_one_line():
    stream = Terminal()
    with Progress("render", 3, stream=stream) as bar:
        bar.update(1, note="a rather long note")
        bar.update(3)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.startswith("\rrender: [########")
