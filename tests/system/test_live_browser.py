"""The page of `avatar live` in a browser: Chromium by Playwright, skipped where either is missing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from chromium import CHROMIUM, NO_CHROMIUM, look, obey_interrupts, tab, until

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
DELAY = re.compile(r"delay (\d+\.\d+) s")
MOVED = 1.0
"""Grey levels by which a page changes at least, on average, where the avatar in it moves."""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]


def test_the_tab_shows_delays_and_the_page_a_moving_avatar(browser, hardly_trained, long_driver):
    """A file as source, watched for a while, then Ctrl-C: nothing is wrong in the page, and no process is left."""
    arguments = ["live", hardly_trained, "--source", long_driver, "--port", "0", "--size", "64"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": obey_interrupts}
    command = [sys.executable, "-m", "avatar.app.cli", *map(str, arguments)]
    wrong: list[str] = []
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[1]
            page = browser.new_page(viewport={"width": 960, "height": 640})
            page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.goto(url)
            watch(page, long_driver)
            assert wrong == []
            page.close()
            process.send_signal(signal.SIGINT)
            printed, complaints = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, complaints
    assert "Traceback" not in complaints
    assert re.search(r"followed \d+ pictures", printed)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # the tracker's process has ended too
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port))


def watch(page, driver: Path) -> None:
    """The tab names the driver, its figures go on, and so does the avatar's picture."""
    page.get_by_role("tab", name="Live").wait_for(state="visible", timeout=180_000)  # once the avatar is loaded
    tab(page, "Live")
    figures = page.get_by_text(DELAY).first
    figures.wait_for(state="visible", timeout=180_000)
    assert page.locator("input:visible").first.input_value() == str(driver)
    told, seen = figures.inner_text(), look(page)
    assert float(DELAY.search(told)[1]) < 30
    assert until(lambda: figures.inner_text() != told), "the figures stand still"
    assert until(lambda: np.abs(look(page) - seen).mean() > MOVED), "the picture stands still"
