"""The viewer in a browser, as a person uses it: Chromium by Playwright, skipped where either is missing."""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from chromium import CHROMIUM, NO_CHROMIUM, look, obey_interrupts, tab, until

from avatar.animation.path_faces import AT_REST
from avatar.app import cli
from avatar.app.commands.view import track_video
from avatar.data.checkpoint import load_avatar
from avatar.media.video import has_synthetic_tag, read_video
from avatar.viewer.viewer import Viewer
from capture_tools.detect.landmark_detector import LandmarkDetector

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
]
SIZE = 160
BELOW = slice(220, None)
"""Rows of what is beside the controls, below the messages."""


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("viewed") / "me"
    steps = ["--training.steps", "150", "--training.minutes", "30"]
    assert (
        cli.main(["create", str(tiny / "clip.mp4"), "--out", str(out), "--size", str(SIZE), "--preset", "cpu", *steps])
        == 0
    )
    return out


@pytest.fixture
def viewer(run):
    opened = Viewer(run, port=0, avatar=load_avatar(run), track=track_video)
    assert until(lambda: opened.session.worker.pictures >= 1)
    yield opened
    opened.close()


@pytest.fixture
def open_page(browser, viewer):
    """Open a page of the viewer; at the end none of them has said that something is wrong."""
    wrong: list[str] = []
    pages = []

    def open_one(width: int = 960):
        opened = browser.new_page(viewport={"width": width, "height": 640})
        pages.append(opened)
        opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        known = len(viewer.session.store.pages)
        opened.goto(viewer.url)
        assert until(lambda: len(viewer.session.store.pages) == known + 1)
        assert until(lambda: look(opened).std() > 10, 60), "no picture"
        still(viewer)
        return opened

    yield open_one
    for page in pages:
        page.close()
    assert wrong == []


@pytest.fixture
def page(open_page):
    return open_page()


def still(viewer) -> None:
    """Wait until no new picture comes."""
    assert until(lambda: unchanged(viewer, 1.5))


def unchanged(viewer, seconds: float) -> bool:
    before = viewer.session.worker.pictures
    time.sleep(seconds)
    return viewer.session.worker.pictures == before


def drag(page, x: int, y: int, across: int, steps: int = 4) -> None:
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + across, y, steps=steps)
    page.mouse.up()


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def mouth_opening(page) -> float:
    """Distance of the inner lips over that of the eyes' outer corners, as the detector sees them in the page."""
    with LandmarkDetector() as detector:
        points, _ = detector.detect_with_shares(look(page).astype(np.uint8))
    assert points is not None, "no face is seen in the page"
    return float(np.linalg.norm(points[13] - points[14]) / np.linalg.norm(points[33] - points[263]))


def test_the_picture_from_before_makes_way_for_the_avatar(page, viewer):
    """The page had it from its first moment; `open_page` has waited for the avatar's own picture."""
    page.reload()
    assert page.locator("#avatar-preview").count() == 1
    assert until(lambda: page.locator("#avatar-preview").count() == 0)
    assert until(lambda: look(page).std() > 10)


def test_a_slider_opens_the_mouth(page, viewer):
    before, closed = look(page), mouth_opening(page)
    tab(page, "Expression")
    label = page.get_by_text("Mouth open (jaw)")
    label.wait_for(state="visible")
    row = label.bounding_box()
    middle = row["y"] + row["height"] / 2
    # the slider of a row is the one at its height
    boxes = [handle.bounding_box() for handle in page.get_by_role("slider").all()]
    box = min((box for box in boxes if box), key=lambda box: abs(box["y"] + box["height"] / 2 - middle))
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    drag(page, x, y, 150, steps=8)
    assert until(lambda: viewer.session.store.state.amounts.get("jawOpen", 0) > 0.9)
    still(viewer)
    assert mouth_opening(page) > closed + 0.1
    press(page, "Reset")
    assert until(lambda: viewer.session.store.state.amounts == {})
    still(viewer)
    assert np.abs(look(page) - before).mean() < 2


