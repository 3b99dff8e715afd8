"""The front door for other programs: the commands as functions that take and return Python values.

They raise the same typed errors as the commands (`avatar.base.errors`), print progress to standard error only, and
lock the folders they write into. `from avatar import capture, train, evaluate, reanimate, render, export_avatar`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avatar.animation.camera_paths import DEFAULT_AMPLITUDE_DEGREES
from avatar.animation.driver_files import DEFAULT_FPS, Driver, find_driver, load_driver
from avatar.animation.expressions import jaw_share_of
from avatar.animation.reanimate import VIDEO_ENDINGS, render_path, require_renderable, require_writable
from avatar.animation.reanimate import reanimate as write_reanimation
from avatar.animation.transfer import Retarget
from avatar.app.workflow import capture_photo, capture_video, evaluate_run, track_driver, train_run
from avatar.avatar import Avatar
from avatar.base.folder_lock import locked_folder
from avatar.config import Config
from avatar.data.capture import Capture, read_capture
from avatar.data.checkpoint import load_avatar
from avatar.data.folders import PICTURES, run_at
from avatar.export.formats import Exported, Format, check_export, export_run
from avatar.export.terms import Terms
from capture_tools.settings import CaptureSettings


def capture(source: str | Path, out: str | Path, settings: CaptureSettings | None = None) -> Capture:
    """Capture a video, or fit the head to a photograph, into the folder `out`.

    Goes on where an earlier call stopped.
    """
    run = capture_photo if Path(source).suffix.lower() in PICTURES else capture_video
    return read_capture(run(Path(source), Path(out), settings))


def train(
    capture: str | Path,
    out: str | Path,
    config: Config | None = None,
    *,
    minutes: float | None = None,
    resume: bool = False,
) -> Avatar:
    """Train an avatar on a capture folder into the run folder `out`. config: the preset for this machine by default."""
    train_run(Path(capture), Path(out), config=config, minutes=minutes, resume=resume)
    return load_avatar(Path(out))


def evaluate(
    run: str | Path, splits: Sequence[str] = ("val", "test"), truth: str | Path | None = None
) -> dict[str, Any]:
    """Render held-out frames of a run and measure them: the content of its eval/metrics.json, split by split."""
    with locked_folder(Path(run)):
        return evaluate_run(Path(run), splits, None if truth is None else Path(truth))


def reanimate(
    avatar: Avatar | str | Path,
    driver: str | Path,
    out: str | Path,
    *,
    settings: Retarget | None = None,
    compare: bool = False,
    start: float | None = None,
    end: float | None = None,
    live: bool = False,
    background: str = "scene",
    overwrite: bool = False,
) -> Path:
    """Write the avatar (or that of a run folder) performing what a driver does, as a video; returns the file.

    driver: a video, a capture or run folder, a Live Link Face CSV or an .npz of parameters; the other options as in
    `avatar reanimate`.
    """
    require_writable(Path(out), VIDEO_ENDINGS, overwrite, inputs=(Path(driver),))
    person = avatar if isinstance(avatar, Avatar) else load_avatar(Path(avatar))
    performance = driver_for(person, Path(driver), start=start, end=end, live=live)
    options = {"settings": settings, "background": background, "compare": compare, "overwrite": overwrite}
    return write_reanimation(person, performance, Path(out), **options)


def driver_for(avatar: Avatar, source: Path, **part: Any) -> Driver:
    """The performance of a driver for an avatar, whose mouth a CSV opens as its own clip did; `part`: as `load_driver`
    takes it (start, end, live, rotate)."""
    share = jaw_share_of(avatar.parameters, avatar.asset)
    return load_driver(source, avatar.asset, **part, track=track_driver, jaw_share=share)


def export_avatar(
    run: str | Path,
    out: str | Path,
    format: Format,
    *,
    driver: str | Path | None = None,
    points: bool = False,
    author: str | None = None,
    licence: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a run in one of the formats; returns the path and what there is to say about it.

    driver: a performance in place of the run's clip. points: of ply, the surface's points alone. author, licence: of
    vrm, who made the avatar and the web address of its terms of use. Not called `export`, which is the package of the
    formats.
    """
    terms = Terms(author, licence)
    check_export(format, Path(out), driven=driver is not None, points=points, overwrite=overwrite, terms=terms)
    source = None if driver is None else find_driver(Path(driver))
    load = None if source is None else lambda avatar: driver_for(avatar, source)
    options = {"load_avatar": load_avatar, "load_driver": load, "points": points, "overwrite": overwrite}
    return export_run(run_at(Path(run)), Path(out), format, terms=terms, **options)


def render(
    avatar: Avatar | str | Path,
    out: str | Path,
    *,
    path: str = "orbit",
    expression: str = "neutral",
    frames: int | None = None,
    fps: float = DEFAULT_FPS,
    size: int | None = None,
    amplitude: float = DEFAULT_AMPLITUDE_DEGREES,
    background: str = "scene",
    overwrite: bool = False,
) -> Path:
    """Write the avatar (or that of a run folder) along a camera path, as mp4 or one png; returns the file.

    The options are those of `avatar render`. For single pictures as arrays there is `load_avatar(run).render(...)`.
    """
    require_renderable(Path(out), frames=frames, fps=fps, size=size, amplitude=amplitude, overwrite=overwrite)
    person = avatar if isinstance(avatar, Avatar) else load_avatar(Path(avatar))
    return render_path(
        person,
        Path(out),
        path=path,
        expression=expression,
        frames=frames,
        fps=fps,
        size=size,
        amplitude=amplitude,
        background=background,
        overwrite=overwrite,
    )
