"""Time training on a capture: steps per second, where a step's time goes, seconds to a quality, peak memory.

python scripts/benchmark_training.py --capture runs/synthetic/truth --json docs/benchmarks/training_cpu.json

Works on the CPU or, where there is one, on CUDA. A capture with known truth comes from scripts/make_synthetic_clip.py.
The clock runs while steps are taken, and stands still during evaluations. A quiet machine is up to you.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the program runs; must be set before torch is loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # likewise, before NumPy

import tyro


@dataclass(frozen=True)
class Settings:
    """What to train, for how long, and where the figures go."""

    capture: Path
    """Capture folder to train on."""
    json: Path | None = None
    """File for the figures; without it they are only printed."""
    preset: str = "cpu"
    """Preset to measure."""
    seconds: float = 60.0
    """Seconds of training, the schedule's time budget too."""
    targets: tuple[float, ...] = (28.0, 30.0, 32.0)
    """Mouth PSNRs in dB whose times are asked for."""
    every: float = 2.0
    """Seconds of training between evaluations at the start; the pauses grow with the time."""
    frames: int = 8
    """Frames of the val split that are rendered for an evaluation."""
    image_size: int = 256
    """Pixels of the square picture whose rendering is timed at the end."""
    backends: tuple[Literal["warp", "torch", "tcnn", "nerfacc"], ...] = ()
    """Backends whose steps are timed as well, by turns with the preset's own; tcnn and nerfacc stand for the part they
    can do. By default the PyTorch twins, and what is installed beside them."""
    against: str | None = None
    """A second preset: how much sooner the first one is where this one is in the end."""
    against_minutes: float = 30.0
    """Minutes of training of the second preset."""
    device: str = "auto"
    """auto, cpu or cuda."""
    quick: bool = False
    """A few steps of everything: to see that it runs. The figures mean nothing."""


def main() -> int:
    settings = tyro.cli(Settings, description=__doc__)
    from avatar.base.errors import AvatarError

    try:
        result = measure(settings)
    except AvatarError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    report(result)
    if settings.json is not None:
        from avatar.base.files import write_json

        write_json(settings.json, result)
        print(f"wrote {settings.json}")
    return 0


def measure(settings: Settings) -> dict[str, Any]:
    """All figures of one run of this script."""
    from benchmark_kernels import environment
    from benchmark_steps import Trial, compare_backends, peak_memory_mib, step_shares, train_for

    from avatar.config import load_preset

    seconds = 3.0 if settings.quick else settings.seconds
    config = load_preset(settings.preset)
    trial = Trial.make(settings.capture, config, settings.device)
    curve = train_for(trial, seconds, every=settings.every, frames=settings.frames)
    result = {
        **environment(settings),
        "preset": settings.preset,
        "capture": {"frames": trial.frames, "width": trial.width, "height": trial.height},
        "preparation_seconds": round(trial.preparation_seconds, 2),
        "curve": curve,
        "seconds_to_mouth_psnr": {str(target): first_time(curve, "mouth_psnr", target) for target in settings.targets},
        "steps": trial.step,
        "steps_per_second": round(trial.step / trial.seconds, 2),
        "step": step_shares(trial, rounds=2 if settings.quick else 24),
        "render": trial.time_image(settings.image_size, 1 if settings.quick else 5),
        "backends": compare_backends(trial, settings.backends, rounds=1 if settings.quick else 6),
        "peak_memory_mib": peak_memory_mib(trial.device),
    }
    if settings.against is not None:
        other = Trial.make(settings.capture, load_preset(settings.against), settings.device)
        minutes = 0.05 if settings.quick else settings.against_minutes
        their_curve = train_for(other, 60 * minutes, every=60 * minutes, frames=settings.frames)
        result["against"] = against(settings.against, minutes, curve, their_curve[-1], other.step)
    return result


def first_time(curve: list[dict[str, float]], figure: str, target: float) -> float | None:
    """Seconds of training after which a figure first was at least `target`; None where it never was."""
    return next((point["seconds"] for point in curve if point[figure] >= target), None)


def against(
    preset: str, minutes: float, curve: list[dict[str, float]], end: dict[str, float], steps: int
) -> dict[str, Any]:
    """When the first preset was where the second one is at its end, and how many times sooner that is."""
    reached = {figure: first_time(curve, figure, end[figure]) for figure in ("psnr", "face_psnr", "mouth_psnr")}
    slowest = None if None in reached.values() else max(reached.values())
    sooner = None if not slowest else round(end["seconds"] / slowest, 1)
    return {"preset": preset, "minutes": minutes, "steps": steps, **end, "reached_after": reached, "sooner": sooner}


def report(result: dict[str, Any]) -> None:
    """Print the figures for a person."""
    step, render = result["step"], result["render"]
    print(
        f"{result['preset']}: {result['steps']} steps, {result['steps_per_second']} a second; preparation took ", end=""
    )
    print(f"{result['preparation_seconds']} s, peak memory {result['peak_memory_mib']} MiB")
    print("seconds   whole    face   mouth dB")
    for point in result["curve"]:
        print("{seconds:7.1f} {psnr:7.2f} {face_psnr:7.2f} {mouth_psnr:7.2f}".format(**point))
    print("mouth PSNR reached after: " + ", ".join(f"{k} dB {v} s" for k, v in result["seconds_to_mouth_psnr"].items()))
    shares = ", ".join(f"{name} {value:.0%}" for name, value in step["shares"].items())
    print(f"a step: {step['ms_median']:.1f} ms, {step['samples_per_ray']:.1f} samples a ray; {shares}")
    print(f"a step is {step['times_encode_and_mlp']:.2f} times its encoding and networks")
    print(f"a picture of {render['pixels']} x {render['pixels']}: {render['seconds_median']:.3f} s")
    for row in result["backends"]:
        print(f"backend {row['backend']}: {row['ms_median']:.0f} ms a step" if "ms_median" in row else row)
    if "against" in result:
        other = result["against"]
        print(
            "{preset} after {minutes} minutes ({steps} steps): {psnr:.2f} {face_psnr:.2f} {mouth_psnr:.2f} dB; "
            "{sooner} times sooner".format(**other)
        )


if __name__ == "__main__":
    sys.exit(main())
