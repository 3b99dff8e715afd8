"""What the system tests share: running a command as a user would, and tiny clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from chromium import CHROMIUM, NO_CHROMIUM, SOFTWARE_GL

from avatar.app import cli
from avatar.media.video import write_video

REPEATS = 147
STEPS = ("--training.steps", "40", "--training.minutes", "0")
RECORDINGS = Path(__file__).resolve().parents[2].parent / "shared" / "data"


class Done:
    """A finished command: status, printed text and messages."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def message(self) -> str:
        """The one failure message; the test fails where there is none or a traceback."""
        assert "Traceback" not in self.err, self.err
        assert self.err.count("avatar: ") == 1, self.err
        return self.err[self.err.index("avatar: ") :]


@pytest.fixture
def avatar(capfd, monkeypatch) -> Callable[..., Done]:
    """Run `avatar ARGUMENTS...` in this process and return what a user would see."""
    monkeypatch.delenv("AVATAR_DEBUG", raising=False)

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        printed = capfd.readouterr()
        return Done(status, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings, which are not part of the project."""
    if not RECORDINGS.exists():
        pytest.skip(f"the recordings are not at {RECORDINGS}")
    return RECORDINGS


@pytest.fixture(scope="session")
def flat_clip(tmp_path_factory) -> Path:
    """Thirty frames of one colour: a readable video without a face."""
    frames = (np.full((96, 128, 3), (90, 120, 150), np.uint8) for _ in range(30))
    return write_video(tmp_path_factory.mktemp("flat") / "flat.mp4", frames, 25.0, synthetic=True)


def synthetic(folder: Path, seed: int, size: int, frames: int, held_out: bool = False) -> Path:
    from avatar.synthetic.clip import make_synthetic_clip

    make_synthetic_clip(folder, seed=seed, size=size, frames=frames, held_out=held_out)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """clip.mp4 and truth/, held-out truth included, of an invented person: 44 frames of 128 pixels."""
    return synthetic(tmp_path_factory.mktemp("tiny"), seed=3, size=128, frames=44, held_out=True)


@pytest.fixture(scope="session")
def tiny_driver(tmp_path_factory) -> Path:
    """The same of another person, 24 frames."""
    return synthetic(tmp_path_factory.mktemp("driver"), seed=4, size=128, frames=24)


@pytest.fixture(scope="session")
def long_driver(tiny_driver, tmp_path_factory) -> Path:
    """The driver's clip over and over, two minutes: it does not end before it is stopped, on a busy machine."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    with av.open(str(tiny_driver / "clip.mp4")) as short, av.open(str(path), "w") as out:
        video = short.streams.video[0]
        copy = out.add_stream_from_template(video)
        packets = [packet for packet in short.demux(video) if packet.size]
        first, duration = min(packet.pts for packet in packets), sum(packet.duration for packet in packets)
        for start in range(0, REPEATS * duration, duration):  # as it is: encoding minutes takes longer than the test
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.pts, again.dts = start + packet.pts - first, start + packet.dts - first
                again.time_base, again.duration, again.stream = packet.time_base, packet.duration, copy
                again.is_keyframe = packet.is_keyframe
                out.mux(again)
    return path


@pytest.fixture(scope="session")
def hardly_trained(tiny_driver, tmp_path_factory) -> Path:
    """The run of an avatar of the driver's clip, hardly trained."""
    out = tmp_path_factory.mktemp("live") / "me"
    arguments = ["train", tiny_driver / "truth", "--out", out, "--preset", "cpu", *STEPS]
    assert cli.main([str(argument) for argument in arguments]) == 0
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium by Playwright, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    with playwright.sync_playwright() as starter:
        opened = starter.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE_GL)
        yield opened
        opened.close()


@pytest.fixture
def snapshot() -> Iterator[Callable[[Path], dict[str, bytes]]]:
    """Every file below a folder with its bytes, to show that nothing was touched."""

    def take(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }

    return take
