"""The exported page in a browser, as a person uses it: Chromium by Playwright, skipped where either is missing.

This is also how the .glb is read by three.js: what the page shows is its GLTFLoader's reading of it.
"""

from __future__ import annotations

import io
import math
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from avatar.export.appearance import Appearance
from avatar.export.clip import Clip
from avatar.export.html import player_data, write_html
from avatar.flame.model import HeadModel, HeadParameters

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)"),
]
SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
FIELD_OF_VIEW, CLOSENESS = math.radians(25), 0.95
"""The player's camera (`page/player.js`)."""
FRAMES = 26


@pytest.fixture(scope="module")
def params(head) -> HeadParameters:
    """A person who opens the mouth and turns the head a little during a second."""
    found = HeadParameters.neutral(head, FRAMES)
    found.jaw[:, 0] = 0.3 * torch.linspace(0, 1, FRAMES)
    found.rotation[:, 1] = 0.2 * torch.linspace(0, 1, FRAMES)
    return found


@pytest.fixture(scope="module")
def clip(params) -> Clip:
    return Clip(params, np.arange(FRAMES) / 25, 25.0)


@pytest.fixture(scope="module")
def written(head, params, clip, tmp_path_factory):
    speckled = np.random.default_rng(0).integers(60, 220, (128, 128, 3), dtype=np.uint8)  # any motion shows
    path = tmp_path_factory.mktemp("page") / "me.html"
    return write_html(path, clip, params, head, Appearance(texture=speckled), "me")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as starter:
        opened = starter.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE_GL)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, written):
    context = browser.new_context(viewport={"width": 960, "height": 640}, offline=True)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda request: wrong.append(request.url) if leaves(request.url, written) else None)
    opened.goto(written.as_uri())
    opened.wait_for_selector("html[data-state=ready]", timeout=60_000)
    yield opened
    context.close()
    assert wrong == []


def leaves(url: str, written) -> bool:
    """Whether a request is for anything but the page and what it holds."""
    return url != written.as_uri() and not url.startswith(("blob:", "data:"))


