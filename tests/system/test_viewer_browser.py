"""The viewer in a browser, as a person uses it: Chromium by Playwright, skipped where either is missing."""

from __future__ import annotations

import io
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatar.app import cli
from avatar.data.checkpoint import load_avatar
from avatar.viewer.viewer import Viewer

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)"),
]
SIZE = 160
SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
FACE = (slice(80, 560), slice(40, 560))
"""Rows and columns of the page beside its controls."""


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("viewed") / "me"
    steps = ["--training.steps", "150", "--training.minutes", "30"]
    assert (
        cli.main(["create", str(tiny / "clip.mp4"), "--out", str(out), "--size", str(SIZE), "--preset", "cpu", *steps])
        == 0
    )
    return out


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as starter:
        opened = starter.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE_GL)
        yield opened
        opened.close()


@pytest.fixture
def viewer(run):
    opened = Viewer(run, port=0, avatar=load_avatar(run))
    assert until(lambda: opened.session.worker.pictures >= 1)
    yield opened
    opened.close()


@pytest.fixture
def page(browser, viewer):
    opened = browser.new_page(viewport={"width": 960, "height": 640})
    wrong: list[str] = []
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    began = time.monotonic()
    opened.goto(viewer.url)
    assert until(lambda: look(opened).std() > 10, 60), "no picture"
    print(f"first picture {time.monotonic() - began:.1f} s after the address was given")
    assert until(lambda: viewer.server.get_clients(), 30)
    still(viewer)
    yield opened
    opened.close()
    assert wrong == []


def until(condition, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def still(viewer) -> None:
    """Wait until no new picture comes."""
    assert until(lambda: unchanged(viewer, 1.5))


def unchanged(viewer, seconds: float) -> bool:
    before = viewer.session.worker.pictures
    time.sleep(seconds)
    return viewer.session.worker.pictures == before


def look(page) -> np.ndarray:
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return np.asarray(shot).astype(np.float32)[FACE]


def tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_a_slider_opens_the_mouth(page, viewer):
    before = look(page)
    tab(page, "Expression")
    label = page.get_by_text("Mouth open (jaw)")
    label.wait_for(state="visible")
    row = label.bounding_box()
    middle = row["y"] + row["height"] / 2
    # the slider of a row is the one at its height
    boxes = [handle.bounding_box() for handle in page.get_by_role("slider").all()]
    box = min((box for box in boxes if box), key=lambda box: abs(box["y"] + box["height"] / 2 - middle))
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=5)
    page.mouse.move(x + 150, y, steps=5)
    page.mouse.up()
    assert until(lambda: viewer.session.store.state.amounts.get("jawOpen", 0) > 0.9)
    still(viewer)
    assert np.abs(look(page) - before).max() > 40
    page.get_by_role("button", name="Reset").click()
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
    session.shown = lambda image, full: (sizes.append(image.shape[0]), show(image, full))
    page.mouse.move(200, 300)
    page.mouse.down()
    page.mouse.move(260, 300, steps=4)
    page.mouse.up()
    assert until(lambda: sizes[-1:] == [session.worker.quality.at_rest])
    still(viewer)
    assert np.abs(look(page) - before).mean() > 2
    tab(page, "Render")
    page.get_by_role("button", name="Back to the filmed view").click()
    still(viewer)
    assert np.abs(look(page) - before).mean() < 2


def test_it_plays_records_and_survives_a_reload(page, viewer):
    tab(page, "Drive")
    frames = []
    changed = viewer.session.frame_changed
    viewer.session.frame_changed = lambda frame: (frames.append(frame), changed(frame))
    page.get_by_role("button", name="Play").click()
    assert until(lambda: len(set(frames)) > 3)
    page.get_by_role("button", name="Pause").click()
    assert until(lambda: not viewer.session.player.is_playing)
    tab(page, "Record")
    page.get_by_role("button", name="Screenshot").click()
    assert until(lambda: (viewer.session.run / "view" / "screenshot_001.png").exists())
    page.get_by_role("button", name="Add keyframe").click()
    page.get_by_role("button", name="Save path").click()
    assert until(lambda: (viewer.session.run / "view" / "path_001.json").exists())
    page.get_by_text("wrote").first.wait_for(state="visible")
    page.reload()
    assert until(lambda: look(page).std() > 10)


def test_a_path_that_cannot_be_opened_is_told_in_the_page(page, viewer):
    tab(page, "Record")
    viewer.session.keyframes = []
    page.get_by_role("button", name="Save path").click()
    page.get_by_text("there is no keyframe yet").wait_for(state="visible")
