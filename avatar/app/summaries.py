"""What commands say about their results: the files they left, warnings, and numbers as small tables."""

from __future__ import annotations

from pathlib import Path

from avatar.base.errors import CaptureError
from avatar.base.files import read_json


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
