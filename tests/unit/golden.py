"""Golden pictures: how a picture looked when a person last looked at it.

After a change on purpose: set AVATAR_WRITE_GOLDEN=1, run the tests, and look at the pictures before committing them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from avatar.media.images import read_png, write_png

FOLDER = Path(__file__).parent / "golden"


def assert_golden(picture: np.ndarray, name: str, *, mean: float, worst: float) -> None:
    """Compare `[H, W, 3]` uint8 with the golden picture `name`, in grey levels of 255.

    mean: bound of the mean absolute difference. worst: bound of that of the worst block of 8 x 8 pixels, in which a
    change of a small part shows.
    """
    path = FOLDER / f"{name}.png"
    if os.environ.get("AVATAR_WRITE_GOLDEN"):
        write_png(path, picture, synthetic=True)
    golden = read_png(path)
    assert picture.shape == golden.shape
    difference = np.abs(picture.astype(np.float32) - golden).mean(-1)
    height, width = (side // 8 * 8 for side in difference.shape)
    blocks = difference[:height, :width].reshape(height // 8, 8, width // 8, 8).mean((1, 3))
    found = f"{name}: mean {difference.mean():.3f}, worst block {blocks.max():.2f}"
    assert difference.mean() <= mean, found
    assert blocks.max() <= worst, found