def test_dragging_turns_the_head_and_it_sharpens_at_rest(page, viewer):
    before, session = look(page), viewer.session
    pictures, began = session.worker.pictures, time.monotonic()
    page.mouse.move(300, 400)
    page.mouse.down()
    while time.monotonic() - began < 4:
        page.mouse.move(300 + 60 * math.sin(3 * (time.monotonic() - began)), 400)
    page.mouse.up()
    rate = (session.worker.pictures - pictures) / (time.monotonic() - began)
    print(f"{rate:.1f} pictures a second while dragging, at {session.worker.quality.moving} pixels")
    assert rate > 0.5, "on an idle machine it is five and more"
    sizes = []
    show = session.shown
    session.shown = lambda page, image, full: (sizes.append(image.shape[0]), show(page, image, full))
    drag(page, 200, 300, 60)
    assert until(lambda: sizes[-1:] == [session.worker.quality.at_rest])
    still(viewer)
    assert np.abs(look(page) - before).mean() > 2
    tab(page, "Render")
    press(page, "Back to the filmed view")
    still(viewer)
    assert np.abs(look(page) - before).mean() < 2


def test_it_plays_and_steps_by_keys(page, viewer):
    frames = []
    changed = viewer.session.frame_changed
    viewer.session.frame_changed = lambda frame: (frames.append(frame), changed(frame))
    page.mouse.click(200, 300)
    page.keyboard.press("l")
    assert until(lambda: len(set(frames)) > 3)
    page.keyboard.press("l")
    assert until(lambda: not viewer.session.player.is_playing)
    page.keyboard.press("0")
    assert until(lambda: viewer.session.store.state.frame == 0)
    for key, expected in (("n", 1), ("Shift+N", 11), ("b", 10)):
        page.keyboard.press(key)
        assert until(lambda expected=expected: viewer.session.store.state.frame == expected), key
    slider = page.get_by_role("slider").first
    assert until(lambda: slider.get_attribute("aria-valuenow") == "10"), "the page follows"


def test_a_video_drives_and_one_without_a_face_is_told(page, viewer, tiny_driver, flat_clip):
    tab(page, "Drive")
    name = str(tiny_driver / "clip.mp4")

    def give(source: str) -> None:
        page.get_by_role("textbox").last.fill(source)
        page.keyboard.press("Enter")
        press(page, "Open")

    give(name)
    page.get_by_text("tracking, driver").wait_for(state="visible", timeout=60_000)
    press(page, "Stop")
    page.get_by_text("stopped; nothing was changed").wait_for(state="visible", timeout=60_000)
    assert viewer.session.store.state.performance == AT_REST
    give(name)
    assert until(lambda: viewer.session.store.state.performance == name, 120)
    assert viewer.session.frames() == 24
    press(page, "Play / pause")
    assert until(lambda: viewer.session.store.state.frame > 3)
    press(page, "Play / pause")
    give(str(flat_clip))
    page.get_by_text("no face was found in the driver").wait_for(state="visible", timeout=60_000)
    assert viewer.session.store.state.performance == name
    page.set_input_files("input[type=file]", {"name": "../face.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"})
    page.get_by_text("without the columns of Live Link Face").wait_for(state="visible")


def test_a_path_is_made_played_saved_and_rendered(page, viewer, run, tmp_path):
    session = viewer.session
    tab(page, "Record")
    press(page, "Add keyframe")
    assert until(lambda: session.timeline.times == (0.0,))
    drag(page, 200, 300, 40)
    still(viewer)
    press(page, "Add keyframe")
    assert until(lambda: session.timeline.times == (0.0, 2.0))
    moment = page.get_by_label("At second")
    assert until(lambda: moment.input_value() == "2")
    moment.fill("0.4")
    assert until(lambda: session.timeline.times == (0.0, 0.4))
    turned = session.store.state.world_from_cam
    moments = []
    said = session.path_time_changed
    session.path_time_changed = lambda time: (moments.append(time), said(time))
    press(page, "Play / stop path")  # from its end: from its beginning on
    assert until(lambda: moments and moments[-1] == 0.4)
    assert moments[0] < 0.2
    assert until(lambda: np.allclose(session.store.state.world_from_cam, turned, atol=1e-4))
    page.get_by_text("Path files").click()
    press(page, "Save path")
    page.get_by_text("wrote").first.wait_for(state="visible")
    (saved,) = [path for path in session.written if path.suffix == ".json"]
    press(page, "Delete keyframe")
    assert until(lambda: session.timeline.times == (0.0,))
    press(page, "Open path")
    assert until(lambda: session.timeline.times == (0.0, 0.4))
    press(page, "Record video")
    assert until(lambda: any(path.suffix == ".mp4" for path in session.written), 120)
    (video,) = [path for path in session.written if path.suffix == ".mp4"]
    assert has_synthetic_tag(video)
    assert cli.main(["render", str(run), "--path", str(saved), "--out", str(tmp_path / "path.mp4")]) == 0
    ours, rendered = ([image for _, image in read_video(path)] for path in (video, tmp_path / "path.mp4"))
    assert len(ours) == len(rendered) == 11
    for mine, theirs in zip(ours, rendered, strict=True):
        assert np.abs(mine.astype(float) - theirs).mean() < 3


