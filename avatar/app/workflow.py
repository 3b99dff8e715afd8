"""From a video to an avatar: capture, training and evaluation as the commands run them.

Every stage claims or checks its output folder before it starts, resumes where it stopped, and can be run alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.app.outcome import shown
from avatar.base.errors import AvatarError, CaptureError, OutputError, RunError
from avatar.base.files import (
    CLAIM_FILE,
    LOCK_FILE,
    read_json,
    require_free_space,
    sha256_of_file,
    withdraw_claim,
    write_json,
)
from avatar.base.folder_lock import claimed_folder, locked_folder
from avatar.base.limits import CAPTURE_SIZE, MINUTES
from avatar.config import Config, load_preset, read_config
from avatar.data.checkpoint_files import has_checkpoint
from avatar.data.folders import capture_at, refuse_other_sources
from avatar.flame.library import open_head_model
from avatar.media.images import read_png, write_png
from avatar.media.video import VideoInfo, probe_video
from capture_tools.settings import CaptureSettings

if TYPE_CHECKING:
    from avatar.animation.driver_files import Driver
    from avatar.animation.options import DriverPart
    from avatar.flame.assets import HeadAsset

BYTES_PER_PIXEL = 12
"""Room a frame takes on disk, generously: image, mask, held-out renders."""
FIXED_BYTES = 300 * 2**20
"""Room for checkpoints, logs and videos."""
TIMINGS = "timings.json"


@dataclass(frozen=True)
class Created:
    """What `create` made."""

    run: Path
    capture: Path
    metrics: dict[str, Any]
    """Figures of each held-out split, as eval/metrics.json."""
    sheet: Path
    """A picture of real and rendered held-out frames."""
    seconds: dict[str, float]
    """Of each stage."""


def create(
    video: Path,
    out: Path,
    *,
    config: Config | None = None,
    minutes: float | None = None,
    settings: CaptureSettings | None = None,
) -> Created:
    """Capture `video` into `out`/capture, train in `out` and evaluate. Goes on where an earlier call stopped.

    config: the preset for this machine by default. Raises InputError for a video that cannot be used (nothing is left
    behind then), OutputError where `out` holds something else, is being written by another command or the disk is full,
    HeadModelError, ConfigError, TrainingError.
    """
    video, out = Path(video), Path(out)
    config = config or pick_config("auto")
    check_minutes(minutes)
    settings = (settings or CaptureSettings()).check()
    settings = replace(settings, size=pick_size(settings.size, config))
    refuse_other_sources(video)
    info = probe_video(video)
    identity = {
        "video": sha256_of_file(video)[:16],
        "preset": config.preset,
        "size": settings.pixels,
        "head_model": open_head_model(settings.head_model).name,
        "range": settings.range,
        "max_frames": settings.max_frames or 0,
    }
    identity |= settings.changed(*identity, "start", "end")
    with claimed_folder(out, "run", identity):
        return _create(video, out, config, minutes, space_needed(info, settings.pixels), settings)


def _create(
    video: Path, out: Path, config: Config, minutes: float | None, needed_bytes: int, settings: CaptureSettings
) -> Created:
    """The stages, in a folder that was claimed for them."""
    folder = out / "capture"
    try:
        require_free_space(out, needed_bytes)
        with timed(out, "capture"):
            capture_video(video, folder, settings)
    except AvatarError:
        _withdraw(out)
        raise
    trained = has_checkpoint(out)
    if not (trained and "train" in finished_stages(out)):
        with timed(out, "train"):
            _train(folder, out, config, minutes=minutes, resume=trained)
    with timed(out, "eval"):
        metrics = evaluate_run(out, ("val", "test"))
    sheet = held_out_sheet(out, out / "previews" / "held_out.png")
    return Created(out, folder, metrics, sheet, finished_stages(out))


def capture_video(video: Path, out: Path, settings: CaptureSettings | None = None) -> Path:
    """Run the capture stage; see `capture_tools.pipeline.capture` for what it raises."""
    refuse_other_sources(video)
    from capture_tools.pipeline import capture

    settings = settings or CaptureSettings()
    return capture(Path(video), Path(out), replace(settings, size=pick_size(settings.size, None)))


def capture_photo(image: Path, out: Path, settings: CaptureSettings | None = None) -> Path:
    """Fit the head to one photograph; see `capture_tools.photo.capture_photograph` for what it raises."""
    from capture_tools.photo import capture_photograph

    settings = settings or CaptureSettings()
    return capture_photograph(Path(image), Path(out), replace(settings, size=pick_size(settings.size, None)))


def track_driver(video: Path, asset: HeadAsset, part: DriverPart) -> Driver:
    """The performance in a video, as `avatar.animation.driver_files.load_driver` takes it for its `track`."""
    from avatar.animation.driver_files import Driver
    from capture_tools.driver import track_driver as track

    found = track(video, asset, start=part.start, end=part.end, live=part.live, rotate=part.rotate)
    return Driver(found.params, found.fps, found.audio, found.audio_start, found.notes, video, found.rotate)


def train_run(
    capture: Path,
    out: Path,
    *,
    config: Config | None = None,
    minutes: float | None = None,
    resume: bool = False,
) -> None:
    """Run the training stage in a folder of its own.

    config: by default the preset for this machine, on resuming the run's own. `capture` may be a run too, whose capture
    is taken. Raises CaptureError for a folder that is no capture, OutputError where `out` holds something else, or a
    training and `resume` was not asked for, or is being written by another command, RunError where there is nothing to
    resume and nothing being made.
    """
    check_minutes(minutes)
    capture, out = capture_at(capture), Path(out)
    head = read_json(capture / "transforms.json", CaptureError).get("head_model")
    if resume and not has_checkpoint(out):
        if (out / LOCK_FILE).exists():  # a training that has left nothing yet may be at work: it is named then
            with locked_folder(out):
                pass
        raise RunError("there is nothing to resume", where=out, expected="checkpoints/latest", fix="leave out --resume")
    if config is None:
        config = read_config(out / "config.yaml") if resume else pick_config("auto")
    if resume and (out / "capture").resolve() == capture.resolve():  # a run of `avatar create`: already claimed by it
        with locked_folder(out):
            _train(capture, out, config, minutes=minutes, resume=True)
        return
    identity = {"capture": str(capture.resolve()), "head_model": head, "preset": config.preset}
    with claimed_folder(out, "run", identity):
        if has_checkpoint(out) and not resume:
            raise OutputError(
                "the run has been trained already", where=out, fix="add --resume to go on, or choose another --out"
            )
        with timed(out, "train"):
            _train(capture, out, config, minutes=minutes, resume=resume)


def _train(capture: Path, run: Path, config: Config, *, minutes: float | None, resume: bool) -> None:
    from avatar.training.trainer import train

    train(capture, run, config, resume=resume, minutes=minutes)


def evaluate_run(run: Path, splits: Sequence[str], truth: Path | None = None) -> dict[str, Any]:
    """Render and measure held-out splits, and the held-out sets below `truth`; returns metrics.json's content.

    The caller keeps others from writing into `run` (`avatar.base.folder_lock`).
    """
    from avatar.training.evaluate import evaluate
    from capture_tools.detect.landmark_detector import LandmarkDetector

    require_run(run)
    with LandmarkDetector(static=True) as detector:
        return evaluate(run, tuple(splits), detect=detector.detect, truth=truth)


def require_run(run: Path) -> None:
    """Raise RunError unless `run` holds a trained avatar."""
    if not has_checkpoint(run):
        raise RunError(
            "this is not a run folder with a trained avatar",
            where=run,
            expected="checkpoints/latest",
            fix="make one: avatar create VIDEO --out RUN",
        )


def pick_config(preset: str) -> Config:
    """The preset's settings; `auto` is fast where there is a CUDA GPU, else cpu."""
    return load_preset(("fast" if has_cuda() else "cpu") if preset == "auto" else preset)


