"""Reproduce the ablations: train each variant for the same time on the same capture, measure all on the same frames.

python scripts/reproduce_ablations.py --capture runs/me/capture --minutes 6 --json runs/abl.json --html runs/abl.html

Writes the figures as JSON, and a page with a table and pictures; the pictures also as a PNG beside the page. With
--truth the held-out expressions and views of a synthetic clip are measured too. Given the same command again, it goes
on where it stopped. A quiet machine is up to you: the budget is time.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program runs; must be set before torch is loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # likewise, before NumPy

import cv2
import numpy as np
import tyro
from ablations_page import FULL, sheet, strips, text_table, write_page

from avatar.base.errors import AvatarError, ConfigError, OutputError, RunError
from avatar.base.files import read_json, write_json
from avatar.config import Config, list_presets, load_preset, presets_folder
from avatar.media.images import to_uint8, write_png

ABLATIONS = "ablations/"
PAPER = "paper"
"""The paper's own system. It needs hours where the others need minutes, so it is compared only when asked for."""
SPLITS = ("val", "test")
STATE = "variant.json"
"""In a variant's folder: what it is trained on (`identity`), by which `commit`, and once they are there what was
`trained` and `measured`."""
GATE_PICTURE = "gate.png"
BRIGHT = 64.0
"""A change of so many of 255 is white in the gate's picture."""


@dataclass(frozen=True)
class Settings:
    """What to train, for how long, and where the figures go."""

    capture: Path
    """Capture folder to train on."""
    minutes: float
    """Minutes of training of each variant. Its number of steps is limited by its preset, too."""
    json: Path
    """File for the figures."""
    html: Path
    """File for the page. The picture goes beside it, with the suffix .png."""
    truth: Path | None = None
    """Folder of a synthetic clip with held-out expressions and views, which are then measured as well."""
    frames: int = 0
    """Measure at most so many frames of each split, evenly spread: a picture of the paper's field takes a minute on two
    cores. 0 for all."""
    variants: tuple[str, ...] = ()
    """Variants by name: cpu (the full system), all of configs/ablations, and paper. By default all but paper."""
    work: Path | None = None
    """Folder for the variants' runs. By default beside the JSON file, with the suffix .runs."""


def main() -> int:
    settings = tyro.cli(Settings, description=__doc__)
    try:
        result = reproduce(settings)
    except AvatarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text_table(result["variants"]))
    for path in (settings.json, settings.html, picture_path(settings)):
        print(f"wrote {path}")
    return 0


def reproduce(settings: Settings) -> dict[str, Any]:
    """Train, measure and write everything; returns the JSON file's content.

    Whatever can be refused is refused before the first training. Raises AvatarErrors only.
    """
    from avatar.app.workflow import check_minutes
    from avatar.data.capture import read_capture
    from avatar.training.held_out import find_held_out

    presets = pick_variants(settings.variants)
    check_minutes(settings.minutes)
    if settings.frames < 0:
        raise ConfigError("--frames cannot be this", expected="0 (all) or more", found=settings.frames)
    read_capture(settings.capture)
    if settings.truth is not None:
        find_held_out(settings.truth)
    result = {"command": command(), **around(), "capture": str(settings.capture), "minutes": settings.minutes}
    work = settings.work or settings.json.with_suffix(".runs")
    folders = {name: work / name for name in presets}
    configs = {name: load_preset(preset) for name, preset in presets.items()}
    for name, folder in folders.items():
        begin(folder, identity(settings, configs[name]), result["commit"])
    result["variants"] = {}
    for name, folder in folders.items():
        print(f"variant {name}", file=sys.stderr)
        state = measured_state(folder, settings, configs[name])
        comment, overrides = preset_file(presets[name])
        result["variants"][name] = {
            "comment": comment,
            "commit": state["commit"],
            **state["trained"],
            "overrides": overrides,
            "metrics": state["measured"]["metrics"],
            "gate": state["measured"]["gate"],
        }
    write_json(settings.json, result)
    pictures = strips(folders, GATE_PICTURE)
    write_page(settings.html, result, pictures)
    write_png(picture_path(settings), sheet(pictures), synthetic=True)
    return result


def picture_path(settings: Settings) -> Path:
    """Where the page's strips are put as one picture."""
    return settings.html.with_suffix(".png")


def pick_variants(names: tuple[str, ...]) -> dict[str, str]:
    """Names of presets by names of variants: those that were asked for, or all. Raises ConfigError for unknown ones."""
    known = {FULL: FULL}
    known |= {name.removeprefix(ABLATIONS): name for name in list_presets() if name.startswith(ABLATIONS)}
    every = tuple(known)
    known[PAPER] = PAPER
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError("unknown variant", expected=", ".join(known), found=", ".join(unknown))
    return {name: known[name] for name in names or every}