def test_it_records_and_survives_a_reload(page, viewer):
    tab(page, "Record")
    press(page, "Screenshot")
    assert until(lambda: any(path.suffix == ".png" for path in viewer.session.written))
    drag(page, 200, 300, 60)
    viewer.session.store.set_amount("jawOpen", 0.8)
    still(viewer)
    before, state = look(page), viewer.session.store.state
    page.reload()
    assert until(lambda: viewer.session.store.pages not in ((), (state.page,)))
    assert until(lambda: look(page).std() > 10)
    still(viewer)
    again = viewer.session.store.state
    assert np.allclose(again.world_from_cam, state.world_from_cam, atol=1e-4)
    assert again.amounts == {"jawOpen": 0.8}
    assert np.abs(look(page) - before)[BELOW].mean() < 2


def test_two_pages_do_not_disturb_each_other(open_page, viewer):
    first, second = open_page(), open_page(width=1200)
    before = look(first)
    drag(second, 300, 300, 80)
    still(viewer)
    assert np.abs(look(first) - before).mean() < 1
    tab(second, "Render")
    second.get_by_label("Silhouette").check()
    still(viewer)
    changed = np.abs(look(first) - before).max(-1) > 40
    assert 0.002 < changed.mean() < 0.2, "an outline is drawn in the other page too"
    second.get_by_label("Silhouette").uncheck()
    drag(first, 300, 300, -60)
    second.close()
    assert until(lambda: len(viewer.session.store.pages) == 1)
    still(viewer)
    assert np.abs(look(first) - before).mean() > 2
    first.mouse.click(200, 300)
    first.keyboard.press("f")
    still(viewer)
    assert np.abs(look(first) - before).mean() < 2


def test_a_training_that_goes_on_is_followed(browser, run, tmp_path):
    """A newer checkpoint appears while a page is open: it is shown, the view stays."""
    growing = shutil.copytree(run, tmp_path / "me", ignore=shutil.ignore_patterns("capture", "view"))
    viewer = Viewer(growing, port=0, avatar=load_avatar(growing))
    page = browser.new_page(viewport={"width": 960, "height": 640})
    try:
        page.goto(viewer.url)
        assert until(lambda: viewer.session.store.pages)
        still(viewer)
        before, avatar = look(page), viewer.session.painter.avatar
        checkpoints = growing / "checkpoints"
        newest = (checkpoints / "latest").read_text().strip()
        shutil.copy(checkpoints / newest, checkpoints / "step_000999.safetensors")
        (checkpoints / "latest").write_text("step_000999.safetensors\n")
        page.get_by_text("showing the training's step 999").wait_for(state="visible", timeout=60_000)
        assert viewer.session.painter.avatar is not avatar
        still(viewer)
        assert np.abs(look(page) - before).mean() < 20, "but for the message"
    finally:
        page.close()
        viewer.close()


def test_ctrl_c_leaves_nothing(browser, run):
    """With a page open, and one that was closed in the midst of a drag."""
    command = [sys.executable, "-m", "avatar.app.cli", "view", str(run), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pipes["preexec_fn"] = obey_interrupts
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        url = process.stdout.readline().split()[1]
        pages = [browser.new_page(viewport={"width": 640, "height": 480}) for _ in range(2)]
        for page in pages:
            page.goto(url)
            page.get_by_role("tab", name="Record").wait_for(state="visible", timeout=120_000)
        pages[1].mouse.move(200, 300)
        pages[1].mouse.down()
        pages[1].mouse.move(260, 300, steps=3)
        pages[1].close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        pages[0].close()
    assert process.returncode == 0
    assert out.splitlines()[-1] == "the viewer is closed"
    assert err.strip() == ""
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody of its group is left
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port))


def test_what_cannot_be_done_is_told_in_the_page(page, viewer):
    tab(page, "Record")
    page.get_by_text("Path files").click()
    press(page, "Save path")
    page.get_by_text("there is no keyframe yet").wait_for(state="visible")
    press(page, "Play / stop path")
    page.get_by_text("there is no path to play").wait_for(state="visible")
