"""Clips to learn from, out of capture folders: a few frames of each, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.errors import CaptureError, InputError
from avatar.base.files import distinct_names
from avatar.data.capture import Capture, read_capture
from avatar.flame.assets import HeadAsset
from capture_tools.dense_landmarks.placing import DenseLandmarks, place_dense_landmarks
from capture_tools.detect.selection import Crop
from capture_tools.report.texture import frames_by_turn
from capture_tools.track.photometric import Pictures

FEWEST = 3
"""Captures below which nothing is common to people."""


@dataclass(frozen=True)
class Clip:
    """Frames of one person in a frame whose middle is the principal point."""

    name: str
    landmarks: np.ndarray
    """`[N, 478, 2]` pixels of that frame."""
    hidden: np.ndarray
    """`[N, 478]` bool."""
    times: np.ndarray
    """`[N]` seconds."""
    pictures: Pictures
    side: int
    """Pixels of the frame, each way."""
    focal: float
    """Pixels."""
    dense: DenseLandmarks | None
    """Of the N frames, pixels of that frame; None for a head model whose surface the network does not know."""

    def select(self, rows: Sequence[int]) -> Clip:
        """Some of its frames."""
        keep = list(rows)
        pictures = Pictures(self.pictures.images[keep], self.pictures.masks[keep], self.pictures.crop)
        dense = None if self.dense is None else self.dense.select(keep)
        return Clip(
            self.name, self.landmarks[keep], self.hidden[keep], self.times[keep], pictures, self.side, self.focal, dense
        )


def find_captures(places: Sequence[Path]) -> list[Path]:
    """The folders among `places`, each once, in their order. Raises InputError for one that is named twice."""
    known: dict[Path, Path] = {}
    for place in places:
        if place.resolve() in known:
            raise InputError(
                "a capture is named twice", where=place, expected="every person's captures once", fix="leave one out"
            )
        known[place.resolve()] = place
    return list(known.values())


def read_clips(places: Sequence[Path], asset: HeadAsset, frames: int) -> list[Clip]:
    """Up to `frames` frames of each capture.

    Raises CaptureError for a capture that lacks pictures, masks or landmarks, HeadModelError for one that was made with
    another head model, InputError for a folder named twice.
    """
    places = find_captures(places)
    captures = [read_capture(place, expect_head=asset) for place in places]
    names = distinct_names(places)
    return [read_clip(name, capture, asset, frames) for name, capture in zip(names, captures, strict=True)]


def read_clip(name: str, capture: Capture, asset: HeadAsset, frames: int) -> Clip:
    """Up to `frames` frames of a capture, called `name`, with a face, spread over the turn of the head."""
    found, visible = capture.landmarks()
    faces = np.flatnonzero(np.isfinite(found).all((1, 2)))
    if not len(faces):
        raise CaptureError(
            "no frame of the capture has landmarks",
            where=capture.folder,
            expected="landmarks of at least one frame",
            found=f"{len(found)} frames without",
            fix="capture the clip again: avatar capture VIDEO --out CAPTURE",
        )
    rotation = capture.parameters().rotation.numpy()[faces]
    chosen = faces[frames_by_turn(rotation, frames)]
    camera = capture.frames[int(chosen[0])].camera
    side = 2 * max(capture.width, capture.height)
    # The principal point lies between pixels: the corner is no whole number, as it is in crops of videos.
    corner: tuple[Any, Any] = (side / 2 - camera.cx, side / 2 - camera.cy)
    crop = Crop(*corner, max(capture.width, capture.height), side // 2)
    images = np.stack([_square(capture.read_image(int(i)), side // 2) for i in chosen])
    masks = np.stack([_square(capture.read_mask(int(i)), side // 2) for i in chosen])
    landmarks = found[chosen].astype(np.float64) + np.array([crop.x0, crop.y0])
    return Clip(
        name,
        landmarks,
        ~visible[chosen],
        np.array([capture.frames[int(i)].timestamp for i in chosen]),
        Pictures(images, masks, crop),
        side,
        float(camera.fl_x),
        place_dense_landmarks(asset, images, crop, landmarks),
    )


def _square(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture with zeros to the right and below, where it is not square."""
    missing = [(0, side - picture.shape[0]), (0, side - picture.shape[1]), (0, 0)]
    return np.pad(picture, missing[: picture.ndim])


def check_enough(clips: int, directions: int, albedo_directions: int) -> None:
    """Raise InputError where there are too few clips for the directions that are asked for."""
    if clips < FEWEST:
        raise InputError(
            "there are too few captures to learn from",
            expected=f"{FEWEST} or more, each of another person; several dozen make a useful model",
            found=clips,
        )
    for option, count in (("--directions", directions), ("--albedo-directions", albedo_directions)):
        if count >= clips:
            raise InputError(
                "there are fewer captures than directions",
                expected=f"more than {count} captures, each of another person",
                found=f"{clips} captures",
                fix=f"give more captures, or {option} {clips - 1}",
            )
