"""What is rendered says so, with program, version and date; what was filmed does not."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from avatar import __version__
from avatar.base.provenance import provenance, provenance_line
from avatar.media.images import write_png
from avatar.media.video import FORMS, has_synthetic_tag, write_video

SAID = re.compile(rf"synthetic: .* made with flame-avatar {re.escape(__version__)} on \d{{4}}-\d\d-\d\dT")


def test_it_names_program_version_and_date() -> None:
    assert provenance()["synthetic"] is True
    assert SAID.match(provenance_line())


@pytest.mark.parametrize("ending", sorted(FORMS))
def test_every_kind_of_video_carries_it(tmp_path: Path, ending: str) -> None:
    frames = [np.full((32, 32, 3), 90, np.uint8)] * 3
    made = write_video(tmp_path / f"made{ending}", frames, 25.0, synthetic=True)
    assert has_synthetic_tag(made)
    with av.open(str(made)) as container:
        assert any(SAID.match(str(value)) for value in container.metadata.values())
    assert not has_synthetic_tag(write_video(tmp_path / f"filmed{ending}", frames, 25.0, synthetic=False))


def test_pictures_carry_it(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    with Image.open(write_png(tmp_path / "made.png", picture, synthetic=True)) as image:
        assert SAID.match(image.info["Comment"])
    with Image.open(write_png(tmp_path / "filmed.png", picture)) as image:
        assert "Comment" not in image.info
