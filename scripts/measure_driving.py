"""How well a rendered video follows its driver: lips, lids, and how still the background stays.

    python scripts/measure_driving.py DRIVER.mp4 RENDERED.mp4 [--start S]

Landmarks are detected again in both videos. Frames are matched by time; `--start` is where in the driver the rendered
video begins. The background is the upper half of the picture within 12 % of its sides, and its figure the mean
absolute difference of consecutive frames, of 255. Lids: the gap between them over the eye's width (mean of both eyes),
relative to its median, in the frames in which the driver's falls below half its own median: a blink.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from avatar.flame.landmark_sets import eye_aspect_ratio, lip_distance
from avatar.media.video import read_video
from capture_tools.detect.landmark_detector import LandmarkDetector


def curves(video: Path, start: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times `[N]` in seconds from `start`, lip distances `[N]` over the eyes' distance, and eye aspect ratios `[N]`;
    NaN without a face."""
    times, lips, lids = [], [], []
    with LandmarkDetector(static=False) as detector:
        for time, image in read_video(video, start=start or None):
            pixels, _ = detector.detect(image)
            times.append(time - start)
            lips.append(np.nan if pixels is None else float(lip_distance(pixels)))
            lids.append(np.nan if pixels is None else float(eye_aspect_ratio(pixels)))
    return np.array(times), np.array(lips), np.array(lids)


def blinks(driver: np.ndarray, rendered: np.ndarray) -> np.ndarray:
    """Rendered eye aspect ratios over their median in the frames in which the driver blinks, `[B]`.

    driver, rendered: `[N]` eye aspect ratios of the same moments.
    """
    known = np.isfinite(driver) & np.isfinite(rendered)
    driver, rendered = driver[known], rendered[known]
    return rendered[driver < 0.5 * np.median(driver)] / np.median(rendered)


def background_change(video: Path, border: float = 0.12) -> float:
    """Mean absolute difference of consecutive frames in the upper corners (`border` of the width), of 255."""
    changes, previous = [], None
    for _, image in read_video(video):
        columns = max(int(border * image.shape[1]), 1)
        rows = image.shape[0] // 2
        corners = np.concatenate([image[:rows, :columns], image[:rows, -columns:]], 1).astype(np.float32)
        if previous is not None:
            changes.append(np.abs(corners - previous).mean())
        previous = corners
    return float(np.mean(changes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("driver", type=Path)
    parser.add_argument("rendered", type=Path)
    parser.add_argument("--start", type=float, default=0.0, help="second of the driver at which it begins")
    arguments = parser.parse_args()
    driver_times, driver, driver_lids = curves(arguments.driver, arguments.start)
    times, rendered, rendered_lids = curves(arguments.rendered)
    moments = np.abs(driver_times[None] - times[:, None]).argmin(1)
    matched = driver[moments]
    both = np.isfinite(matched) & np.isfinite(rendered)
    correlation = float(np.corrcoef(matched[both], rendered[both])[0, 1])
    print(f"frames {len(times)}, with a face in both {int(both.sum())}")
    print(f"lip correlation {correlation:.3f}")
    spread = [float(np.ptp(curve[both])) for curve in (matched, rendered)]
    print(f"range of the lip distance over the eyes' distance: driver {spread[0]:.3f}, rendered {spread[1]:.3f}")
    closed = blinks(driver_lids[moments], rendered_lids)
    if len(closed):
        print(
            f"lids where the driver blinks ({len(closed)} frames): {closed.mean():.2f} of open, most {closed.max():.2f}"
        )
    else:
        print("the driver never blinks")
    print(f"background change {background_change(arguments.rendered):.3f} of 255 between consecutive frames")


if __name__ == "__main__":
    main()
