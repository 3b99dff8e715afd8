"""How fast the live tracker follows a driver, and how far it is from the whole-clip fit and from the truth.

    python scripts/make_synthetic_clip.py --seed 0 --size 640 --frames 150 --out runs/driver640
    OMP_NUM_THREADS=1 python scripts/measure_driver.py runs/driver640/clip.mp4 --truth runs/driver640/truth

Speed leaves out the frame in which the person is fitted; its time is printed beside. Errors are those of
`measure_tracking.py` over the frames after it. Lip correlation: the opening of the heads' lips over their eyes'
distance. Jitter: the second difference of the expression (Euclidean length, median) in the calmest fifth of the frames,
over the expression's range (98 % of its distances from the median).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from measure_tracking import compare

from avatar.data.capture import Capture, Frame, read_capture
from avatar.flame.assets import HeadAsset
from avatar.flame.landmark_sets import lip_distance
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters, landmark_vertices
from avatar.geometry.cameras import Camera
from avatar.media.video import read_video
from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.track.clip_tracking import track
from capture_tools.track.live import LiveTracker

WANTED = ("expression_median_mm", "expression_mean_mm", "rotation_mean_degrees", "rotation_without_bias_mean_degrees")


class LiveRun(NamedTuple):
    """What the live tracker made of N frames, and the seconds it took: decoding, detection, fit, `[N]` each."""

    times: np.ndarray
    pixels: np.ndarray
    size: tuple[int, int]
    params: HeadParameters
    seconds: dict[str, np.ndarray]
    first: int
    """The frame in which the person was fitted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--truth", type=Path, help="the truth of a synthetic clip, a capture folder")
    arguments = parser.parse_args()
    truth = None if arguments.truth is None else read_capture(arguments.truth)
    asset = load_head() if truth is None else load_head(truth.head_name)
    run = live_run(arguments.video, asset)
    print_speed(run)
    joint = track(run.pixels, run.times, *run.size, asset)
    print_errors("joint fit", run, run.params, as_capture(joint.params, joint.camera, run.times, asset), asset)
    if truth is not None:
        print_errors("truth", run, run.params, truth, asset)
        print_errors("joint fit against truth", run, joint.params, truth, asset)
    for name, params in (("live", run.params), ("joint fit", joint.params)):
        print(f"jitter at rest, {name:<22} {jitter(params.expr[run.first :].numpy()):.4f}")


def live_run(video: Path, asset: HeadAsset) -> LiveRun:
    """Follow the face of a clip frame by frame, as if it came from a camera."""
    tracker, stamps, pixels, heads = None, [], [], []
    seconds = {"decode": [], "detect": [], "fit": []}
    first = 0
    with LandmarkDetector() as detector:
        for (stamp, image), waited in timed(read_video(video)):
            tracker = tracker or LiveTracker(asset, image.shape[1], image.shape[0])
            before = time.perf_counter()
            found, _ = detector.detect(image)
            between, known = time.perf_counter(), tracker.calibrated
            heads.append(tracker.update(stamp, found))
            after = time.perf_counter()
            first = first if known or not tracker.calibrated else len(stamps)
            stamps.append(stamp)
            pixels.append(np.full((478, 2), np.nan) if found is None else found)
            for name, value in zip(seconds, (waited, between - before, after - between), strict=True):
                seconds[name].append(value)
    measured = {name: np.array(values) for name, values in seconds.items()}
    size = image.shape[1], image.shape[0]
    return LiveRun(np.array(stamps), np.stack(pixels), size, joined(heads), measured, first)


def timed(items: Iterator) -> Iterator:
    """Items with the seconds waited for each."""
    while True:
        before = time.perf_counter()
        item = next(items, None)
        if item is None:
            return
        yield item, time.perf_counter() - before


def joined(heads: list[HeadParameters]) -> HeadParameters:
    """The frames one after another, of the person known in the end."""
    return HeadParameters.concatenate(heads[::-1]).select(torch.arange(len(heads) - 1, -1, -1))


def print_speed(run: LiveRun) -> None:
    seconds = {name: np.delete(values, [0, run.first]) for name, values in run.seconds.items()}
    seconds["detect and fit"] = seconds["detect"] + seconds["fit"]
    seconds["all"] = seconds["detect and fit"] + seconds["decode"]
    print(f"{len(run.times)} frames of {run.size[0]} x {run.size[1]}")
    print(f"the person was fitted in frame {run.first} in {run.seconds['fit'][run.first]:.2f} s")
    for name, values in seconds.items():
        mean, late = 1000 * values.mean(), 1000 * np.percentile(values, 95)
        print(f"{name:<16} {mean:6.2f} ms mean {late:6.2f} ms in 95 % of frames {1000 / mean:7.1f} frames/s")


def print_errors(label: str, run: LiveRun, found: HeadParameters, reference: Capture, asset: HeadAsset) -> None:
    """Compare what was found after the first second with a reference."""
    part = slice(run.first, None)
    camera = Camera(*run.size, 1.0, 1.0, run.size[0] / 2, run.size[1] / 2, np.diag([1.0, -1.0, -1.0, 1.0]))
    tracked = as_capture(found.select(part), camera, run.times[part], asset)
    figures = compare(tracked, reference, asset)
    figures["lip_correlation"] = lip_correlation(tracked, reference, asset)
    for name in (*WANTED, "gaze_mean_degrees", "jaw_correlation", "jaw_slope", "lip_correlation"):
        print(f"{label}: {name:<40} {figures[name]:.4g}")


def as_capture(params: HeadParameters, camera: Camera, times: np.ndarray, asset: HeadAsset) -> Capture:
    """Parameters of N frames in the shape that `compare` reads; there are no files behind it."""
    frames = [Frame("", "", "", camera, i, float(stamp)) for i, stamp in enumerate(times)]
    header = (Path(), camera.width, camera.height, 25.0, asset.name, asset.fingerprint, "static")
    return Capture(*header, frames, {}, _parameters=params)


@torch.no_grad()
def lip_correlation(tracked: Capture, reference: Capture, asset: HeadAsset) -> float:
    """Correlation of the lips' openings of two captures, frames matched by time."""
    model = HeadModel(asset, landmark_vertices(asset))
    times = [np.array([frame.timestamp for frame in capture.frames]) for capture in (tracked, reference)]
    curves = [
        lip_distance(model.landmarks(model(capture.parameters()).vertices).numpy()) for capture in (tracked, reference)
    ]
    return float(np.corrcoef(curves[0], np.interp(times[0], times[1], curves[1]))[0, 1])


def jitter(expr: np.ndarray) -> float:
    """Second difference at rest over the range, of `[N, E]` coefficients."""
    speed = np.linalg.norm(expr[2:] - expr[:-2], axis=1)
    second = np.linalg.norm(expr[2:] - 2 * expr[1:-1] + expr[:-2], axis=1)
    spread = np.percentile(np.linalg.norm(expr - np.median(expr, axis=0), axis=1), 98)
    return float(np.median(second[speed <= np.percentile(speed, 20)]) / spread)


if __name__ == "__main__":
    main()
