"""The camera of every frame between the keyframes: their points followed through the pictures, then resected.

Corners of a registered keyframe are followed to the next and the one before by optical flow (Lucas and Kanade 1981,
over a pyramid), which takes a tenth of the time of new features and places points more finely. Each frame between
thus sees points of two keyframes, and its pose is solved from them (PnP under RANSAC, refined).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from capture_tools.camera.background import flow_there_and_back

MINIMAL_MATCHES = 15
PNP_ERROR = 4.0
"""Largest reprojection error, pixels, of an inlier when a frame is registered."""
RETURN_ERROR = 0.7
"""Pixels by which a point may miss its place when it is followed back; beyond it is lost."""
WINDOW = 15


class View(NamedTuple):
    """One frame as the camera stage looks at it."""

    grey: np.ndarray
    """uint8 `[H, W]`."""
    free: np.ndarray
    """bool `[H, W]`: background, well away from the person."""


class Seen(NamedTuple):
    """Points of the scene as one keyframe sees them."""

    pixels: np.ndarray
    """`[K, 2]` float32, pixel centres at 0.5."""
    points: np.ndarray
    """`[K]` int64 identifiers."""


def register_frames(
    views: Sequence[View],
    poses: dict[int, np.ndarray],
    seen: dict[int, Seen],
    positions: dict[int, np.ndarray],
    lens: Any,
    seed: int,
) -> list[np.ndarray | None]:
    """`world_from_cam` `[4, 4]` of every view; None where too few points are followed to it.

    poses, seen: of the keyframes, by the view's number. positions: `[3]` of the points. lens: pycolmap.Camera.
    """
    import pycolmap

    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error, options.ransac.random_seed = PNP_ERROR, seed
    followed: list[list[Seen]] = [[] for _ in views]
    keys = sorted(poses)
    for place, key in enumerate(keys):
        after = keys[place + 1] if place + 1 < len(keys) else len(views)
        before = keys[place - 1] if place else -1
        for numbers in (range(key + 1, after), range(key - 1, before, -1)):
            for number, points in zip(numbers, follow(views, key, numbers, seen[key]), strict=False):
                followed[number].append(points)
    return [
        poses[number] if number in poses else resect(found, positions, lens, options)
        for number, found in enumerate(followed)
    ]


def follow(views: Sequence[View], start: int, numbers: Sequence[int], seen: Seen) -> Iterator[Seen]:
    """The points of view `start` in the views `numbers`, one after another; ends where too few are left."""
    pixels, points, last = seen.pixels, seen.points, views[start]
    for number in numbers:
        view = views[number]
        if len(pixels) < MINIMAL_MATCHES:
            return
        begin = (pixels - 0.5).reshape(-1, 1, 2)
        moved, good = flow_there_and_back(last.grey, view.grey, begin, window=WINDOW, error=RETURN_ERROR)
        place = (moved[:, 0] + 0.5).astype(np.float32)
        column, row = np.floor(place).astype(int).T
        height, width = view.free.shape
        good &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
        good[good] = view.free[row[good], column[good]]
        pixels, points, last = place[good], points[good], view
        yield Seen(pixels, points)


def resect(found: list[Seen], positions: dict[int, np.ndarray], lens: Any, options: Any) -> np.ndarray | None:
    """The pose `world_from_cam` `[4, 4]` that sees points where they were found; None where too few agree."""
    import pycolmap

    if sum(len(part.points) for part in found) < MINIMAL_MATCHES:
        return None
    pixels = np.concatenate([part.pixels for part in found]).astype(np.float64)
    points = np.stack([positions[identifier] for part in found for identifier in part.points.tolist()])
    answer = pycolmap.estimate_and_refine_absolute_pose(pixels, points, lens, options)
    if answer is None or answer["num_inliers"] < MINIMAL_MATCHES:
        return None
    return inverse(answer["cam_from_world"].matrix())


def inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse `[4, 4]` of a rigid transform `[3, 4]`."""
    result = np.eye(4)
    result[:3, :3] = matrix[:, :3].T
    result[:3, 3] = -matrix[:, :3].T @ matrix[:, 3]
    return result
