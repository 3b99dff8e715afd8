"""Score an avatar on a head turned further than in training: a real clip's own measure of unseen sides.

An avatar is trained on those frames of a capture whose yaw lies within an angle of the clip's median, and scored on
those beyond a second one (`test`). The capture itself is left as it is; OUT/capture is a copy with another split.

python scripts/measure_turned.py runs/me/capture --train-within 4 --score-beyond 9 --minutes 4 --out runs/turned
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from avatar.base.conventions import SPLITS
from avatar.base.errors import AvatarError, CaptureError
from avatar.base.files import write_json

SHOWN = ("face_psnr", "mouth_psnr", "psnr", "identity_distance", "expression_error", "frames")
EVERY = 10
"""One in so many frames within the training angle is held out: `val` has them and the frames between the angles."""


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    capture: Annotated[Path, tyro.conf.Positional]
    """Capture folder of a clip."""
    out: Path
    """Folder for the split capture and the run; new or empty."""
    train_within: float = 4.0
    """Train on frames whose yaw is within so many degrees of the median."""
    score_beyond: float = 9.0
    """Score frames whose yaw is so many degrees or more away from it."""
    minutes: float = 4.0
    """Minutes of training."""
    preset: str = "cpu"
    """Preset of the training."""


def split_by_yaw(capture: Path, out: Path, within: float, beyond: float) -> dict[str, int]:
    """Copy a capture into `out` with the splits by yaw; returns frames per split. Raises CaptureError where no frame
    is turned far enough."""
    report = json.loads((capture / "report" / "report.json").read_text())
    header = json.loads((capture / "transforms.json").read_text())
    yaw = np.array([frame["yaw_degrees"] for frame in report["frames"]], float)
    if len(yaw) != len(header["frames"]):
        raise CaptureError("the report does not fit the frames", where=capture, expected=len(header["frames"]))
    away = np.abs(yaw - np.median(yaw))
    near, far = np.flatnonzero(away <= within), np.flatnonzero(away >= beyond)
    if len(far) == 0 or len(near) < 2:
        raise CaptureError(
            "the head does not turn as far as asked",
            where=capture,
            expected=f"frames within {within:g} and beyond {beyond:g} degrees of the median",
            found=f"{len(near)} and {len(far)}; the furthest is {away.max():.1f} degrees away",
        )
    held = near[EVERY - 1 :: EVERY]
    train = np.setdiff1d(near, held)
    splits = {"train": train, "val": np.setdiff1d(np.arange(len(yaw)), np.concatenate([train, far])), "test": far}
    shutil.copytree(capture, out, ignore=shutil.ignore_patterns("stages", ".avatar.lock"))
    for split in SPLITS:
        frames = [header["frames"][int(i)] for i in splits[split]]
        write_json(out / f"transforms_{split}.json", {**header, "frames": frames})
    return {**{split: len(rows) for split, rows in splits.items()}, "mean_degrees": float(away[far].mean())}


def figures(metrics: dict[str, Any]) -> str:
    return "\n".join(
        f"{split:<5} " + "  ".join(f"{key} {'-' if row[key] is None else f'{row[key]:.3f}'}" for key in SHOWN)
        for split, row in metrics.items()
    )


def main() -> int:
    settings = tyro.cli(Settings, description=__doc__)
    from avatar import evaluate, train
    from avatar.config import load_preset

    try:
        if settings.out.exists() and any(settings.out.iterdir()):
            raise CaptureError("the folder is not empty", where=settings.out, fix="choose another --out")
        counts = split_by_yaw(settings.capture, settings.out / "capture", settings.train_within, settings.score_beyond)
        run = settings.out / "run"
        train(settings.out / "capture", run, load_preset(settings.preset), minutes=settings.minutes)
        result = evaluate(run)
        write_json(settings.out / "turned.json", {"splits": counts, "metrics": result})
    except AvatarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{counts}\n{figures(result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
