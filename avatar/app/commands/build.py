"""Commands that make an avatar: create, capture, train, eval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar.app.commands.outcome import Outcome, shown
from avatar.base.conventions import OPEN_HEAD
from avatar.base.errors import CaptureError, InputError
from avatar.base.files import read_json

Preset = Literal["auto", "cpu", "fast", "paper"]
Split = Literal["train", "val", "test"]
Rotate = Literal["auto", 0, 90, 180, 270]


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
    size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None
    """Side of the square crop around head and shoulders, in pixels. 512 on a GPU, else 256 by default."""
    head_model: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = OPEN_HEAD
    """Head model: a name that `avatar model list` shows, or a FLAME file."""
    start: Annotated[float | None, tyro.conf.arg(metavar="SEC")] = None
    """Leave out what comes before this second of the video."""
    end: Annotated[float | None, tyro.conf.arg(metavar="SEC")] = None
    """Leave out what comes after this second of the video."""
    max_frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Use at most this many frames, evenly spread over the clip."""
    shot: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Which shot of a video that was cut: 1 is the first. The one with most frames of a face by default."""
    camera: Literal["auto", "static", "moving"] = "auto"
    """Whether the camera stood still or was carried around; auto looks at the background."""
    rotate: Rotate = "auto"
    """Degrees by which the frames are turned clockwise, after what the file says; auto sets a face upright that lies on
    its side or upside down. 0 for a person who really lies down."""

    def run(self) -> Outcome:
        from avatar.app.workflow import create

        return create(
            self.video,
            self.out,
            preset=self.preset,
            minutes=self.minutes,
            size=self.size,
            head_model=self.head_model,
            start=self.start,
            end=self.end,
            max_frames=self.max_frames,
            shot=self.shot,
            camera=self.camera,
            rotate=self.rotate,
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
    size: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None
    """Side of the square crop around head and shoulders, in pixels. 512 on a GPU, else 256 by default."""
    head_model: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = OPEN_HEAD
    """Head model: a name that `avatar model list` shows, or a FLAME file."""
    start: Annotated[float | None, tyro.conf.arg(metavar="SEC")] = None
    """Leave out what comes before this second of the video."""
    end: Annotated[float | None, tyro.conf.arg(metavar="SEC")] = None
    """Leave out what comes after this second of the video."""
    max_frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Use at most this many frames, evenly spread over the clip."""
    shot: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Which shot of a video that was cut: 1 is the first. The one with most frames of a face by default."""
    camera: Literal["auto", "static", "moving"] = "auto"
    """Whether the camera stood still or was carried around; auto looks at the background."""
    rotate: Rotate = "auto"
    """Degrees by which the frames are turned clockwise, after what the file says; auto sets a face upright that lies on
    its side or upside down. 0 for a person who really lies down."""
    photometric: bool = True
    """Fit the head to the pictures after the landmarks: better poses, for about a minute per 10 s of video."""

    def run(self) -> Outcome:
        from avatar.app.workflow import capture_photo, capture_video

        if (self.video is None) == (self.image is None):
            raise InputError(
                "a capture needs one source",
                expected="either VIDEO or --image PHOTO",
                found="both" if self.image else "neither",
            )
        if self.image is not None:
            folder = capture_photo(self.image, self.out, size=self.size, head_model=self.head_model, rotate=self.rotate)
            look = f"look at {shown(folder)}/report/overlay.png"
            return Outcome(photo_files(folder), look, warning_lines(folder))
        folder = capture_video(
            self.video,
            self.out,
            size=self.size,
            head_model=self.head_model,
            start=self.start,
            end=self.end,
            max_frames=self.max_frames,
            shot=self.shot,
            camera=self.camera,
            rotate=self.rotate,
            photometric=self.photometric,
        )
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

    def run(self) -> Outcome:
        from avatar.app.workflow import train_run

        train_run(
            self.capture,
            self.out,
            preset=self.preset,
            config_file=self.config,
            minutes=self.minutes,
            resume=self.resume,
        )
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


def capture_files(folder: Path) -> list[tuple[Path, str]]:
    """What a capture leaves for a person to look at."""
    return [
        (folder / "transforms.json", "the capture: cameras and head parameters"),
        (folder / "report" / "report.json", "how well the head was tracked"),
        (folder / "report" / "overlay.mp4", "the tracked head over the video"),
        (folder / "report" / "contact_sheet.png", "the same at a glance"),
    ]


def photo_files(folder: Path) -> list[tuple[Path, str]]:
    """What the capture of a photograph leaves."""
    return [
        (folder / "flame_param" / "00000.npz", "the head's parameters"),
        (folder / "appearance" / "albedo.png", "its texture without the light; the light is beside it"),
        (folder / "report" / "overlay.png", "the fitted head over the photograph"),
    ]


def warning_lines(capture: Path) -> list[str]:
    """What the capture's report warns of, a line each."""
    report = capture / "report" / "report.json"
    warnings = read_json(report, CaptureError).get("warnings", []) if report.exists() else []
    return [f"warning: {warning}" for warning in warnings]


def run_files(run: Path) -> list[tuple[Path, str]]:
    """What a training leaves."""
    previews = sorted((run / "previews").glob("*.png"))[-1:]
    return [
        (run / "config.yaml", "every setting"),
        (run / "checkpoints", "the avatar"),
        (run / "log.jsonl", "losses over time; also in tensorboard/"),
        *[(preview, "the last preview") for preview in previews],
    ]


def metric_lines(metrics: dict) -> list[str]:
    """The numbers of metrics.json as a small table."""
    rows = [f"{'split':<11} {'frames':>6} {'psnr':>6} {'face':>6} {'mouth':>6} {'ssim':>6} {'expr.error':>10}"]
    for split, values in metrics.items():
        rows.append(
            f"{split:<11} {values.get('frames', 0):>6} {_number(values, 'psnr', 1)} {_number(values, 'face_psnr', 1)} "
            f"{_number(values, 'mouth_psnr', 1)} {_number(values, 'ssim', 3)} "
            f"{_number(values, 'expression_error', 4, 10)}"
        )
    return rows


def _number(values: dict, key: str, digits: int, width: int = 6) -> str:
    value = values.get(key)
    return f"{value:{width}.{digits}f}" if isinstance(value, (int, float)) else f"{'-':>{width}}"
