"""Which frames of a long clip are used: some spread evenly, the rest by what they show and the others do not.

Neighbouring frames are alike, but the one second of a minute in which the head was turned is not. Frames are described
by the face's landmarks, and those are taken one after another whose face differs most from all taken so far
(farthest-point sampling; Gonzalez 1985).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from capture_tools.detect.observing import Observations, mean_rate
from capture_tools.detect.sharpness import absolute_detail

LOOKED_AT = 5
"""Frames looked at for each one used, at most."""
EVEN = 0.6
"""Share of the frames used that is spread evenly over the clip."""
SHARP = 0.8
"""Share of the clip's median detail that a face needs to be taken for what it shows."""
EXPRESSION = 3.0
"""Weight of a face's shape against its rotation."""
NOISE = 0.01
"""Difference of two faces, in their size, below which nothing new is seen."""


def choose_frames(seen: Observations, most: int) -> np.ndarray:
    """Positions `[K]`, rising, of at most `most` of the frames observed; all where there are no more."""
    count = len(seen.timestamps)
    if count <= most:
        return np.arange(count)
    even = np.unique(np.linspace(0, count - 1, max(1, round(EVEN * most))).round().astype(int))
    rows = largest_faces(seen)
    frames, taken = seen.face_frames[rows], set(even.tolist())
    if len(frames):
        described = describe(seen.faces[rows])
        details = absolute_detail(seen.face_details[rows])
        sharp = details >= SHARP * np.median(details)
        nearest = np.full(len(frames), np.inf)
        for row in np.flatnonzero(np.isin(frames, even)):
            nearest = np.minimum(nearest, np.linalg.norm(described - described[row], axis=1))
        while len(taken) < most:
            row = int(np.argmax(np.where(sharp, nearest, -1.0)))
            if not (sharp[row] and nearest[row] > NOISE):
                break
            taken.add(int(frames[row]))
            nearest = np.minimum(nearest, np.linalg.norm(described - described[row], axis=1))
    left = np.array(sorted(set(range(count)) - taken))
    missing = most - len(taken)
    if missing > 0:
        taken |= set(left[np.linspace(0, len(left) - 1, missing).round().astype(int)].tolist())
    return np.array(sorted(taken))


def largest_faces(seen: Observations) -> np.ndarray:
    """Rows of `seen.faces`: the largest face of each frame that shows one, in the order of the frames."""
    size = np.ptp(seen.faces[:, :, 1], axis=1) if len(seen.faces) else np.zeros(0)
    order = np.lexsort((-size, seen.face_frames))
    _, first = np.unique(seen.face_frames[order], return_index=True)
    return order[first]


def describe(faces: np.ndarray) -> np.ndarray:
    """Descriptions `[F, D]` of faces `[F, 478, 3]`: two differ by the root mean square distance of their points over
    the face's size, as they are and, EXPRESSION times as much, with their rotation undone."""
    centred = faces - faces.mean(1, keepdims=True)
    centred = centred / np.sqrt(np.square(centred).sum(2).mean(1))[:, None, None]
    u, _, vt = np.linalg.svd(np.einsum("fpi,pj->fij", centred, centred.mean(0)))
    turned = u @ vt
    upright = np.einsum("fpi,fij->fpj", centred, turned)
    parts = [centred.reshape(len(faces), -1), EXPRESSION * upright.reshape(len(faces), -1)]
    return np.concatenate(parts, 1) / np.sqrt(faces.shape[1])


def only_frames(seen: Observations, kept: np.ndarray) -> Observations:
    """The observations of the frames at positions `kept` `[K]`, rising, numbered anew."""
    place = np.full(len(seen.timestamps), -1)
    place[kept] = np.arange(len(kept))
    faces, hands = place[seen.face_frames] >= 0, place[seen.hand_frames] >= 0
    times = seen.timestamps[kept]
    return replace(
        seen,
        fps=np.array(mean_rate(times, float(seen.fps))),
        timestamps=times,
        thumbnails=seen.thumbnails[kept],
        histograms=seen.histograms[kept],
        faces=seen.faces[faces],
        face_frames=place[seen.face_frames[faces]],
        face_details=seen.face_details[faces],
        hands=seen.hands[hands],
        hand_frames=place[seen.hand_frames[hands]],
    )
