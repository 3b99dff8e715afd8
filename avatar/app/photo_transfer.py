"""From a photograph and a driver's file to a video: what `avatar transfer` and the function share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from avatar.animation.driver_files import find_driver
from avatar.animation.options import DriverPart, Retarget
from avatar.animation.outputs import require_writable
from avatar.animation.transfer import parse_gains
from avatar.animation.work import work_beside
from avatar.app.reanimation import kept_driver
from avatar.app.workflow import capture_photo
from avatar.base import limits
from avatar.flame.library import open_head_model
from avatar.media.manifest import require_signing


@dataclass(frozen=True)
class TransferPlan:
    """What `avatar transfer` was asked for."""

    photograph: Path
    driver: Path
    out: Path
    settings: Retarget
    part: DriverPart
    size: int | None
    """Pixels of the longer side of the video; None for the photograph's, up to 1024."""
    head_model: str
    texture_space: Path | None
    """Texture space that completes the skin which the photograph hides."""
    overwrite: bool


def transfer_photograph(plan: TransferPlan) -> tuple[Path, list[str]]:
    """Write the photograph performing what the driver does; returns the output and what a person should be told.

    Raises what `find_driver`, `parse_gains`, `capture_photograph` and `load_driver` raise, OutputError where the output
    exists or cannot be written.
    """
    from avatar.app.photo_writing import photograph_of, video_at, write_transfer
    from capture_tools.embed.embedding import ready_head
    from capture_tools.photo import read_photograph
    from capture_tools.settings import CaptureSettings

    limits.RENDER_SIZE.require("--size", plan.size)
    require_signing()
    require_writable(video_at(plan.out), (), plan.overwrite, [plan.photograph, plan.driver])
    parse_gains(plan.settings.gain)
    source = find_driver(plan.driver, plan.part)
    read_photograph(plan.photograph)
    settings = replace(CaptureSettings(), head_model=plan.head_model, texture_space=plan.texture_space)
    with work_beside(plan.out) as work, TemporaryDirectory() as place:
        folder = capture_photo(plan.photograph, Path(place) / "capture", settings)
        asset = ready_head(open_head_model(plan.head_model))
        photograph, own = photograph_of(folder, plan.photograph, asset, plan.size)
        driver = kept_driver(own, asset, source, plan.part, work)
        written = write_transfer(photograph, own, driver, plan.out, plan.settings)
        work.finish()
    return written, list(driver.notes)
