"""The front door for other programs: the commands as functions that take and return Python values.

They raise the same typed errors as the commands (`avatar.base.errors`), print progress to standard error only, and
lock the folders they write into. `from avatar import capture, train, evaluate, reanimate, render, export_avatar`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avatar.animation.driver_files import find_driver
from avatar.animation.options import (
    DEFAULT_AMPLITUDE_DEGREES,
    DEFAULT_FPS,
    DrivenPresentation,
    DriverPart,
    Presentation,
    Rendering,
    Retarget,
)
from avatar.animation.reanimate import render_path, require_renderable
from avatar.app.reanimation import driver_for, perform, planned
from avatar.app.workflow import capture_photo, capture_video, evaluate_run, train_run
from avatar.avatar import Avatar
from avatar.base.conventions import OPEN_HEAD, Rotate
from avatar.base.folder_lock import locked_folder
from avatar.base.progress import warn
from avatar.config import Config
from avatar.data.capture import Capture, read_capture
from avatar.data.checkpoint import load_avatar
from avatar.data.folders import PICTURES, run_at
from avatar.export.formats import Exported, Format, check_export, export_run
from avatar.export.terms import Terms
from capture_tools.multiview.settings import ReconstructSettings
from capture_tools.scan.settings import RegisterSettings
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
    driver: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    settings: Retarget | None = None,
    neutral: Sequence[float] = (),
    compare: bool = False,
    start: float | None = None,
    end: float | None = None,
    live: bool = False,
    rotate: Rotate = "auto",
    background: str = "scene",
    layers: str = "",
    overwrite: bool = False,
) -> Path:
    """Write the avatar (or that of a run folder) performing what a driver does, as a video or a sequence of pictures;
    returns `out`.

    driver: a video, a capture or run folder, a Live Link Face CSV or an .npz of parameters; several play one after
    another. The other options are as in `avatar reanimate`. What there is to say about a driver goes to standard error.
    """
    drivers = [driver] if isinstance(driver, (str, Path)) else driver
    part = DriverPart(start, end, rotate, live)
    presentation = DrivenPresentation(background, layers, overwrite, compare)
    plan = planned([Path(each) for each in drivers], Path(out), settings or Retarget(), neutral, part, presentation)
    person = avatar if isinstance(avatar, Avatar) else load_avatar(Path(avatar))
    written, notes = perform(person, plan)
    for note in notes:
        warn(note)
    return written


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


def register(
    scans: str | Path | Sequence[str | Path], out: str | Path, settings: RegisterSettings | None = None
) -> list[Path]:
    """Bring scans of heads to the head model's topology; returns their folders (`out` itself for a single scan)."""
    from capture_tools.scan.folder import register_files

    given = [scans] if isinstance(scans, (str, Path)) else scans
    return register_files([Path(scan) for scan in given], Path(out), settings)


def reconstruct(
    photographs: Sequence[str | Path], out: str | Path, settings: ReconstructSettings | None = None
) -> Path:
    """Make one head of two to eight photographs of one person; returns its folder, `out`."""
    from avatar.training.recognition import load_recognition
    from capture_tools.multiview.folder import reconstruct_files

    return reconstruct_files([Path(path) for path in photographs], Path(out), settings, load_recognition()[0])


def transfer(
    photograph: str | Path,
    driver: str | Path,
    out: str | Path,
    *,
    settings: Retarget | None = None,
    part: DriverPart | None = None,
    size: int | None = None,
    head_model: str = OPEN_HEAD,
    texture_space: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a photograph performing what a driver does, as a video; returns `out`.

    driver: as for `reanimate`. settings: how the performance is put on the face; the head keeps still by default. The
    other options are as in `avatar transfer`. What there is to say about the driver goes to standard error.
    """
    from avatar.app.photo_transfer import TransferPlan, transfer_photograph

    plan = TransferPlan(
        Path(photograph),
        Path(driver),
        Path(out),
        settings or Retarget(head_motion="still"),
        part or DriverPart(),
        size,
        head_model,
        None if texture_space is None else Path(texture_space),
        overwrite,
    )
    written, notes = transfer_photograph(plan)
    for note in notes:
        warn(note)
    return written


def render(
    avatar: Avatar | str | Path,
    out: str | Path,
    *,
    path: str = "orbit",
    expression: str | None = None,
    frames: int | None = None,
    fps: float = DEFAULT_FPS,
    size: int | None = None,
    amplitude: float = DEFAULT_AMPLITUDE_DEGREES,
    background: str = "scene",
    layers: str = "",
    overwrite: bool = False,
) -> Path:
    """Write the avatar (or that of a run folder) along a camera path, as a video, a sequence of pictures or one png;
    returns `out`.

    The options are those of `avatar render`. What there is to say about a path goes to standard error. For single
    pictures as arrays there is `load_avatar(run).render(...)`.
    """
    rendering = Rendering(path, expression, frames, fps, size, amplitude)
    presentation = Presentation(background, layers, overwrite)
    for note in require_renderable(Path(out), rendering, presentation).notes:
        warn(note)
    person = avatar if isinstance(avatar, Avatar) else load_avatar(Path(avatar))
    return render_path(person, Path(out), rendering, presentation)
