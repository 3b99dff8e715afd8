"""Training for a time, and a step taken apart: parts of `benchmark_training.py`."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar.avatar import Avatar
from avatar.base.optional import is_installed
from avatar.config import Config
from avatar.data.capture import Capture, read_capture
from avatar.flame.library import load_head
from avatar.kernels.runtime.device import pick_device
from avatar.training.evaluate import frame_renderer, spread
from avatar.training.metrics import box_psnr, psnr
from avatar.training.prepare import TrainingData, load_training_data, make_avatar
from avatar.training.schedule import Schedule
from avatar.training.step import TrainState, train_step

NOWHERE = Path("no run")
"""Benchmarks write no checkpoints; an error message would name this."""


@dataclass
class Trial:
    """A training under measurement."""

    config: Config
    capture: Capture
    training: TrainingData
    avatar: Avatar
    state: TrainState
    device: torch.device
    preparation_seconds: float
    step: int = 0
    seconds: float = 0.0
    """Spent in steps."""

    @staticmethod
    def make(folder: Path, config: Config, device: str) -> Trial:
        began, target = time.perf_counter(), pick_device(device)
        capture = read_capture(folder)
        asset = load_head(capture.head_name)
        training = load_training_data(read_capture(folder, expect_head=asset), asset, config, target)
        avatar = make_avatar(config, training)
        state = TrainState.make(avatar, training)
        return Trial(config, capture, training, avatar, state, target, time.perf_counter() - began)

    @property
    def frames(self) -> int:
        return len(self.training.frames)

    @property
    def width(self) -> int:
        return self.training.camera.width

    @property
    def height(self) -> int:
        return self.training.camera.height

    def take_step(self, progress: float) -> int:
        """One step; returns its number of samples."""
        settings = self.config.training
        schedule = Schedule(1, 0.0, settings.final_rate, settings.warmup)
        factor = schedule.rate_factor(self.step, progress)
        terms, samples = train_step(self.state, self.step, progress, factor, NOWHERE)
        {name: float(value.detach()) for name, value in terms.items()}  # as training does: waits for the device
        self.step += 1
        return samples

    def evaluate(self, frames: int) -> dict[str, float]:
        """Mean figures of val frames."""
        render = frame_renderer(self.avatar, self.capture)
        rows = []
        for index in spread(self.capture.splits["val"], frames):
            shown, truth = render(index), self.capture.read_image(index)
            figures = (psnr(shown.image, truth), psnr(shown.image, truth, shown.mask))
            rows.append((*figures, box_psnr(shown.image, truth, shown.mouth_box)))
        mean = np.nanmean(np.array(rows, dtype=float), 0)
        return dict(zip(("psnr", "face_psnr", "mouth_psnr"), (round(float(v), 3) for v in mean), strict=True))

    def time_image(self, size: int, rounds: int) -> dict[str, float]:
        """Seconds a square picture of a training frame takes, everything that driving does included."""
        camera = self.training.camera.scaled(size, size)
        params, times = self.training.identity.params, []
        for i in range(rounds + 1):
            began = time.perf_counter()
            self.avatar.render_frame(params.frame(i * len(params) // (rounds + 1)), camera).image.cpu()
            times.append(time.perf_counter() - began)
        kept = times[1:]  # the first one compiles
        return {"pixels": size, "seconds_median": statistics.median(kept), "seconds_min": min(kept)}


def train_for(trial: Trial, seconds: float, *, every: float, frames: int) -> list[dict[str, float]]:
    """Train until `seconds` were spent in steps; figures of the val frames along the way."""
    curve, due = [], every
    while trial.seconds < seconds:
        began = time.perf_counter()
        trial.take_step(min(trial.seconds / seconds, 1.0))
        trial.seconds += time.perf_counter() - began
        if trial.seconds >= due or trial.seconds >= seconds:
            point = {"seconds": round(trial.seconds, 2), "step": trial.step}
            curve.append(point | trial.evaluate(frames))
            due = max(due + every, 1.15 * trial.seconds)
    return curve


def step_shares(trial: Trial, rounds: int) -> dict[str, Any]:
    """How long a step takes now, and what share its parts have, each timed alone on the inputs of real steps."""
    whole, optimiser, marching, parts, samples = [], [], [], [], []
    for _ in range(rounds):
        began = time.perf_counter()
        samples.append(trial.take_step(1.0))
        synchronise(trial.device)
        whole.append(time.perf_counter() - began)
    for _ in range(max(1, rounds // 3)):
        with recorded(trial) as record:
            trial.take_step(1.0)
        optimiser.append(record.optimiser)
        marching.append(record.marching)
        parts.append(record.replay(trial))
    step = statistics.median(whole)
    times = {name: statistics.median(part[name] for part in parts) for name in parts[0]}
    times |= {"marching": statistics.median(marching), "optimiser": statistics.median(optimiser)}
    shares = {name: value / step for name, value in times.items()}
    shares["rest"] = 1 - sum(shares.values())
    return {
        "ms_median": 1e3 * step,
        "ms_min": 1e3 * min(whole),
        "rays": trial.config.training.rays,
        "samples_per_ray": statistics.mean(samples) / trial.config.training.rays,
        "ms": {name: 1e3 * value for name, value in times.items()},
        "shares": shares,
        "times_encode_and_mlp": step / (times["encode"] + times["mlp"]),
    }


class Record:
    """What a step asked of its encodings and networks, and how long its march and its optimiser took."""

    def __init__(self) -> None:
        self.encoded: list[tuple[Callable, list[Tensor]]] = []
        self.networks: list[tuple[Callable, list[tuple[Tensor, Tensor | None]]]] = []
        self.placed: list[tuple[Callable, list[Tensor]]] = []
        self.marching = self.optimiser = 0.0

    def replay(self, trial: Trial) -> dict[str, float]:
        """Seconds for the forward and backward passes of each kind, alone."""

        def encode() -> None:
            for function, inputs in self.encoded:
                run_both_ways(function, inputs)

        def networks() -> None:
            for network, parts in self.networks:
                leaves = [value.detach().requires_grad_(value.requires_grad) for value, _ in parts]
                index = [where for _, where in parts]
                run_both_ways(lambda *v, f=network, i=index: f(list(zip(v, i, strict=True))), leaves)

        def place() -> None:
            for function, inputs in self.placed:
                run_both_ways(function, inputs)

        runs = {"encode": encode, "mlp": networks, "warp": place}
        return {name: timed(run, trial.device) for name, run in runs.items()}


@contextmanager
def recorded(trial: Trial):
    """Listen to one step."""
    from avatar.field import deformation as deformation_module
    from avatar.field import radiance as radiance_module
    from avatar.field import ray_sampling as ray_sampling_module
    from avatar.field.networks import Mlp

    record, undo = Record(), []

    def replace_attribute(owner: Any, name: str, make: Callable[[Callable], Callable]) -> None:
        original = getattr(owner, name)
        undo.append((owner, name, original))
        setattr(owner, name, make(original))

    def listen_encoding(original: Callable) -> Callable:
        def call(*inputs: Any, **named: Any) -> Tensor:
            record.encoded.append((lambda *again, n=named: original(*again, **n), keep(inputs)))
            return original(*inputs, **named)

        return call

    def listen_placing(original: Callable) -> Callable:
        def call(*inputs: Any, **named: Any) -> tuple[Tensor, Tensor]:
            motion = ("canonical_from_world", "height")
            fixed = {key: value for key, value in named.items() if key not in motion}
            again = lambda matrix, height: original(  # noqa: E731
                *inputs, canonical_from_world=matrix, height=height, **fixed
            )[0]
            record.placed.append((again, keep(tuple(named[key] for key in motion))))
            return original(*inputs, **named)

        return call

    def listen_network(original: Callable) -> Callable:
        def call(self: Mlp, parts: Any) -> Tensor:
            record.networks.append((lambda again, s=self: original(s, again), list(parts)))
            return original(self, parts)

        return call

    def clock(name: str) -> Callable[[Callable], Callable]:
        def make(original: Callable) -> Callable:
            def call(*inputs: Any, **named: Any) -> Any:
                synchronise(trial.device)
                began = time.perf_counter()
                result = original(*inputs, **named)
                synchronise(trial.device)
                setattr(record, name, getattr(record, name) + time.perf_counter() - began)
                return result

            return call

        return make

    replace_attribute(radiance_module, "hash_encode", listen_encoding)
    replace_attribute(radiance_module, "blended_encode", listen_encoding)
    replace_attribute(radiance_module, "frequency_encode", listen_encoding)
    replace_attribute(deformation_module, "frequency_encode", listen_encoding)
    replace_attribute(ray_sampling_module, "to_canonical", listen_placing)
    replace_attribute(Mlp, "forward", listen_network)
    replace_attribute(ray_sampling_module, "march", clock("marching"))
    replace_attribute(trial.state.optimizer, "step", clock("optimiser"))
    try:
        yield record
    finally:
        for owner, name, original in reversed(undo):
            setattr(owner, name, original)


def keep(inputs: tuple[Any, ...]) -> list[Any]:
    """Inputs cut off from the step's graph, still asking for the gradients they asked for."""
    return [
        value.detach().requires_grad_(value.requires_grad) if isinstance(value, Tensor) else value for value in inputs
    ]


