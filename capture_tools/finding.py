"""The first stage of a capture: the face in every frame looked at, and which frames can be used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avatar.progress import Progress
from avatar.videos import probe_video, read_video
from capture_tools.checks import drop_reasons, refuse_two_people, require_usable
from capture_tools.landmarks import ClipLandmarks, LandmarkDetector
from capture_tools.stages import Stages
from capture_tools.video import FrameSelection


@dataclass(frozen=True)
class FoundClip:
    """What the landmark stage found, all frames looked at."""

    width: int
    height: int
    fps: float
    timestamps: np.ndarray
    """`[N]` seconds."""
    pixels: np.ndarray
    """`[N, 478, 2]` source pixels, NaN where no face was found."""
    others: np.ndarray
    """`[N]` size of the largest other face over the followed one's."""
    reasons: dict[int, str]
    """Why a frame is not used."""

    @property
    def used(self) -> np.ndarray:
        """Indices of the frames used."""
        return np.array([i for i in range(len(self.timestamps)) if i not in self.reasons], dtype=int)


def find_landmarks(video: Path, selection: FrameSelection, label: str = "landmarks") -> ClipLandmarks:
    """Decode the chosen frames and find the one face followed through them. Raises InputError for a bad file."""
    info = probe_video(video)
    clip = ClipLandmarks(info.width, info.height, info.fps / selection.every)
    previous = None
    frames = read_video(video, start=selection.start, end=selection.end, every=selection.every)
    with LandmarkDetector() as detector, Progress(label, selection.expected) as bar:
        for timestamp, image in frames:
            previous = clip.add(timestamp, detector.detect_all(image), previous)
            bar.update(len(clip.faces))
    if len(clip.timestamps) > 1:
        clip.fps = (len(clip.timestamps) - 1) / max(clip.timestamps[-1] - clip.timestamps[0], 1e-3)
    return clip


def landmark_stage(video: Path, selection: FrameSelection, stages: Stages) -> FoundClip:
    stored = stages.load("landmarks")
    if stored is None:
        with stages.timed("landmarks"):
            found = find_landmarks(video, selection)
            stored = {
                "size": np.array([found.width, found.height]),
                "fps": np.array(found.fps),
                "timestamps": np.array(found.timestamps),
                "pixels": found.pixels(),
                "others": np.array(found.others),
            }
            stages.save("landmarks", **stored)
    width, height = (int(v) for v in stored["size"])
    pixels = stored["pixels"]
    return FoundClip(width, height, float(stored["fps"]), stored["timestamps"], pixels, stored["others"], {})


def usable_frames(clip: FoundClip, video: Path) -> FoundClip:
    """Decide which frames can be used. Raises InputError where too few can, or where two people are shown."""
    refuse_two_people(clip.pixels, clip.others, video)
    clip = replace(clip, reasons=drop_reasons(clip.pixels))
    require_usable(clip.pixels, clip.reasons, video)
    return clip
