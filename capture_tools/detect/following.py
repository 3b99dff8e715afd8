"""Face tracking by identity: the faces of a clip sorted into people, and the largest person chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from avatar.flame.landmark_sets import inter_ocular_distance

MOTION = 1.5
"""Inter-ocular distances a face may move between two frames, however close in time."""
MOTION_PER_SECOND = 8.0
"""The same per second unseen: after about a second a face may reappear anywhere in the picture."""
SIZE_RATIO = 2.0
"""Ratio of sizes beyond which two faces belong to different people."""


@dataclass
class _Person:
    """One of the people in a clip, told apart by position and size."""

    last: np.ndarray
    """`[478, 3]` last face."""
    time: float
    """Its time, seconds."""
    weight: float = 0.0
    """Sum of the sizes of their faces that count."""
    rows: dict[int, int] = field(default_factory=dict)
    """Row of their face, by frame."""


@dataclass(frozen=True)
class Followed:
    """The chosen person's face over N frames."""

    rows: np.ndarray
    """`[N]` row of the face in the list given, -1 where the person was not seen."""
    others: np.ndarray
    """`[N]` size of the largest other face over the person's own (their median where unseen); 0 without another."""


def follow_person(
    faces: np.ndarray, frames: np.ndarray, times: Sequence[float] | np.ndarray, counts: np.ndarray | None = None
) -> Followed:
    """Sort the faces of N frames into people by position and size, and choose the person of largest summed size.

    `faces` `[M, 478, 3]` and `frames` `[M]` the frame each was found in, increasing; `times` N seconds. Faces
    are assigned to the nearest person first, so that a person who turns away is never replaced by a neighbour.
    `counts` `[M]` bool: faces that count in the choice, all by default; where none does, the person seen most often is
    chosen.
    """
    people: list[_Person] = []
    sizes = inter_ocular_distance(faces[..., :2]) if len(faces) else np.zeros(0)
    weights = sizes if counts is None else sizes * counts
    for frame in np.unique(frames):
        here = np.nonzero(frames == frame)[0]
        time = float(times[frame])
        free = dict.fromkeys(here.tolist())
        pairs = sorted(
            (distance, number, row)
            for number, person in enumerate(people)
            for row in here.tolist()
            if (distance := _distance(person, faces[row], time)) is not None
        )
        taken = set()
        for _, number, row in pairs:
            if number not in taken and row in free:
                taken.add(number)
                del free[row]
                _add(people[number], faces[row], float(weights[row]), int(frame), row, time)
        for row in free:
            people.append(_Person(faces[row], time))
            _add(people[-1], faces[row], float(weights[row]), int(frame), row, time)
    rows, others = np.full(len(times), -1), np.zeros(len(times))
    if people:
        meant = max(people, key=lambda person: (person.weight, len(person.rows)))
        rows[list(meant.rows)] = list(meant.rows.values())
        typical = float(np.median(sizes[list(meant.rows.values())]))
        for row, frame in enumerate(frames):
            if rows[frame] != row:
                own = sizes[rows[frame]] if rows[frame] >= 0 else typical
                others[frame] = max(others[frame], sizes[row] / max(own, 1e-6))
    return Followed(rows, others)


def _distance(person: _Person, face: np.ndarray, time: float) -> float | None:
    """Distance of a face from a person's last position, in inter-ocular distances; None where it cannot be theirs."""
    size, other = float(inter_ocular_distance(person.last[:, :2])), float(inter_ocular_distance(face[:, :2]))
    if not 1 / SIZE_RATIO < other / max(size, 1e-6) < SIZE_RATIO:
        return None
    distance = float(np.linalg.norm(face[:, :2].mean(0) - person.last[:, :2].mean(0))) / max(size, 1e-6)
    return distance if distance < MOTION + MOTION_PER_SECOND * (time - person.time) else None


def _add(person: _Person, face: np.ndarray, weight: float, frame: int, row: int, time: float) -> None:
    person.last, person.time = face, time
    person.weight += weight
    person.rows[frame] = row
