"""The person, the shot and the usable frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.conventions import LANDMARK_COUNT
from avatar.base.errors import InputError
from avatar.base.limits import FEWEST_FRAMES
from avatar.media.focal_metadata import focal_over_longer_side
from capture_tools.detect.checks import (
    NO_FACE,
    OTHER_SHOT,
    cut_reason,
    drop_reasons,
    is_black,
    refuse_still,
    require_usable,
)
from capture_tools.detect.following import follow_person
from capture_tools.detect.hands import covered
from capture_tools.detect.landmark_detector import MINIMAL_INSIDE, cut_share, inside_picture
from capture_tools.detect.observing import Observations
from capture_tools.detect.selection import FrameSelection
from capture_tools.detect.sharpness import absolute_detail, sharpness
from capture_tools.detect.shots import Shot, find_shots

LOOKED_AT_AGAIN = 12
"""Frames without a face that are searched for one cut by the picture's edge."""


@dataclass(frozen=True)
class FoundClip:
    """The person's face in the N frames selected, and which of them are used."""

    width: int
    height: int
    fps: float
    focal_35mm: float | None
    """Focal length in millimetres, 35 mm equivalent; None where the file has none."""
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
    """The shots; a single one where the clip was not cut."""
    shot: int
    """Index of the shot used."""
    details: np.ndarray
    """`[N]` fine detail of the face (sharpness.absolute_detail), NaN where the person was not found."""
    rotate: int = 0
    """Degrees clockwise by which all frames were rotated, beyond the file's own orientation."""
    unasked: bool = False
    """The rotation was detected from the face, not set by the user."""

    @property
    def used(self) -> np.ndarray:
        """Indices of the frames used."""
        return np.array([i for i in range(len(self.timestamps)) if i not in self.reasons], dtype=int)

    @property
    def unseen(self) -> np.ndarray:
        """`[N, 478]` bool: the landmark is hidden by a hand or lies outside the picture."""
        return self.occluded | ~inside_picture(self.pixels, self.width, self.height)

    @property
    def focal_prior(self) -> float | None:
        """Focal length over the longer side of the frame, from the file's metadata; else None."""
        return focal_over_longer_side(self.focal_35mm, self.width, self.height)

    def shot_entries(self) -> list[dict[str, Any]]:
        """The shots for report.json: first and last frame, seconds of the clip, frames with a face."""
        seen = np.all(np.isfinite(self.pixels), axis=(1, 2))
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
    """`[N]` bool: the frame is black."""
    rows: np.ndarray
    """`[N]` row in `Observations.faces`, -1 where the person was not seen."""
    others: np.ndarray
    """`[N]` size of the largest other face over the person's."""
    pixels: np.ndarray
    """float32 `[N, 478, 2]`, NaN where the person was not seen."""
    inside: np.ndarray
    """`[N]` share of the face's landmarks inside the picture. Where the person was not seen: that of a face cut by the
    picture's edge, else 0."""

    @property
    def whole(self) -> np.ndarray:
        """`[N]` bool: the person's face was seen, and at most slightly cut by the picture's edge."""
        return self.inside >= MINIMAL_INSIDE


def follow_face(seen: Observations) -> FollowedFace:
    """Find the shots and, in each of them, the person of largest summed size (`follow_person`)."""
    count = len(seen.timestamps)
    has_face = np.isin(np.arange(count), seen.face_frames)
    black = is_black(seen.thumbnails) & ~has_face
    shots = find_shots(seen.thumbnails, seen.histograms, has_face, black)
    rows, others = np.full(count, -1), np.zeros(count)
    shares = inside_picture(seen.faces, *seen.size).mean(axis=1)
    for shot in shots:
        inside = np.nonzero((seen.face_frames >= shot.first) & (seen.face_frames <= shot.last))[0]
        part = slice(shot.first, shot.last + 1)
        followed = follow_person(
            *(seen.faces[inside], seen.face_frames[inside] - shot.first, seen.timestamps[part]),
            counts=shares[inside] >= MINIMAL_INSIDE,
        )
        rows[part] = [inside[row] if row >= 0 else -1 for row in followed.rows]
        others[part] = followed.others
    pixels = np.full((count, LANDMARK_COUNT, 2), np.nan, np.float32)
    pixels[rows >= 0] = seen.faces[rows[rows >= 0], :, :2]
    visible = np.where(rows >= 0, np.append(shares, 0)[rows], 0)
    for frame in np.nonzero((rows < 0) & has_face)[0]:
        here = shares[seen.face_frames == frame]
        if here.max() < MINIMAL_INSIDE:  # a leap to the edge: taken for the person's own face
            visible[frame], others[frame] = here.max(), 0
    return FollowedFace(shots, black, rows, others, pixels, visible)


def find_clip(
    seen: Observations, video: Path, shot: int | None = None, selection: FrameSelection | None = None
) -> FoundClip:
    """Choose the shot (1 is the first; by default the one with most frames of a face) and the usable frames.

    `selection`: the frames of `seen`; with it, a clip about to be refused is searched again for a face cut by the
    picture's edge, which gives the better reason.
    Raises InputError for a still picture, a missing shot, and too few usable frames.
    """
    face = follow_face(seen)
    if (face.rows >= 0).any():
        refuse_still(seen.thumbnails, video)
    if shot is not None and not 1 <= shot <= len(face.shots):
        raise InputError(
            "--shot is out of range", where=video, expected=f"1 to {len(face.shots)} (shots found)", found=shot
        )
    counts = [int(face.whole[s.first : s.last + 1].sum()) for s in face.shots]
    chosen = int(np.argmax(counts)) if shot is None else shot - 1
    inside = np.zeros(len(face.rows), bool)
    inside[face.shots[chosen].first : face.shots[chosen].last + 1] = True
    sharp = np.ones(len(face.rows))
    judged = inside & face.whole
    sharp[judged] = sharpness(seen.face_details[face.rows[judged]])
    details = np.full(len(face.rows), np.nan)
    details[face.rows >= 0] = absolute_detail(seen.face_details[face.rows[face.rows >= 0]])
    reasons = drop_reasons(face.pixels, sharp=sharp, black=face.black, inside=face.inside)
    reasons |= {int(i): OTHER_SHOT for i in np.nonzero(~inside)[0]}
    if selection is not None and len(face.rows) - len(reasons) < FEWEST_FRAMES:
        reasons |= _cut_beyond_finding(video, selection, reasons)
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
        details=details,
    )


def _cut_beyond_finding(video: Path, selection: FrameSelection, reasons: dict[int, str]) -> dict[int, str]:
    """Reasons for the frames without a face, where some of them show one cut by the picture's edge."""
    lost = [frame for frame, reason in reasons.items() if reason == NO_FACE]
    looked_at = set(lost[:: max(1, len(lost) // LOOKED_AT_AGAIN)])
    frames = (image for index, (_, image) in enumerate(selection.read(video)) if index in looked_at)
    share = cut_share(frames) if looked_at else None
    return {} if share is None else dict.fromkeys(lost, cut_reason(share))


def occluded_landmarks(seen: Observations, pixels: np.ndarray) -> np.ndarray:
    """`[N, 478]` bool: which landmarks of the followed face `[N, 478, 2]` a hand covers."""
    occluded = np.zeros(pixels.shape[:2], bool)
    for hand, frame in zip(seen.hands, seen.hand_frames, strict=True):
        if np.isfinite(pixels[frame]).all():
            occluded[frame] |= covered(hand, pixels[frame])
    return occluded
