"""Commands that make an avatar: create, capture, train, eval."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from avatar.app.outcome import Outcome, shown
from avatar.app.overrides import overrides_class, with_overrides
from avatar.app.summaries import capture_files, metric_lines, photo_files, run_files, warning_lines
from avatar.base.errors import InputError
from avatar.base.progress import clock
from capture_tools.settings import CaptureSettings

Preset = Literal["auto", "cpu", "fast", "paper"]
Split = Literal["train", "val", "test"]
if TYPE_CHECKING:
    Settings = Any
else:
    Settings = overrides_class()


@dataclass
class Create:
    """Make an avatar from a video of one person: capture, train and eval in one go.

    A run that was stopped goes on where it was when the same command is given again.
    """

    video: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """Video of one face, 10 to 60 seconds (docs/capture.md says what a good one is)."""
    out: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Folder for the run; the capture goes to RUN/capture."""
    preset: Preset = "auto"
    """Settings of the field and the training. auto takes fast on a CUDA GPU, cpu otherwise."""
    minutes: Annotated[float | None, tyro.conf.arg(metavar="M")] = None
    """Longest time to train, in minutes. The preset's own by default."""
    capture: CaptureSettings = dataclasses.field(default_factory=CaptureSettings)
    settings: Settings = dataclasses.field(default_factory=Settings)

    def run(self) -> Outcome:
        from avatar.app.workflow import create, pick_config

        config = with_overrides(pick_config(self.preset), self.settings)
        made = create(self.video, self.out, config=config, minutes=self.minutes, settings=self.capture)
        run, folder = made.run, made.capture
        files = [*run_files(run)[:2], *capture_files(folder)[1:]]
        files += [(made.sheet, "real and rendered frames, never trained on")]
        files += [(run / "eval" / "metrics.json", "the numbers")]
        taken = ", ".join(f"{stage} {clock(seconds)}" for stage, seconds in made.seconds.items())
        return Outcome(
            files,
            f"avatar reanimate {shown(run)} --driver VIDEO --out out.mp4   or   "
            f"avatar render {shown(run)} --expression sweep:smile --out orbit.mp4",
            [*metric_lines(made.metrics), f"time: {taken}", *warning_lines(folder)],
        )


@dataclass
class Capture:
    """Turn a video into a capture folder: frames, masks, camera and the head's parameters in every frame."""

    out: Annotated[Path, tyro.conf.arg(metavar="CAPTURE")]
    """Folder for the capture."""
    video: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")] = None
    """Video of one face."""
    image: Annotated[Path | None, tyro.conf.arg(metavar="PHOTO")] = None
    """A single photograph instead of a video: one head with its texture and light."""
    settings: CaptureSettings = dataclasses.field(default_factory=CaptureSettings)

    def run(self) -> Outcome:
        from avatar.app.workflow import capture_photo, capture_video

        if (self.video is None) == (self.image is None):
            raise InputError(
                "a capture needs one source",
                expected="either VIDEO or --image PHOTO",
                found="both" if self.image else "neither",
            )
        if self.image is not None:
            folder = capture_photo(self.image, self.out, self.settings)
            look = f"look at {shown(folder)}/report/overlay.png"
            return Outcome(photo_files(folder), look, warning_lines(folder))
        assert self.video is not None
        folder = capture_video(self.video, self.out, self.settings)
        return Outcome(
            capture_files(folder),
            f"look at {shown(folder)}/report/contact_sheet.png, then: avatar train {shown(folder)} --out RUN",
            warning_lines(folder),
        )


@dataclass
class Train:
    """Train an avatar on a capture folder."""

    capture: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CAPTURE")]
    """Capture folder, made by `avatar capture`."""
    out: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Folder for the run."""
    preset: Preset = "auto"
    """Settings of the field and the training. auto takes fast on a CUDA GPU, cpu otherwise."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """YAML file with settings, such as a run's config.yaml. `base: fast` in it starts from that preset."""
    minutes: Annotated[float | None, tyro.conf.arg(metavar="M")] = None
    """Longest time to train, in minutes. The preset's own by default."""
    resume: bool = False
    """Go on with a run that was stopped."""
    settings: Settings = dataclasses.field(default_factory=Settings)

    def run(self) -> Outcome:
        from avatar.app.workflow import pick_config, train_run
        from avatar.config import read_config

        config = None
        if self.config is not None:
            config = read_config(self.config)
        elif self.preset != "auto" or not self.resume:
            config = pick_config(self.preset)
        elif (self.out / "config.yaml").exists():
            config = read_config(self.out / "config.yaml")
        if config is not None:
            config = with_overrides(config, self.settings)
        train_run(self.capture, self.out, config=config, minutes=self.minutes, resume=self.resume)
        return Outcome(run_files(self.out), f"avatar eval {shown(self.out)}")


@dataclass
class Eval:
    """Render the frames an avatar was not trained on and measure how close they are."""

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """Run folder, made by `avatar create` or `avatar train`."""
    splits: Annotated[tuple[Split, ...], tyro.conf.arg(metavar="{train,val,test}...")] = ("val", "test")
    """Which frames to render."""
    truth: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also score expressions and views that the clip never showed: DIR is the folder of the synthetic clip that the
    avatar was made from (scripts/make_synthetic_clip.py)."""

    def run(self) -> Outcome:
        from avatar.app.workflow import evaluate_run
        from avatar.base.folder_lock import locked_folder
        from avatar.data.folders import run_at

        run = run_at(self.run_folder)
        with locked_folder(run):
            metrics = evaluate_run(run, self.splits, self.truth)
        files = [(run / "eval" / "metrics.json", "the numbers")]
        files += [(run / "eval" / split, "pred, gt and mask of every frame") for split in metrics]
        return Outcome(files, f"avatar reanimate {shown(run)} --driver VIDEO --out out.mp4", metric_lines(metrics))
