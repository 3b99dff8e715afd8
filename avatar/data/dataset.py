"""Frames of a capture in memory, 8 bits per channel, for ray sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar.data.capture import Capture
from avatar.flame.landmark_sets import LEFT_EYE, LIPS, RIGHT_EYE, bounding_box
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera

READERS = 2
"""Threads that decode PNG files; zlib releases Python's lock."""


@dataclass
class FrameSet:
    """N frames of one split. Images stay 8-bit: a minute at 512 x 512 and 25 fps takes 1.6 GB with its masks.

    Boxes are (x0, y0, x1, y1) in whole pixels, upper ends excluded, inside the image; (0, 0, 0, 0) where the frame's
    landmarks are missing.
    """

    images: Tensor
    """`[N, H, W, 3]` uint8, sRGB."""
    masks: Tensor
    """`[N, H, W]` uint8, 255 = person."""
    cameras: list[Camera]
    params: HeadParameters
    """Tracked parameters of these N frames, on the CPU."""
    mouth_boxes: Tensor
    """`[N, 4]` int64 around the lips, a quarter of their width added on each side."""
    eye_boxes: Tensor
    """`[N, 2, 4]` int64, right eye then left eye, half of the eye's width added on each side (for lids and brows)."""
    indices: list[int]
    """Positions of these frames in `capture.frames`."""
    names: list[str]
    """Image names without folder and ending."""
    timestamps: list[float]
    """Seconds from the start of the clip."""

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.images.shape[2], self.images.shape[1]

    @property
    def device(self) -> torch.device:
        return self.images.device

    def to(self, device: torch.device | str) -> FrameSet:
        """A copy with images, masks and boxes on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("images", "masks", "mouth_boxes", "eye_boxes")}
        return replace(self, **moved)

    @staticmethod
    def load(
        capture: Capture,
        split: str | Sequence[int],
        progress: Callable[[int, int], None] | None = None,
        *,
        with_room: bool = False,
    ) -> FrameSet:
        """Read the frames of a split, or those at the given positions in `capture.frames`.

        `progress(done, total)` is called after each frame. with_room: as `Capture.read_picture` takes it. Raises
        CaptureError where a file is damaged.
        """
        indices = list(capture.splits[split] if isinstance(split, str) else split)
        count, height, width = len(indices), capture.height, capture.width
        images = torch.empty(count, height, width, 3, dtype=torch.uint8)
        masks = torch.empty(count, height, width, dtype=torch.uint8)
        image_array, mask_array = images.numpy(), masks.numpy()

        def read(position: int) -> None:
            image_array[position] = capture.read_picture(indices[position], with_room=with_room)
            mask_array[position] = capture.read_mask(indices[position])

        with ThreadPoolExecutor(READERS) as pool:
            for done, _ in enumerate(pool.map(read, range(count)), 1):
                if progress is not None:
                    progress(done, count)

        pixels, visible = capture.landmarks()
        known = np.where(visible[..., None], pixels, np.nan)[indices]
        frames = [capture.frames[i] for i in indices]
        return FrameSet(
            images=images,
            masks=masks,
            cameras=[frame.camera for frame in frames],
            params=capture.parameters().select(indices),
            mouth_boxes=boxes_around(known, (LIPS,), width, height, grow=0.25)[:, 0],
            eye_boxes=boxes_around(known, (RIGHT_EYE, LEFT_EYE), width, height, grow=0.5),
            indices=indices,
            names=[frame.name for frame in frames],
            timestamps=[frame.timestamp for frame in frames],
        )


def boxes_around(landmarks: np.ndarray, parts: Sequence[Sequence[int]], width: int, height: int, grow: float) -> Tensor:
    """Boxes `[N, P, 4]` int64 around each of P landmark sets, from `[N, 478, 2]` pixels; see `bounding_box`."""
    boxes = [[bounding_box(points[list(part)], width, height, grow) for part in parts] for points in landmarks]
    return torch.tensor(boxes, dtype=torch.int64).reshape(len(landmarks), len(parts), 4)
