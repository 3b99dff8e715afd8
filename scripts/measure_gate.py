"""The gate's figure: what an expression changes outside the head, with the camera and the head still.

    python scripts/measure_gate.py RUN [--expression jawOpen] [--frames 8]

An expression is swept from nothing to full. The figure is the mean absolute change against the first frame, of 255, of
the pixels that lie more than 8 px outside the head's silhouettes of both frames; beside it the mean change inside.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from avatar.animation.driving import expression_frames
from avatar.training.checkpoint import load_avatar

MARGIN = 8
"""Pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--expression", default="jawOpen", help="what is swept (a name that avatar render knows)")
    parser.add_argument("--frames", type=int, default=8, help="frames of the sweep")
    arguments = parser.parse_args()
    avatar = load_avatar(arguments.run)
    params = expression_frames(f"sweep:{arguments.expression}", avatar.parameters, avatar.asset, arguments.frames)
    shown = [avatar.render(params.frame(i), avatar.camera) for i in range(arguments.frames)]
    images = [frame.image.float().cpu().numpy() * 255 for frame in shown]
    masks = [frame.mask.cpu().numpy().astype(np.uint8) for frame in shown]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN + 1, 2 * MARGIN + 1))
    outside, inside = [], []
    for image, mask in zip(images[1:], masks[1:], strict=True):
        change = np.abs(image - images[0])
        outside.append(change[cv2.dilate(np.maximum(mask, masks[0]), disc) == 0].mean())
        inside.append(change[(mask > 0) & (masks[0] > 0)].mean())
    print(f"more than {MARGIN} px outside: mean {np.mean(outside):.3f}, worst frame {np.max(outside):.3f} of 255")
    print(f"inside both silhouettes: mean {np.mean(inside):.2f} of 255")


if __name__ == "__main__":
    main()
