"""Where the face is on a scan of unknown unit and orientation: pictures from all sides go to the landmark detector.

A detection counts where its landmarks, put back on the surface, have the shape of a face: a similarity brings them to
the head model's own. That tells the face from its hollow back, from hair and from painted pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from avatar.base.errors import InputError
from avatar.base.progress import Progress
from avatar.geometry.cameras import Camera, look_at
from capture_tools.detect.landmark_detector import MINIMAL_INSIDE, LandmarkDetector, share_inside
from capture_tools.scan.rendering import ScanImage, ScanPainter, directions
from capture_tools.scan.scan import Scan, apply, robust_similarity, scale_of

DISTANCE = 6.0
"""Of the camera from the scan's middle, in radii of the scan."""
SIZES = (256, 640)
"""Pixels across the pictures of the first search, and of the second, which looks at their parts too."""
HOLE = 0.05
"""Width of holes that are closed, in radii of the scan."""
FACE_RESIDUAL = 0.007
"""Metres: a detection whose landmarks fit those of the model worse in the median is no face."""
CLEAR_RESIDUAL = 0.0055
"""Metres: detections that fit better than this are faces beyond doubt, of which only one may be there."""
FACE_WIDTH = 0.14
"""Metres."""
MOST_FACES = 4
FEWEST_LIFTED = 0.8
"""Share of the landmarks that must lie on the surface."""


@dataclass(frozen=True)
class Candidate:
    """A face seen in one picture."""

    scan_to_model: np.ndarray
    """`[4, 4]` similarity from the scan to the head model's template."""
    centre: np.ndarray
    """`[3]` in the scan's frame."""
    residual: float
    """Metres, median over the landmarks."""

    @property
    def width(self) -> float:
        """Of a face, in the scan's unit."""
        return FACE_WIDTH / scale_of(self.scan_to_model)


def find_face(scan: Scan, template_landmarks: np.ndarray, detector: LandmarkDetector) -> np.ndarray:
    """The similarity `[4, 4]` that brings a scan roughly to the head model's template.

    template_landmarks: `[478, 3]` of the model at rest. detector: of independent images, with MOST_FACES in each.
    Raises InputError where there is no face, or two heads.
    """
    box = box_transform(scan.vertices)
    painter = ScanPainter(scan.moved(box))
    for size in SIZES:
        found = search(painter, template_landmarks, size, detector)
        if found:
            break
    else:
        raise InputError(
            "no face was found on the scan",
            where=scan.name,
            expected="a head with a face, seen from some side",
            fix="give its landmarks: --landmarks FILE; or check that the scan is one of a head",
        )
    best = min(found, key=lambda c: c.residual)
    others = [
        c
        for c in found
        if c.residual < CLEAR_RESIDUAL and np.linalg.norm(c.centre - best.centre) > (c.width + best.width) / 2
    ]
    if others:
        raise InputError(
            "there are two heads on the scan",
            where=scan.name,
            expected="one head",
            found=f"{1 + len(_apart(others))} faces far from each other",
            fix="cut the scan, so that one head is left on it",
        )
    return best.scan_to_model @ box


def box_transform(points: np.ndarray) -> np.ndarray:
    """The map `[4, 4]` that brings nearly all of the points `[P, 3]` into a ball of radius 1 at the origin."""
    low, high = np.percentile(points, [1, 99], axis=0)
    centre = (low + high) / 2
    radius = max(float(np.percentile(np.linalg.norm(points - centre, axis=1), 99)), 1e-30)
    transform = np.eye(4) / radius
    transform[:3, 3] = -centre / radius
    transform[3, 3] = 1
    return transform


def search(
    painter: ScanPainter, template_landmarks: np.ndarray, size: int, detector: LandmarkDetector
) -> list[Candidate]:
    """All faces in pictures from 26 sides, each turned four ways; in the parts of the largest pictures too."""
    found = []
    sides, parts = directions(), size == SIZES[-1]
    label = "the scan's face, its parts" if parts else "the scan's face"
    with Progress(label, len(sides), "view") as bar:
        for done, side in enumerate(sides):
            up = (0, 1, 0) if abs(side[1]) < 0.9 else (0, 0, 1)
            focal = size * DISTANCE / 2.3
            camera = Camera(size, size, focal, focal, size / 2, size / 2, look_at(DISTANCE * side, np.zeros(3), up))
            image = painter.render(camera, hole=HOLE)
            for pixels in _faces(detector, image.rgb, parts):
                candidate = lift(image, camera, pixels, template_landmarks)
                if candidate is not None:
                    found.append(candidate)
            bar.update(done + 1)
    return found


def _faces(detector: LandmarkDetector, rgb: np.ndarray, parts: bool) -> Iterator[np.ndarray]:
    """Landmarks `[478, 2]` of all faces in a square picture, turned four ways, and in nine parts of it."""
    size = rgb.shape[0]
    half = size // 2
    corners = list(product((0, half // 2, half), repeat=2)) if parts else []
    tiles = [(0, 0, size)] + [(row, column, half) for row, column in corners]
    for row, column, side in tiles:
        tile = rgb[row : row + side, column : column + side]
        if np.ptp(tile.reshape(-1, 3), axis=0).max() < 20:
            continue
        for turns in range(4):
            for face in detector.detect_all(np.rot90(tile, turns)):
                if share_inside(face, side, side) >= MINIMAL_INSIDE:
                    yield turned_back(face[:, :2], turns, side) + np.array([column, row])


def turned_back(pixels: np.ndarray, turns: int, side: int) -> np.ndarray:
    """Pixels `[..., 2]` of a square picture that was turned by `np.rot90` `turns` times, in the picture itself."""
    x, y = pixels[..., 0].astype(float), pixels[..., 1].astype(float)
    for _ in range(turns):
        x, y = side - y, x
    return np.stack([x, y], -1)


def lift(image: ScanImage, camera: Camera, pixels: np.ndarray, template_landmarks: np.ndarray) -> Candidate | None:
    """The face whose landmarks were seen at `pixels` `[478, 2]`, or None where they do not lie on a face's shape."""
    points, seen = back_on_surface(image, camera, pixels)
    if seen.mean() < FEWEST_LIFTED:
        return None
    similarity, residual = robust_similarity(points[seen], template_landmarks[seen])
    middle = float(np.median(residual))
    if not middle < FACE_RESIDUAL:
        return None
    return Candidate(similarity, np.median(points[seen], axis=0), middle)


def back_on_surface(image: ScanImage, camera: Camera, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points `[K, 3]` of the surface at `pixels` `[K, 2]` in the camera's world, and which of them lie on it `[K]`."""
    height, width = image.depth.shape
    column, row = np.floor(pixels).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    depth = image.depth[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)].astype(float)
    seen = inside & np.isfinite(depth)
    depth = np.where(seen, depth, 0)
    x = (pixels[:, 0] - camera.cx) / camera.fl_x * depth
    y = (pixels[:, 1] - camera.cy) / camera.fl_y * depth
    return apply(camera.world_from_cam, np.stack([x, y, depth], -1)), seen


def _apart(found: list[Candidate]) -> list[Candidate]:
    """One candidate of each place."""
    chosen: list[Candidate] = []
    for candidate in sorted(found, key=lambda c: c.residual):
        if all(np.linalg.norm(candidate.centre - c.centre) > (candidate.width + c.width) / 2 for c in chosen):
            chosen.append(candidate)
    return chosen
