"""`avatar live` as a person uses it, and what it says where it cannot work."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from chromium import obey_interrupts

from avatar.media.live_sources import cameras
from avatar.media.video import has_synthetic_tag, probe_video, read_video


@pytest.fixture
def run(hardly_trained) -> Path:
    return hardly_trained


def threads() -> set[str]:
    """Names of the threads that belong to a performance."""
    names = ("avatar-live", "avatar-recorder", "avatar-viewer")
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(names)}


@pytest.mark.slow
def test_a_file_moves_the_avatar_and_is_recorded(avatar, run, tiny_driver, tmp_path):
    out = tmp_path / "out.mp4"
    done = avatar(*("live", run, "--source", tiny_driver / "clip.mp4", "--out", out, "--no-view", "--size", 64))
    assert done.status == 0, done.err
    assert "followed" in done.out
    assert "after the driver's on average" in done.out
    assert "wrote " in done.out
    info = probe_video(out)
    assert (info.width, info.height, info.fps) == (64, 64, pytest.approx(25.0))
    assert 22 <= info.frame_count <= 24, "as long as the driver, whatever was left out"
    assert has_synthetic_tag(out)
    frames = np.stack([image for _, image in read_video(out)]).astype(float)
    assert frames[:, 20:44, 20:44].std(0).mean() > 0.3  # the face moves
    assert not threads()
    again = avatar("live", run, "--source", tiny_driver / "clip.mp4", "--out", out, "--no-view")
    assert again.status == 1
    assert "exists already" in again.message


@pytest.mark.slow
def test_with_a_page_it_ends_with_the_file_too(avatar, run, tiny_driver, tmp_path):
    done = avatar("live", run, "--source", tiny_driver / "clip.mp4", "--port", 0, "--size", 64)
    assert done.status == 0, done.err
    assert "open http://127.0.0.1:" in done.out
    assert "of the avatar" in done.out
    assert not threads()


@pytest.mark.slow
def test_an_interrupt_writes_what_was_recorded(run, long_driver, tmp_path):
    """Ctrl-C in the midst of a long file: a whole video, status 0, no process left."""
    out = tmp_path / "out.mp4"
    code = "import sys; from avatar.app.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["live", run, "--source", long_driver, "--out", out, "--port", "0", "--size", "64"]
    started = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "AVATAR_DEBUG"},
        preexec_fn=obey_interrupts,
    )
    try:
        assert started.stdout is not None
        port = int(started.stdout.readline().partition("127.0.0.1:")[2].partition("/")[0])
        visit(port)  # a browser that comes and goes
        until = time.monotonic() + 120
        while time.monotonic() < until and not list(tmp_path.glob(".out.*")):
            time.sleep(0.1)
        time.sleep(3)
        started.send_signal(signal.SIGINT)
        printed, complaints = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == 0, complaints
    assert "Traceback" not in complaints
    assert f"wrote {out}" in printed
    assert has_synthetic_tag(out)
    assert 10 < probe_video(out).frame_count < probe_video(long_driver).frame_count
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4"]


def visit(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.slow
def test_a_file_without_a_face(avatar, run, flat_clip, tmp_path):
    done = avatar("live", run, "--source", flat_clip, "--out", tmp_path / "o.mp4", "--port", 0)
    assert done.status == 1
    assert "no face was found in the driver" in done.message
    assert "flat.mp4" in done.message
    assert list(tmp_path.iterdir()) == []
    assert not threads()


@pytest.mark.slow
def test_a_busy_port(avatar, run, tiny_driver):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        done = avatar("live", run, "--source", tiny_driver / "clip.mp4", "--port", port)
    assert done.status == 1
    assert f"port {port} is in use" in done.message
    assert not threads()


def refused(done, tmp_path, *words: str) -> None:
    assert done.status == 1
    for word in words:
        assert word in done.message
    assert not list(tmp_path.glob("*.mp4"))
    assert not threads()


@pytest.fixture
def looks_like_a_run(tmp_path) -> Path:
    """A folder that passes for a run until its checkpoint is read."""
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("{}\n")
    (run / "checkpoints" / "step_000008.safetensors").write_bytes(b"none")
    (run / "checkpoints" / "latest").write_text("step_000008.safetensors\n")
    return run


def test_a_camera_that_is_absent(avatar, looks_like_a_run, tmp_path):
    if cameras() != []:
        pytest.skip("this machine has a camera, or does not tell")
    done = avatar("live", looks_like_a_run, "--source", 0, "--out", tmp_path / "o.mp4")
    refused(done, tmp_path, "there is no such camera", "--source 0", "what to do")


def test_a_source_that_is_missing_or_no_video(avatar, looks_like_a_run, tmp_path):
    refused(avatar("live", looks_like_a_run, "--source", tmp_path / "none.mov"), tmp_path, "none.mov")
    (tmp_path / "a.txt").write_text("no video")
    refused(avatar("live", looks_like_a_run, "--source", tmp_path / "a.txt"), tmp_path, "a.txt")
    refused(avatar("live", looks_like_a_run, "--source", tmp_path), tmp_path, "not a file")


def test_a_run_without_a_checkpoint(avatar, flat_clip, tmp_path):
    done = avatar("live", tmp_path, "--source", flat_clip, "--out", tmp_path / "o.mp4")
    refused(done, tmp_path, "not a run folder")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--size", "4"], "--size is out of range"),
        (["--gain", "nose=2"], "--gain cannot be read"),
        (["--no-view"], "nobody would see the avatar"),
        (["--out", "o.webm"], "ending that cannot be written"),
        (["--virtual-camera"], "pip install pyvirtualcam"),
        (["--port", "99999"], "--port is out of range"),
    ],
)
def test_options_that_cannot_work(avatar, looks_like_a_run, flat_clip, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    refused(avatar("live", looks_like_a_run, "--source", flat_clip, *arguments), tmp_path, word)


def test_the_source_is_not_overwritten(avatar, looks_like_a_run, flat_clip, snapshot):
    before = snapshot(flat_clip.parent)
    done = avatar("live", looks_like_a_run, "--source", flat_clip, "--out", flat_clip, "--overwrite")
    assert done.status == 1
    assert snapshot(flat_clip.parent) == before
