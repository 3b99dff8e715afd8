"""The stage `crops`: the fixed square cut from every frame used, and the person's mask in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avatar.base.progress import Progress
from capture_tools.detect.found_clip import FoundClip
from capture_tools.detect.segmentation import MODEL_SIZE, PersonSegmenter, fill_holes, refine_mask, steady
from capture_tools.detect.selection import Crop, FrameSelection
from capture_tools.stages.store import Stages


def crop_stage(video: Path, selection: FrameSelection, clip: FoundClip, crop: Crop, stages: Stages) -> None:
    """Leave the arrays `images` uint8 `[K, S, S, 3]` and `masks` uint8 `[K, S, S]`, unless they exist."""
    if stages.load("crops") is not None:
        return
    used, size = clip.used, crop.size
    with stages.timed("crops"), PersonSegmenter() as segmenter, Progress("crops", 2 * len(used)) as bar:
        images = stages.open_array("images", (len(used), size, size, 3))
        masks = stages.open_array("masks", (len(used), size, size))
        confidences = np.zeros((len(used), MODEL_SIZE, MODEL_SIZE), np.uint8)
        rows = {int(frame): row for row, frame in enumerate(used)}
        frames = selection.read(video)
        for index, (_, image) in enumerate(frames):
            if (row := rows.get(index)) is not None:
                images[row] = crop.cut(image)
                confidences[row] = np.rint(255 * segmenter.confidence(images[row]))
                bar.update(row + 1)
        for row, confidence in enumerate(steady(confidences)):
            masks[row] = fill_holes(refine_mask(confidence, images[row]))
            bar.update(len(used) + row + 1)
        images.flush()
        masks.flush()
        stages.save("crops", crop=[crop.x0, crop.y0, crop.side, crop.size])