def look(page) -> np.ndarray:
    """The stage, after two frames of the page."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    shot = Image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("RGB")
    return np.asarray(shot).astype(np.float32)


def move(page, name: str, amount: float) -> None:
    """Drag a slider as the keyboard or the mouse would end."""
    page.locator(f"[data-name={name}]").evaluate(
        "(input, amount) => { input.value = amount; input.dispatchEvent(new Event('input')); }", amount
    )


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.abs(after - before).max(-1) > 12


def on_stage(points: np.ndarray, shape: tuple[int, ...], head, params, clip) -> np.ndarray:
    """Columns and rows `[P, 2]` of points `[P, 3]` of the avatar's world where the player's first view shows them."""
    data = player_data(clip, params, head)
    height, width = shape[:2]
    distance = CLOSENESS * data["radius"] / math.sin(FIELD_OF_VIEW / 2)
    eye = np.add(data["centre"], (0, 0, distance))
    scale = height / 2 / math.tan(FIELD_OF_VIEW / 2)
    seen = points - eye
    return np.stack([width / 2 - scale * seen[:, 0] / seen[:, 2], height / 2 + scale * seen[:, 1] / seen[:, 2]], 1)


def test_the_head_stands_where_the_camera_looks(page, head, params, clip):
    picture = look(page)
    shown = changed(np.broadcast_to(picture[2, 2], picture.shape), picture)
    vertices = HeadModel(head)(params).vertices[0].numpy()
    expected = on_stage(vertices, picture.shape, head, params, clip)
    rows, columns = np.nonzero(shown)
    found = [columns.min(), rows.min(), columns.max(), rows.max()]
    np.testing.assert_allclose(found, [*expected.min(0), *expected.max(0)], atol=3)


@pytest.mark.parametrize("name", ["jawOpen", "mouthSmileLeft", "eyeBlinkRight"])
def test_a_slider_moves_what_it_names(page, head, params, clip, name):
    before = look(page)
    move(page, name, 1)
    there = changed(before, look(page))
    assert there.sum() > 30
    moved = params.select([0])
    moved.expr[:, head.expression_index(name)] = 1
    vertices = [HeadModel(head)(each).vertices[0].numpy() for each in (params.select([0]), moved)]
    reached = np.linalg.norm(vertices[1] - vertices[0], axis=1) > 2e-5
    places = np.concatenate([on_stage(each[reached], before.shape, head, params, clip) for each in vertices])
    rows, columns = np.nonzero(there)
    assert (places.min(0) - 3 <= [columns.min(), rows.min()]).all()
    assert ([columns.max(), rows.max()] <= places.max(0) + 3).all()
    page.click("#reset")
    assert not changed(before, look(page)).any()


def test_a_look_turns_the_eyes_only(page, head, params, clip):
    before = look(page)
    move(page, "lookLeft", 1)
    there = changed(before, look(page))
    eyes = np.isin(head.weights.argmax(1), (3, 4))
    places = on_stage(HeadModel(head)(params).vertices[0].numpy()[eyes], before.shape, head, params, clip)
    rows, columns = np.nonzero(there)
    assert len(rows) > 5
    assert (places.min(0) - 3 <= [columns.min(), rows.min()]).all()
    assert ([columns.max(), rows.max()] <= places.max(0) + 3).all()


def test_playing_moves_the_face_and_pausing_holds_it(page):
    before = look(page)
    page.click("#play")
    page.wait_for_function("() => Number(document.getElementById('time').value) > 0.3")
    page.click("#play")
    held = look(page)
    assert changed(before, held).sum() > 200
    assert not changed(held, look(page)).any()
    assert re.fullmatch(r"0\.\d\d / 1\.00 s", page.inner_text("#clock"))


def test_the_timeline_shows_each_moment_as_the_head_model_has_it(page, head, params, clip):
    page.locator("#time").evaluate("(t) => { t.value = 1; t.dispatchEvent(new Event('input')); }")
    picture = look(page)
    shown = changed(np.broadcast_to(picture[2, 2], picture.shape), picture)
    expected = on_stage(HeadModel(head)(params).vertices[-1].numpy(), picture.shape, head, params, clip)
    rows, columns = np.nonzero(shown)
    found = [columns.min(), rows.min(), columns.max(), rows.max()]
    np.testing.assert_allclose(found, [*expected.min(0), *expected.max(0)], atol=4)
    page.click("#follow")  # without the clip: the head at rest
    at_rest = look(page)
    assert changed(picture, at_rest).sum() > 200
    page.locator("#time").evaluate("(t) => { t.value = 0; t.dispatchEvent(new Event('input')); }")
    assert page.is_checked("#follow")


def test_the_head_turns_under_the_mouse(page):
    before = look(page)
    page.mouse.move(300, 250)
    page.mouse.down()
    page.mouse.move(420, 260, steps=6)
    page.mouse.up()
    turned = look(page)
    assert changed(before, turned).sum() > 1000
    page.mouse.wheel(0, -400)
    closer = look(page)
    background = closer[2, 2]
    assert changed(np.broadcast_to(background, closer.shape), closer).sum() > 1.1 * (
        changed(np.broadcast_to(background, turned.shape), turned).sum()
    )


def test_the_notice_can_be_read(page):
    assert page.locator("footer").is_visible()
    assert page.inner_text("footer").startswith("synthetic: a rendered avatar")


def test_a_phones_page_is_not_wider_than_its_screen(page):
    page.set_viewport_size({"width": 390, "height": 800})
    look(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#view").bounding_box()["height"] > 300


def test_a_damaged_page_says_so(browser, written, tmp_path):
    text = written.read_text("utf-8")
    begin = text.index(">", text.index('id="model"')) + 1
    broken = tmp_path / "broken.html"
    broken.write_text(text[: begin + 1000] + text[text.index("</script>", begin) :], "utf-8")
    opened = browser.new_page()
    opened.goto(broken.as_uri())
    opened.wait_for_selector("html[data-state=failed]", timeout=60_000)
    assert "cannot be opened" in opened.inner_text("#message")
    opened.close()
