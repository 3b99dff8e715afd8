"""What tests of pages in Chromium share; `browser` stands in conftest.py."""

from __future__ import annotations

import io
import shutil
import signal
import time

import numpy as np
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "there is no Chromium (apt-get install chromium)"
SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
FACE = (slice(80, 560), slice(40, 560))
"""Rows and columns of the page beside its controls."""


def until(condition, seconds: float = 60.0) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def look(page) -> np.ndarray:
    """The page beside its controls, float32 `[H, W, 3]`, 0 to 255."""
    page.bring_to_front()  # a page behind another is not painted
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return np.asarray(shot).astype(np.float32)[FACE]


def tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def obey_interrupts() -> None:
    """For a child: a suite in a shell's background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
