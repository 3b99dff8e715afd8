"""Photographs of different sizes and lenses in one frame, in which the tracker fits them as if a single camera had
taken them.

In the common frame every photograph's middle is the frame's and all focal lengths are the same number of pixels: a
photograph whose lens is known to be longer is drawn smaller. A lens that no file tells is taken for as long as the
tracker's prior says, and what is common to all is left free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar.media.focal_metadata import focal_over_longer_side
from capture_tools.detect.selection import Crop, choose_crop
from capture_tools.photo import Photograph
from capture_tools.track.clip_fit import TrackSettings

SIDE = 2000
"""Pixels across the common frame, within which the longer side of a photograph with the usual lens spans the half."""
MOST_PIXELS = 768
"""Largest side of the pictures that are fitted."""


@dataclass(frozen=True)
class CommonFrame:
    """N photographs in one frame of SIDE x SIDE pixels."""

    scales: np.ndarray
    """`[N]` pixels of the frame per pixel of the photograph."""
    middles: np.ndarray
    """`[N, 2]` middle of each photograph, its pixels."""
    focal_prior: float
    """Expected focal length over the frame's side."""
    known: bool
    """Whether all files tell their lenses."""

    def to_frame(self, landmarks: list[np.ndarray]) -> np.ndarray:
        """Landmarks of each photograph, `[478, 2]` in its pixels, in the frame: `[N, 478, 2]`."""
        placed = [
            (points - middle) * scale + SIDE / 2
            for points, middle, scale in zip(landmarks, self.middles, self.scales, strict=True)
        ]
        return np.stack(placed)

    def cut(self, images: list[np.ndarray], crop: Crop) -> np.ndarray:
        """The crop of the frame in each photograph, `[N, S, S, C]`; beyond a photograph lies its last pixel."""
        import cv2

        cut = []
        for image, middle, scale in zip(images, self.middles, self.scales, strict=True):
            total = scale * crop.scale
            if total < 0.7:  # averaged down first, or a large photograph would alias
                size = np.maximum(np.rint(np.array(image.shape[1::-1]) * total), 1).astype(int)
                ratio = size / np.array(image.shape[1::-1])
                image = cv2.resize(image, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
            else:
                ratio = np.ones(2)
            factor = total / ratio
            shift = (SIDE / 2 - middle * scale - np.array([crop.x0, crop.y0])) * crop.scale
            matrix = np.array([[factor[0], 0, shift[0]], [0, factor[1], shift[1]]])
            matrix[:, 2] += 0.5 * factor - 0.5  # OpenCV's pixel centres lie at whole numbers
            cut.append(
                cv2.warpAffine(
                    *(image, matrix, (crop.size, crop.size)), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
                )
            )
        return np.stack(cut)


def common_frame(photographs: list[Photograph]) -> CommonFrame:
    """The frame of photographs."""
    usual = TrackSettings().focal_prior
    focals = [focal_over_longer_side(p.focal_35mm, p.image.shape[1], p.image.shape[0]) for p in photographs]
    sides = np.array([max(p.image.shape[:2]) for p in photographs])
    told = np.array([focal or usual for focal in focals])
    scales = 0.5 * SIDE / sides * usual / told
    middles = np.array([[p.image.shape[1] / 2, p.image.shape[0] / 2] for p in photographs])
    return CommonFrame(scales, middles, 0.5 * usual, all(focals))


def face_crop(landmarks: np.ndarray, scales: np.ndarray) -> Crop:
    """The square of the frame around all faces `[N, 478, 2]`, at no more pixels than the photographs have."""
    crop = choose_crop(landmarks, SIDE, SIDE, 256)
    most = int(np.ceil(crop.side / scales.min()))
    return Crop(crop.x0, crop.y0, crop.side, int(np.clip(most, 64, MOST_PIXELS)))
