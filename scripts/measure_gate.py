"""The gate's figure: what an expression changes outside the head, with the camera and the head still.

    python scripts/measure_gate.py RUN [--expression jawOpen] [--frames 8]

An expression is swept from nothing to full. The figure is the mean absolute change against the first frame, of 255, of
the pixels that lie more than 8 px outside the head's silhouettes of both frames; beside it the mean change inside.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from avatar.animation.driving import expression_frames
from avatar.data.checkpoint import load_avatar

if TYPE_CHECKING:
    from avatar.avatar import Avatar

MARGIN = 8
"""Pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--expression", default="jawOpen", help="what is swept (a name that avatar render knows)")
    parser.add_argument("--frames", type=int, default=8, help="frames of the sweep")
    arguments = parser.parse_args()
    figures = gate_figures(load_avatar(arguments.run), arguments.expression, arguments.frames)
    mean, worst = figures["outside_mean"], figures["outside_worst"]
    print(f"more than {MARGIN} px outside: mean {mean:.3f}, worst frame {worst:.3f} of 255")
    print(f"inside both silhouettes: mean {figures['inside_mean']:.2f} of 255")


def gate_figures(avatar: Avatar, expression: str = "jawOpen", frames: int = 8) -> dict[str, Any]:
    """Sweep an expression over `frames` frames (2 or more) and say what changes against the first one, of 255.

    Returns `outside_mean` (over the frames), `outside_worst` (frame) and `inside_mean`, NaN where there are no such
    pixels; and for a picture `change` `[H, W]`, a pixel's largest change in any frame, mean over its colours, and
    `outside` `[H, W]` bool, the pixels that are outside in every frame.
    """
    params = expression_frames(f"sweep:{expression}", avatar.parameters, avatar.asset, frames)
    shown = [avatar.render_frame(params.frame(i), avatar.camera) for i in range(frames)]
    images = [frame.image.float().cpu().numpy() * 255 for frame in shown]
    masks = [frame.mask.cpu().numpy().astype(np.uint8) for frame in shown]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN + 1, 2 * MARGIN + 1))
    outside, inside = [], []
    largest, always_outside = np.zeros(masks[0].shape, np.float32), np.ones(masks[0].shape, bool)
    for image, mask in zip(images[1:], masks[1:], strict=True):
        change = np.abs(image - images[0])
        far = cv2.dilate(np.maximum(mask, masks[0]), disc) == 0
        outside.append(change[far].mean())
        inside.append(change[(mask > 0) & (masks[0] > 0)].mean())
        largest, always_outside = np.maximum(largest, change.mean(2)), always_outside & far
    return {
        "outside_mean": float(np.mean(outside)),
        "outside_worst": float(np.max(outside)),
        "inside_mean": float(np.mean(inside)),
        "change": largest,
        "outside": always_outside,
    }


if __name__ == "__main__":
    main()
