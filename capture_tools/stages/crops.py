"""The stage `crops`: the fixed square cut from every frame used, held steady, and the person's mask in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from avatar.base.progress import Progress
from capture_tools.camera.background import camera_travel
from capture_tools.camera.steadying import Sway, find_sway
from capture_tools.detect.body import MODEL_SIZE
from capture_tools.detect.checks import require_person
from capture_tools.detect.found_clip import FoundClip
from capture_tools.detect.segmentation import PersonSegmenter, fill_holes, refine_mask, steady
from capture_tools.detect.selection import Crop, FrameSelection
from capture_tools.stages.camera import choose_camera_mode
from capture_tools.stages.store import Stages

Change = Callable[[np.ndarray, int], np.ndarray]
"""A frame uint8 `[H, W, 3]` and its row -> the frame to cut the square from."""


def crop_stage(
    video: Path, selection: FrameSelection, clip: FoundClip, crop: Crop, stages: Stages, camera: str
) -> FoundClip:
    """Leave the arrays `images` uint8 `[K, S, S, 3]` and `masks` uint8 `[K, S, S]`, unless they exist.

    Where the camera (one of CAMERA_CHOICES) is meant to be still but was held by a hand, the pictures are held steady.
    Returns the clip with its landmarks where these pictures have them. Raises InputError where the masks are empty.
    """
    stored = stages.load("crops")
    if stored is None:
        with stages.timed("crops"):
            cut(video, selection, clip, crop, stages, lambda image, row: image)
            images, masks = stages.open_array("images"), stages.open_array("masks")
            travel = camera_travel(images, masks) if camera == "auto" else None
            sway = None
            if choose_camera_mode(travel, camera) == "static":
                sway = find_sway(images, masks, crop.x0, crop.y0, crop.scale)
            if sway is not None:
                cut(video, selection, clip, crop, stages, sway.steady_picture)
            stored = {"crop": np.array([crop.x0, crop.y0, crop.side, crop.size])}
            if sway is not None:
                stored |= {"angle": sway.angle, "shift": sway.shift, "centre": np.array(sway.centre)}
            stages.save("crops", **stored)
    if "angle" in stored:
        x, y = stored["centre"].tolist()
        sway = Sway(stored["angle"], stored["shift"], (x, y))
        pixels = clip.pixels.copy()
        pixels[clip.used] = sway.steady_points(clip.pixels[clip.used])
        clip = replace(clip, pixels=pixels)
    # after the stage, so that masks left by an interrupted capture are looked at too
    require_person(stages.open_array("masks"), crop.to_crop(clip.pixels[clip.used]), video)
    return clip


def steadied_pixels(stages: Stages) -> float:
    """Source pixels by which the picture of this capture was moved at most to be held steady."""
    stored = stages.load("crops")
    return 0.0 if stored is None or "shift" not in stored else float(np.linalg.norm(stored["shift"], axis=1).max())


def cut(video: Path, selection: FrameSelection, clip: FoundClip, crop: Crop, stages: Stages, change: Change) -> None:
    """Write the squares of the frames used, after `change`, and their masks."""
    used, size = clip.used, crop.size
    with PersonSegmenter() as segmenter, Progress("crops", 2 * len(used)) as bar:
        images = stages.open_array("images", (len(used), size, size, 3))
        masks = stages.open_array("masks", (len(used), size, size))
        confidences = np.zeros((len(used), MODEL_SIZE, MODEL_SIZE), np.uint8)
        rows = {int(frame): row for row, frame in enumerate(used)}
        frames = selection.read(video)
        for index, (_, image) in enumerate(frames):
            if (row := rows.get(index)) is not None:
                images[row] = crop.cut(change(image, row))
                confidences[row] = np.rint(255 * segmenter.confidence(images[row]))
                bar.update(row + 1)
        for row, confidence in enumerate(steady(confidences)):
            masks[row] = fill_holes(refine_mask(confidence, images[row]))
            bar.update(len(used) + row + 1)
        images.flush()
        masks.flush()