def pick_size(size: int | None, config: Config | None) -> int:
    """The side of the crop in pixels: as asked, else 256 for the preset cpu (or a machine without GPU), else 512."""
    if size is None:
        return 256 if (config.preset == "cpu" if config is not None else not has_cuda()) else 512
    CAPTURE_SIZE.require("--size", size)
    return size


def check_minutes(minutes: float | None) -> None:
    """Raise ConfigError for a time budget that is not above zero, or that nobody waits for."""
    MINUTES.require("--minutes", minutes)


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def space_needed(info: VideoInfo, size: int) -> int:
    """Bytes that a run of this video will take on disk, generously."""
    return FIXED_BYTES + info.frame_count * size * size * BYTES_PER_PIXEL


def _withdraw(out: Path) -> None:
    """Take back a run folder that holds nothing of worth; what a capture has finished is kept."""
    if not (out / "capture" / LOCK_FILE).exists():  # else another command writes there
        withdraw_claim(out / "capture")
    if {entry.name for entry in out.iterdir()} <= {CLAIM_FILE, LOCK_FILE, TIMINGS}:
        (out / TIMINGS).unlink(missing_ok=True)
        withdraw_claim(out)


@contextmanager
def timed(run: Path, stage: str) -> Iterator[None]:
    """Note in `run`/timings.json how long a stage took, once it has finished; time of earlier parts is kept."""
    began = time.monotonic()
    yield
    stages = finished_stages(run)
    stages[stage] = round(stages.get(stage, 0.0) + time.monotonic() - began, 1)
    write_json(run / TIMINGS, stages)


def finished_stages(run: Path) -> dict[str, float]:
    """Seconds per finished stage."""
    path = Path(run) / TIMINGS
    return dict(read_json(path, RunError)) if path.exists() else {}


def held_out_sheet(run: Path, path: Path, columns: int = 6) -> Path:
    """Write a picture of held-out frames: the real ones above, the rendered ones below, spread over val and test."""
    pairs = [
        (real, run / "eval" / split / "pred" / real.name)
        for split in ("val", "test")
        for real in sorted((run / "eval" / split / "gt").glob("*.png"))
    ]
    pairs = [pair for pair in pairs if pair[1].exists()]
    if not pairs:
        raise RunError("the run has no evaluated frames", where=run, fix=f"avatar eval {shown(run)}")
    chosen = [pairs[i] for i in np.linspace(0, len(pairs) - 1, min(columns, len(pairs))).round().astype(int)]
    rows = [np.concatenate([read_png(pair[k], RunError) for pair in chosen], axis=1) for k in (0, 1)]
    return write_png(path, np.concatenate(rows, axis=0))
