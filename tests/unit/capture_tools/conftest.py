"""Fixtures shared by the tests of the capture tools. This file also puts its folder on the path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from painted_clip import PaintedClip, painted_clip

from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.media.video import write_video

CLIPS = Path(__file__).parents[4] / "shared" / "data" / "clips"


@pytest.fixture(scope="session")
def head() -> HeadAsset:
    return load_head()


@pytest.fixture(scope="session")
def painted(head: HeadAsset) -> PaintedClip:
    """28 frames of 320 x 240."""
    return painted_clip(head, 28)


@pytest.fixture(scope="session")
def painted_video(painted: PaintedClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The painted head as an mp4; frames 5 and 6 are grey."""
    images = [np.full_like(image, 127) if i in (5, 6) else image for i, image in enumerate(painted.images)]
    return write_video(tmp_path_factory.mktemp("painted") / "clip.mp4", images, 25, synthetic=True)


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """The folder of recorded clips; skips where it is absent."""
    if not CLIPS.is_dir():
        pytest.skip(f"the recordings are not here: {CLIPS}")
    return CLIPS