def preset_file(preset: str) -> tuple[str, dict[str, Any]]:
    """What a preset's file says of itself in its first lines, and the settings it holds."""
    import yaml

    text = (presets_folder() / f"{preset}.yaml").read_text()
    comment = takewhile(lambda line: line.startswith("#"), text.splitlines())
    return " ".join(line.lstrip("# ") for line in comment), yaml.safe_load(text) or {}


def command() -> str:
    """The command line, without this machine's folders before the script's name."""
    import shlex

    return shlex.join(["python", "scripts/reproduce_ablations.py", *sys.argv[1:]])


def around() -> dict[str, Any]:
    """Commit, date, machine and versions, as the benchmarks say them."""
    import benchmark_kernels

    found = benchmark_kernels.environment(benchmark_kernels.Settings())
    commit = found["commit"] and found["commit"][:7] + ("+" if found["uncommitted_changes"] else "")
    return {
        "commit": commit,
        "date": found["date"],
        "machine": {**found["machine"], "threads": found["threads"]},
        "versions": {name: found[name] for name in ("python", "torch", "warp")},
    }


def identity(settings: Settings, config: Config) -> dict[str, Any]:
    """What a variant's training follows from, as JSON values."""
    return {"capture": str(settings.capture.resolve()), "minutes": settings.minutes, "config": asdict(config)}


def begin(folder: Path, wanted: dict[str, Any], commit: str | None) -> None:
    """Make a variant's folder, or check that what it holds follows from the same settings.

    Raises OutputError where it holds something else; nothing is touched then.
    """
    path = folder / STATE
    if not folder.exists() or not any(folder.iterdir()):
        write_json(path, {"identity": wanted, "commit": commit, "trained": None, "measured": None})
        return
    if not path.exists():
        raise OutputError("the folder holds something else", where=folder, expected=STATE, fix="choose another --work")
    new, old = flat(wanted), flat(read_json(path, OutputError)["identity"])
    other = [key for key in {**new, **old} if new.get(key) != old.get(key)]
    if other:
        raise OutputError(
            "the variant was trained otherwise",
            where=folder,
            expected=", ".join(f"{key} {new.get(key)}" for key in other),
            found=", ".join(f"{key} {old.get(key)}" for key in other),
            fix="choose another --work, or remove the folder",
        )


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with keys such as config.training.rays."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return result


def measured_state(folder: Path, settings: Settings, config: Config) -> dict[str, Any]:
    """Do what is not done yet in a variant's folder, noting each stage in its `STATE`, and return what that holds."""
    from avatar.data.checkpoint import FOLDER, LATEST, checkpoint_path, load_avatar, read_checkpoint
    from avatar.training.evaluate import evaluate
    from avatar.training.trainer import train
    from capture_tools.detect.landmark_detector import LandmarkDetector

    state = read_json(folder / STATE, RunError)
    if state["trained"] is None:
        stopped = (folder / FOLDER / LATEST).exists()
        train(settings.capture, folder, config, minutes=settings.minutes, resume=stopped)
        header, _ = read_checkpoint(checkpoint_path(folder))
        state["trained"] = {"steps": header["step"], "seconds": round(header["elapsed"], 2)}
        write_json(folder / STATE, state)
    truth = str(settings.truth.resolve()) if settings.truth is not None else None
    asked = {"truth": truth, "frames": settings.frames}
    if state["measured"] is None or any(state["measured"].get(key) != value for key, value in asked.items()):
        with LandmarkDetector(static=True) as detector:
            metrics = evaluate(
                folder,
                SPLITS,
                detect=detector.detect,
                truth=settings.truth,
                max_frames=settings.frames or None,
            )
        gate = gate_of(load_avatar(folder), folder / GATE_PICTURE)
        state["measured"] = {**asked, "metrics": metrics, "gate": gate}
        write_json(folder / STATE, state)
    return state


def gate_of(avatar: Any, picture: Path) -> dict[str, float | None]:
    """The gate's figures of an Avatar, of 255; null where there are no such pixels. Writes the picture of them.

    The picture shows a pixel's largest change, square-rooted: leaks are a hundred times fainter than the mouth. The
    line is where outside begins.
    """
    import math

    from measure_gate import gate_figures

    figures = gate_figures(avatar)
    shown = to_uint8(np.sqrt(figures.pop("change") / BRIGHT))[..., None].repeat(3, 2)
    line = cv2.morphologyEx(figures.pop("outside").astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8))
    shown[line > 0] = (165, 72, 45)
    write_png(picture, shown, synthetic=True)
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


if __name__ == "__main__":
    sys.exit(main())
