"""One pass over a clip: faces, hands and statistics of every frame. Decisions are left to `found_clip`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from avatar.base.conventions import LANDMARK_COUNT
from avatar.base.progress import Progress
from avatar.media.video import probe_video
from capture_tools.detect.hands import HAND_POINTS, HandDetector
from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.detect.selection import FrameSelection
from capture_tools.detect.sharpness import detail_tensor
from capture_tools.detect.shots import colour_histogram, thumbnail

LARGEST_SEARCHED = 1280
"""Pixels of the longer side up to which frames are searched at full size. Larger ones are averaged down: the networks
see 192 pixels of the face, and landmarks of 4K frames are noisier than those of averaged ones."""
MOST_FACES = 3


@dataclass(frozen=True)
class Observations:
    """Detections in N frames: M faces and H hands. Positions are pixels of the upright source frames."""

    size: np.ndarray
    """`[2]` width and height of the frames."""
    fps: np.ndarray
    """`[]` mean frame rate of the frames selected."""
    focal_35mm: np.ndarray
    """`[]` focal length in millimetres, 35 mm equivalent; NaN where the file has none."""
    timestamps: np.ndarray
    """`[N]` seconds from the first frame of the file."""
    thumbnails: np.ndarray
    """uint8 `[N, 64, 64, 3]`."""
    histograms: np.ndarray
    """float32 `[N, 384]` colour histograms."""
    faces: np.ndarray
    """float32 `[M, 478, 3]`: x, y and MediaPipe's z."""
    face_frames: np.ndarray
    """`[M]` frame of each face, increasing."""
    face_details: np.ndarray
    """float32 `[M, 2, 2, 2]` (see `sharpness.detail_tensor`)."""
    hands: np.ndarray
    """float32 `[H, 21, 2]`."""
    hand_frames: np.ndarray
    """`[H]` frame of each hand, increasing."""

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a file."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def observe(video: Path, selection: FrameSelection, label: str = "landmarks", *, hands: bool = True) -> Observations:
    """Decode the selected frames one by one and detect what each shows.

    Without `hands` none are searched, which halves the time. Raises InputError for a bad file.
    """
    info = probe_video(video, rotate=selection.rotate)
    scale = max(1.0, max(info.width, info.height) / LARGEST_SEARCHED)
    times: list[float] = []
    thumbnails, histograms = [], []
    faces, face_frames, details = [], [], []
    found_hands, hand_frames = [], []
    frames = selection.read(video)
    with (
        LandmarkDetector(max_faces=MOST_FACES) as finder,
        HandDetector() as hand_finder,
        Progress(label, selection.expected) as bar,
    ):
        for index, (time, image) in enumerate(frames):
            small = averaged_down(image, scale)
            times.append(time)
            thumbnails.append(thumbnail(small))
            histograms.append(colour_histogram(small))
            for face in finder.detect_all(small):
                faces.append(face * np.float32(scale))
                face_frames.append(index)
                details.append(detail_tensor(small, face))
            for hand in hand_finder.detect(small) if hands else ():
                found_hands.append(hand * np.float32(scale))
                hand_frames.append(index)
            bar.update(index + 1)
    return Observations(
        size=np.array([info.width, info.height]),
        fps=np.array(mean_rate(times, info.fps / selection.every)),
        focal_35mm=np.array(np.nan if info.focal_35mm is None else info.focal_35mm),
        timestamps=np.array(times),
        thumbnails=np.array(thumbnails),
        histograms=np.array(histograms),
        faces=np.array(faces, np.float32).reshape(-1, LANDMARK_COUNT, 3),
        face_frames=np.array(face_frames, int),
        face_details=np.array(details, np.float32).reshape(-1, 2, 2, 2),
        hands=np.array(found_hands, np.float32).reshape(-1, HAND_POINTS, 2),
        hand_frames=np.array(hand_frames, int),
    )


def mean_rate(times: Sequence[float] | np.ndarray, declared: float) -> float:
    """Mean frame rate of frames at `times` `[N]` (seconds); `declared` for a single frame."""
    return (len(times) - 1) / max(times[-1] - times[0], 1e-3) if len(times) > 1 else declared


def averaged_down(image: np.ndarray, scale: float) -> np.ndarray:
    """An image `[H, W, C]` shrunk by the factor `scale` with area averaging."""
    import cv2

    if scale == 1:
        return image
    size = (round(image.shape[1] / scale), round(image.shape[0] / scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
