"""Make a synthetic clip with known truth: clip.mp4 and truth/, a capture folder with the true parameters.

truth/held_out/ has expressions and views that the clip does not show; `avatar eval RUN --truth OUT` scores an avatar
on them.

python scripts/make_synthetic_clip.py --seed 0 --size 256 --frames 200 --out runs/synthetic
python scripts/make_synthetic_clip.py --camera moving --out runs/synthetic_moving
python scripts/make_synthetic_clip.py --motion frontal --out runs/synthetic_frontal
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from avatar.base.errors import AvatarError


@dataclass(frozen=True)
class Settings:
    """What to make."""

    out: Path
    """Folder for clip.mp4 and truth/; new, empty, or made by the same settings before."""
    seed: int = 0
    """Identity, colours, room and motion follow from it."""
    size: int = 256
    """Pixels of the square picture."""
    frames: int = 150
    """Length of the clip."""
    fps: float = 25.0
    """Frames per second."""
    head_model: str = "open-head"
    """Name of the head model to animate."""
    camera: Literal["static", "moving", "handheld"] = "static"
    """On a stand before a flat room; or, in a room with depth, carried around the person or held by a hand that
    sways."""
    motion: Literal["usual", "frontal"] = "usual"
    """A head that turns, or one that stays within 5 degrees."""
    sway: float = 0.01
    """How far a hand-held camera's picture sways, as a share of its width. 0 for the same clip on a stand."""
    held_out: bool = True
    """Also write truth/held_out: expressions and views that the clip does not show, for `avatar eval --truth`."""


def main() -> int:
    settings = tyro.cli(Settings, description=__doc__)
    from avatar.base.folder_lock import claimed_folder
    from avatar.base.limits import require_synthetic
    from avatar.base.progress import Progress
    from avatar.flame.library import load_head
    from avatar.synthetic.clip import make_synthetic_clip

    identity = {key: getattr(settings, key) for key in ("seed", "size", "frames", "fps", "head_model")}
    if settings.camera != "static":  # folders from before there was a choice are static ones
        identity["camera"] = settings.camera
    if settings.motion != "usual":
        identity["motion"] = settings.motion
    if settings.camera == "handheld":
        identity["sway"] = settings.sway
    try:
        require_synthetic(seed=settings.seed, size=settings.size, frames=settings.frames, fps=settings.fps)
        asset = load_head(settings.head_model)
        claimed = claimed_folder(settings.out, "synthetic clip", identity)
        with claimed, Progress("synthetic clip", settings.frames, unit="frame") as bar:
            clip = make_synthetic_clip(
                settings.out,
                seed=settings.seed,
                size=settings.size,
                frames=settings.frames,
                fps=settings.fps,
                asset=asset,
                camera=settings.camera,
                motion=settings.motion,
                sway=settings.sway,
                held_out=settings.held_out,
                progress=lambda done, _: bar.update(done),
            )
    except AvatarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {clip}\nwrote {settings.out / 'truth'}")
    print(f"next: avatar create {clip} --out runs/synthetic_avatar")
    return 0


if __name__ == "__main__":
    sys.exit(main())
