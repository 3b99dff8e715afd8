"""How well a rendered video follows its driver: lips, lids, and how still the background stays.

    python scripts/measure_driving.py DRIVER.mp4 RENDERED.mp4 [--start S]

Landmarks are detected again in both videos. Frames are matched by time; `--start` is where in the driver the rendered
video begins. The background is the upper half of the picture within 12 % of its sides, and its figure the mean
absolute difference of consecutive frames, of 255. Lids: the gap between them over the eye's width (mean of both eyes),
relative to its median, in the frames in which the driver's falls below half its own median: a blink. Jitter: the root
mean square of the landmarks' second differences over time, as of independent noise, over the eyes' distance.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from avatar.media.video import read_video
from capture_tools.report.face_curves import blinks, correlation, face_curves, jitter


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
    rendered = face_curves(arguments.rendered)
    driver = face_curves(arguments.driver, arguments.start).at(rendered.times)
    both = np.isfinite(driver.lips) & np.isfinite(rendered.lips)
    print(f"frames {len(rendered.times)}, with a face in both {int(both.sum())}")
    print(f"lip correlation {correlation(driver.lips, rendered.lips):.3f}")
    spread = [float(np.ptp(curve.lips[both])) for curve in (driver, rendered)]
    print(f"range of the lip distance over the eyes' distance: driver {spread[0]:.3f}, rendered {spread[1]:.3f}")
    closed = blinks(driver.lids, rendered.lids)
    if len(closed):
        print(
            f"lids where the driver blinks ({len(closed)} frames): {closed.mean():.2f} of open, most {closed.max():.2f}"
        )
    else:
        print("the driver never blinks")
    shaking = [100 * jitter(curve.points) for curve in (driver, rendered)]
    print(f"jitter of landmarks, % of the eyes' distance: driver {shaking[0]:.3f}, rendered {shaking[1]:.3f}")
    print(f"background change {background_change(arguments.rendered):.3f} of 255 between consecutive frames")


if __name__ == "__main__":
    main()
