"""The picture that a page shows while viser's own code and the avatar are loaded, which take seconds."""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path

import numpy as np

from avatar.base.errors import AvatarError
from avatar.base.files import refuse_links
from avatar.media.images import png_bytes, read_png, write_png

PREVIEW = "view/preview.png"
"""In the run: the first picture of the last time it was opened."""
PAGE_ASPECT = 16 / 9
EVALUATED = ("eval/test/pred", "eval/val/pred")
"""In the run: pictures of the avatar to show where there is no preview yet."""
PAGE_END = b"</body>"
SPLASH = """<img id="avatar-preview" alt="" src="data:image/png;base64,{picture}"
 style="position:fixed;inset:0;width:100%;height:100%;z-index:9;pointer-events:none">
<script>
  // the controls come with the avatar's own first picture
  const preview = document.getElementById("avatar-preview"), watch = setInterval(() => {{
    if (!document.querySelector("[role=tab]")) return;
    clearInterval(watch);
    setTimeout(() => preview.remove(), 300);
  }}, 50);
</script>
"""
"""HTML that covers a page, stretched as viser stretches its background, until the page has controls."""


def preview_of(run: Path) -> np.ndarray | None:
    """A picture `[H, W, 3]` uint8 of a run's avatar from before; None where there is none that can be read."""
    with suppress(AvatarError, OSError):
        return read_png(run / PREVIEW)
    for folder in EVALUATED:
        for path in sorted((run / folder).glob("*.png"))[:1]:
            with suppress(AvatarError, OSError):
                return widened(read_png(path))
    return None


def widened(picture: np.ndarray) -> np.ndarray:
    """A picture `[H, W, 3]` with its edges continued at both sides to the shape of a usual page, which stretches it."""
    height, width = picture.shape[:2]
    missing = max(0, round(height * PAGE_ASPECT) - width)
    return np.pad(picture, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)), mode="edge")


def keep_preview(run: Path, image: np.ndarray) -> None:
    """Keep a picture for `preview_of`, tagged as synthetic. Where the run cannot be written to, nothing happens."""
    with suppress(AvatarError, OSError):
        refuse_links(run, Path(PREVIEW).parts[0], PREVIEW)
        write_png(run / PREVIEW, image, synthetic=True)


def covered(page: bytes, picture: np.ndarray | None) -> bytes:
    """An HTML page that shows a picture `[H, W, 3]` uint8 from its first moment until it has controls.

    Without a picture, and where the page's end is not found, the page as it was.
    """
    if picture is None:
        return page
    before, end, after = page.rpartition(PAGE_END)
    splash = SPLASH.format(picture=base64.b64encode(png_bytes(picture, synthetic=True)).decode()).encode()
    return before + splash + end + after if end else page