def run_both_ways(function: Callable[..., Tensor], inputs: list[Any]) -> None:
    output = function(*inputs)
    if output.requires_grad:
        output.backward(torch.ones_like(output))


def timed(function: Callable[[], None], device: torch.device, rounds: int = 3) -> float:
    """The median of a few runs, in seconds."""
    times = []
    for _ in range(rounds):
        synchronise(device)
        began = time.perf_counter()
        function()
        synchronise(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def compare_backends(trial: Trial, names: tuple[str, ...], rounds: int) -> list[dict[str, Any]]:
    """Milliseconds a step takes with other backends, on the avatar as it is now, by turns with its own."""
    if not names:
        cuda = trial.device.type == "cuda"
        names = ("torch", *(name for name, package in PACKAGES.items() if cuda and is_installed(package)))
    trials, rows = {"warp": trial}, []
    for name in names:
        if name == "warp":
            continue
        config = copy.deepcopy(trial.config)
        config.backends.encoding = name if name in ("torch", "tcnn") else "auto"
        config.backends.marching = name if name in ("torch", "nerfacc") else "auto"
        other = make_avatar(config, trial.training)
        weights = {k: v for k, v in trial.avatar.scene.state_dict().items() if name != "tcnn" or "radiance" not in k}
        other.scene.load_state_dict(weights, strict=name != "tcnn")
        trials[name] = replace(trial, config=config, avatar=other, state=TrainState.make(other, trial.training), step=1)
    times: dict[str, list[float]] = {name: [] for name in trials}
    for turn in range(rounds + 1):
        for name, one in trials.items():
            began = time.perf_counter()
            one.take_step(1.0)
            synchronise(one.device)
            if turn:  # the first one compiles
                times[name].append(time.perf_counter() - began)
    for name, found in times.items():
        rows.append({"backend": name, "ms_median": 1e3 * statistics.median(found), "ms_min": 1e3 * min(found)})
    return rows


PACKAGES = {"tcnn": "tinycudann", "nerfacc": "nerfacc"}


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_mib(device: torch.device) -> dict[str, int]:
    """The most memory this process has held so far."""
    import resource

    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    if device.type == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated(device) // 2**20
    return peak
