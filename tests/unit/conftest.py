"""Fixtures shared by the unit tests. This file also puts tests/unit on the path, for `capture_parts`."""

from __future__ import annotations

from pathlib import Path

import pytest
from capture_parts import Parts, make_parts

from avatar.data.capture import write_capture


@pytest.fixture
def parts() -> Parts:
    """What the capture in `capture_folder` was written from."""
    return make_parts()


@pytest.fixture
def capture_folder(tmp_path: Path, parts: Parts) -> Path:
    """A finished capture of 30 frames of 40 x 32 pixels."""
    return write_capture(tmp_path / "capture", **parts.arguments())
