"""The first stage of a capture: whose face is meant, in which shot, and which frames can be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar.conventions import LANDMARK_COUNT
from avatar.errors import InputError
from avatar.lens import focal_over_longer_side
from capture_tools.checks import OTHER_SHOT, drop_reasons, is_black, refuse_still, require_usable
from capture_tools.following import follow_person
from capture_tools.hands import covered
from capture_tools.observing import Observations, observe
from capture_tools.sharpness import sharpness
from capture_tools.shots import Shot, find_shots
from capture_tools.stages import Stages
from capture_tools.video import FrameSelection


@dataclass(frozen=True)
class FoundClip:
    """The person's face in all N frames looked at, and which of them are used."""

    width: int
    height: int
    fps: float
    focal_35mm: float | None
    """Millimetres as of 35 mm film, where the file says it."""
    timestamps: np.ndarray
    """`[N]` seconds."""
    pixels: np.ndarray
    """`[N, 478, 2]` source pixels, NaN where the person was not found."""
    others: np.ndarray
    """`[N]` size of the largest other face over the followed one's."""
    occluded: np.ndarray
    """`[N, 478]` bool: a hand covers the landmark."""
    reasons: dict[int, str]
    """Why a frame is not used."""
    shots: list[Shot]
    """The parts filmed in one go; one where nothing was cut."""
    shot: int
    """Index of the shot that is used."""

    @property
    def used(self) -> np.ndarray:
        """Indices of the frames used."""
        return np.array([i for i in range(len(self.timestamps)) if i not in self.reasons], dtype=int)

    @property
    def focal_prior(self) -> float | None:
        """Expected focal length over the longer side of the frame, where the file tells."""
        return focal_over_longer_side(self.focal_35mm, self.width, self.height)

    def shot_entries(self) -> list[dict[str, float]]:
        """The shots for report.json: first and last frame, seconds of the clip, frames with a face."""
        seen = np.isfinite(self.pixels).all(axis=(1, 2))
        return [
            {
                "first": shot.first,
                "last": shot.last,
                "seconds": [float(self.timestamps[shot.first]), float(self.timestamps[shot.last])],
                "frames_with_face": int(seen[shot.first : shot.last + 1].sum()),
            }
            for shot in self.shots
        ]


@dataclass(frozen=True)
class FollowedFace:
    """The person's face over N frames, shot by shot."""

    shots: list[Shot]
    black: np.ndarray
    """`[N]` bool: the frame shows nothing."""
    rows: np.ndarray
    """`[N]` row in `Observations.faces`, -1 where the person was not seen."""
    others: np.ndarray
    """`[N]` size of the largest other face over the person's."""
    pixels: np.ndarray
    """float32 `[N, 478, 2]`, NaN where the person was not seen."""


def follow_face(seen: Observations) -> FollowedFace:
    """Find the shots and, in each of them, the person seen largest and longest."""
    count = len(seen.timestamps)
    has_face = np.isin(np.arange(count), seen.face_frames)
    black = is_black(seen.thumbnails) & ~has_face
    shots = find_shots(seen.thumbnails, seen.histograms, has_face, black)
    rows, others = np.full(count, -1), np.zeros(count)
    for shot in shots:
        inside = np.nonzero((seen.face_frames >= shot.first) & (seen.face_frames <= shot.last))[0]
        part = slice(shot.first, shot.last + 1)
        followed = follow_person(seen.faces[inside], seen.face_frames[inside] - shot.first, seen.timestamps[part])
        rows[part] = [inside[row] if row >= 0 else -1 for row in followed.rows]
        others[part] = followed.others
    pixels = np.full((count, LANDMARK_COUNT, 2), np.nan, np.float32)
    pixels[rows >= 0] = seen.faces[rows[rows >= 0], :, :2]
    return FollowedFace(shots, black, rows, others, pixels)


def landmark_stage(video: Path, selection: FrameSelection, stages: Stages) -> Observations:
    """Look at the frames, or load what an interrupted capture saw. Raises InputError for a bad file."""
    stored = stages.load("landmarks")
    if stored is not None:
        return Observations(**stored)
    with stages.timed("landmarks"):
        seen = observe(video, selection)
        stages.save("landmarks", **seen.to_arrays())
    return seen


def find_clip(seen: Observations, video: Path, shot: int | None = None) -> FoundClip:
    """Choose the shot (1 is the first; by default the one with most frames of a face) and the frames that can be used.

    Raises InputError for a still picture, a shot that is not there, and where too few frames can be used.
    """
    face = follow_face(seen)
    if (face.rows >= 0).any():
        refuse_still(seen.thumbnails, video)
    if shot is not None and not 1 <= shot <= len(face.shots):
        raise InputError(
            "--shot is out of range", where=video, expected=f"1 to {len(face.shots)} (shots found)", found=shot
        )
    counts = [int((face.rows[s.first : s.last + 1] >= 0).sum()) for s in face.shots]
    chosen = int(np.argmax(counts)) if shot is None else shot - 1
    inside = np.zeros(len(face.rows), bool)
    inside[face.shots[chosen].first : face.shots[chosen].last + 1] = True
    sharp = np.ones(len(face.rows))
    judged = inside & (face.rows >= 0)
    sharp[judged] = sharpness(seen.face_details[face.rows[judged]])
    reasons = drop_reasons(face.pixels, sharp=sharp, black=face.black)
    reasons |= {int(i): OTHER_SHOT for i in np.nonzero(~inside)[0]}
    require_usable(len(face.rows), reasons, video, shots=len(face.shots))
    return FoundClip(
        width=int(seen.size[0]),
        height=int(seen.size[1]),
        fps=float(seen.fps),
        focal_35mm=float(seen.focal_35mm) if np.isfinite(seen.focal_35mm) else None,
        timestamps=seen.timestamps,
        pixels=face.pixels,
        others=face.others,
        occluded=occluded_landmarks(seen, face.pixels),
        reasons=reasons,
        shots=face.shots,
        shot=chosen,
    )


def occluded_landmarks(seen: Observations, pixels: np.ndarray) -> np.ndarray:
    """`[N, 478]` bool: which landmarks of the followed face `[N, 478, 2]` a hand covers."""
    occluded = np.zeros(pixels.shape[:2], bool)
    for hand, frame in zip(seen.hands, seen.hand_frames, strict=True):
        if np.isfinite(pixels[frame]).all():
            occluded[frame] |= covered(hand, pixels[frame])
    return occluded
