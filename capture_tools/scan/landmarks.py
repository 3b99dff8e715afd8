"""Landmarks of a scan: triangulated from detections in close views, or read from a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.base.errors import InputError
from avatar.flame.assets import HeadAsset
from avatar.flame.landmarks import IRISES, surface_points
from avatar.geometry.cameras import Camera, look_at
from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.scan.rendering import ScanPainter
from capture_tools.scan.scan import apply, robust_similarity, scale_of
from capture_tools.track.landmark_bias import bias_of

VIEWS = ((0, 0), (-20, 0), (20, 0), (-38, 0), (38, 0), (0, -18), (0, 18), (-20, -15), (20, -15), (-20, 15), (20, 15))
"""Degrees of yaw and pitch of the close views."""
FEWEST_VIEWS = 4
CLOSE_SIZE = 448
DISTANCE = 0.9
"""Metres of the close cameras from the face."""
SHOWN = 0.30
"""Metres across the close pictures at the face."""
HOLE = 0.012
"""Metres: narrower holes are closed."""
SPREAD = 0.0015
"""Metres: detections much farther than this from the others count little."""
DEPTH_PRIOR = 0.02
"""Share of a view that says nothing about a landmark's depth along the mean direction; keeps the solution finite."""
CONTOUR = 17
"""The first of iBUG's 68 points."""
FACE_RESIDUAL = 0.0075
"""Metres: landmarks that fit the template worse than this in the median are of no face."""
EYE_CORNERS = ((36, 39), (42, 45))
"""Of the right and left eye, among iBUG's 68."""


@dataclass(frozen=True)
class ScanLandmarks:
    """Landmarks of a scan with what is known of each."""

    kind: str
    """"mediapipe" (478) or "ibug" (68); which embedding of the head they belong to."""
    points: np.ndarray
    """`[K, 3]` metres; those that are not known are NaN."""
    information: np.ndarray
    """`[K, 3, 3]`: inverse covariances of unknown unit, about the identity for a landmark that all views see, zero for
    one that is not known."""

    @property
    def known(self) -> np.ndarray:
        """Which landmarks are known, `[K]` bool."""
        return np.asarray(np.isfinite(self.points).all(1))

    def moved(self, similarity: np.ndarray) -> ScanLandmarks:
        """The landmarks after a similarity `[4, 4]`."""
        rotation = similarity[:3, :3] / scale_of(similarity)
        return replace(
            self, points=apply(similarity, self.points), information=rotation @ self.information @ rotation.T
        )

    def pupils(self) -> np.ndarray:
        """The right and the left pupil `[2, 3]`, from irises or from the middle between the eyes' corners."""
        if self.kind == "mediapipe":
            return np.stack([self.points[IRISES[side][0]] for side in ("right", "left")])
        return np.stack([self.points[list(corners)].mean(0) for corners in EYE_CORNERS])


def template_landmarks(asset: HeadAsset, kind: str) -> np.ndarray:
    """Where a detector sees the landmarks `[K, 3]` of the head model at rest: embedding and, for MediaPipe's, bias."""
    faces, barycentrics = getattr(asset, f"{kind}_faces"), getattr(asset, f"{kind}_barycentrics")
    points = surface_points(asset.template, asset.faces, faces, barycentrics).astype(np.float64)
    return points + bias_of(asset).numpy() if kind == "mediapipe" else points


@dataclass(frozen=True)
class CloseView:
    """A close picture of the face with its detected landmarks."""

    camera: Camera
    """In the head model's frame, metres."""
    pixels: np.ndarray
    """`[478, 2]`."""
    rgb: np.ndarray
    """uint8 `[H, W, 3]`."""


def close_views(
    painter: ScanPainter, centre: np.ndarray, angles: Sequence[tuple[float, float]], detector: LandmarkDetector
) -> list[CloseView]:
    """Pictures around the face of a scan that is in the model's frame, where the detector finds it.

    centre: `[3]` metres, of the face. detector: of independent images.
    """
    views = []
    for yaw, pitch in np.radians(angles):
        camera = close_camera(centre, float(yaw), float(pitch))
        image = painter.render(camera, hole=HOLE)
        pixels, _ = detector.detect(image.rgb)
        if pixels is not None:
            views.append(CloseView(camera, pixels.astype(np.float64), image.rgb))
    return views


def close_camera(centre: np.ndarray, yaw: float, pitch: float, size: int = CLOSE_SIZE, shown: float = SHOWN) -> Camera:
    """A camera that looks at the face from yaw and pitch (radians) and shows `shown` metres across."""
    direction = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    focal = size * DISTANCE / shown
    return Camera(size, size, focal, focal, size / 2, size / 2, look_at(centre + DISTANCE * direction, centre))


def triangulate(views: Sequence[CloseView], facing: np.ndarray | None = None, rounds: int = 6) -> ScanLandmarks:
    """The points nearest to the rays of their detections, robustly.

    facing: `[K views, 478]` bool, which landmarks' skin faces each camera; the others are the detector's guess.
    """
    rays = [_rays(view) for view in views]
    origins = np.stack([o for o, _ in rays])  # [N, 3]
    directions = np.stack([d for _, d in rays])  # [N, 478, 3]
    projectors = np.eye(3) - directions[..., :, None] * directions[..., None, :]
    seen = np.ones(directions.shape[:2]) if facing is None else 0.02 + facing
    weights = seen.copy()
    points = np.zeros((directions.shape[1], 3))
    for _ in range(rounds):
        normal = np.einsum("nk,nkij->kij", weights, projectors)
        right = np.einsum("nk,nkij,nj->ki", weights, projectors, origins)
        normal += DEPTH_PRIOR * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 3 * 1e-3 * np.eye(3)
        points = np.linalg.solve(normal, right[..., None])[..., 0]
        off = np.einsum("nkij,nkj->nki", projectors, points[None] - origins[:, None])
        residual = np.linalg.norm(off, axis=-1)
        weights = seen / (1 + (residual / SPREAD) ** 2) ** 2
    information = np.einsum("nk,nkij->kij", weights, projectors) / len(views)
    return ScanLandmarks("mediapipe", points, information)


def _rays(view: CloseView) -> tuple[np.ndarray, np.ndarray]:
    camera = view.camera
    x = (view.pixels[:, 0] - camera.cx) / camera.fl_x
    y = (view.pixels[:, 1] - camera.cy) / camera.fl_y
    directions = np.stack([x, y, np.ones_like(x)], -1) @ camera.world_from_cam[:3, :3].T
    return camera.position, directions / np.linalg.norm(directions, axis=1, keepdims=True)


def check_face(landmarks: ScanLandmarks, template: np.ndarray, where: object) -> tuple[np.ndarray, float]:
    """The similarity `[4, 4]` from the landmarks to the template's `[K, 3]`, and the median residual in metres.

    Raises InputError where they do not have the shape of a face.
    """
    known = landmarks.known.copy()
    if landmarks.kind == "ibug":
        known[:CONTOUR] = False  # it goes with the jaw, and people place it anywhere along the cheek
    similarity, residual = robust_similarity(landmarks.points[known], template[known])
    middle = float(np.median(residual))
    if landmarks.kind == "ibug":
        _check_sides(landmarks.points[known], template[known], middle, where)
    if not middle < FACE_RESIDUAL:
        raise InputError(
            "the landmarks have not the shape of a face"
            if landmarks.kind == "ibug"
            else "no face was found on the scan",
            where=str(where),
            expected=f"landmarks within {1000 * FACE_RESIDUAL:.0f} mm of a face's, in the median",
            found=f"{1000 * middle:.0f} mm",
            fix="give its landmarks in FLAME's order: --landmarks FILE"
            if landmarks.kind == "mediapipe"
            else "check their order (iBUG's 68, or its last 51) and that they belong to this scan",
        )
    return similarity, middle


def _check_sides(points: np.ndarray, template: np.ndarray, off: float, where: object) -> None:
    """Raise InputError where named landmarks `[K, 3]`, `off` metres from a face's, are those of its mirror image."""
    mirrored = float(np.median(robust_similarity(points * [-1, 1, 1], template)[1]))
    if mirrored < FACE_RESIDUAL and (off >= FACE_RESIDUAL or mirrored < off / 2):
        raise InputError(
            "left and right are exchanged (a mirror-symmetric mix-up): the landmarks fit a face's mirror image",
            where=str(where),
            expected="iBUG's order, which begins at the person's right, on a scan that is not mirrored",
            found=f"{1000 * mirrored:.1f} mm off a mirrored face in the median, {1000 * off:.1f} mm off a face",
            fix="mirror the scan and its landmarks (negate x of both) if the scan is mirrored, else exchange left and "
            "right in the file of landmarks",
        )


LANDMARK_ENDINGS = (".npy", ".json", ".txt")
"""Of files of landmarks."""


def read_landmarks(path: Path) -> ScanLandmarks:
    """Read 51 or 68 points in iBUG's order from .npy, .json (a list of points, or `{"landmarks": ...}`) or .txt.

    Points are in the scan's own frame; a row of NaN (null in JSON) stands for one that is not known. Raises InputError
    for a file that is missing, damaged or of another count.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("the file of landmarks does not exist", where=path, fix="check the path")
    try:
        values = np.asarray(_numbers(path), dtype=np.float64)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as cause:
        raise InputError(
            "the file of landmarks is damaged",
            where=path,
            expected=".npy, .json or .txt with 51 or 68 points",
            found=cause,
            fix="write a point in each line of a .txt: three numbers in the scan's own unit",
        ) from cause
    if values.ndim != 2 or values.shape[1] != 3 or len(values) not in (51, 68):
        raise InputError(
            "the landmarks do not fit",
            where=path,
            expected="51 or 68 points of three numbers",
            found=" x ".join(str(size) for size in values.shape) + " numbers",
            fix="give iBUG's 68 points, or its last 51; NaN (null in JSON) stands for one that is not known",
        )
    points = np.full((68, 3), np.nan)
    points[68 - len(values) :] = values
    known = np.asarray(np.isfinite(points).all(1))
    if known[17:].sum() < 10 or not known[[36, 39, 42, 45]].all():
        raise InputError(
            "the landmarks lack too many points",
            where=path,
            expected="the eyes' corners and most others",
            found=f"{int(known.sum())} points",
            fix="add them, or leave out --landmarks: the face is then searched",
        )
    points[~known] = np.nan
    return ScanLandmarks("ibug", points, known[:, None, None] * np.eye(3))


def _numbers(path: Path) -> object:
    ending = path.suffix.lower()
    if ending == ".npy":
        return np.load(path, allow_pickle=False)
    if ending == ".json":
        value = json.loads(path.read_text())
        rows = value["landmarks"] if isinstance(value, dict) else value
        return [[np.nan] * 3 if row is None else [np.nan if x is None else float(x) for x in row] for row in rows]
    if ending == ".txt":
        return np.loadtxt(path.read_text().replace(",", " ").splitlines(), ndmin=2)
    raise ValueError(f"unknown ending {ending or '(none)'}")


def posed_landmarks(
    kind: str, asset: HeadAsset, vertices: Tensor, world_from_joint: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Corner vertices `[K, 3]`, barycentrics `[K, 3]` and posed bias `[K, 3]` of the model's landmarks.

    vertices: `[V, 3]`. world_from_joint: `[5, 4, 4]`.
    """
    faces = torch.as_tensor(getattr(asset, f"{kind}_faces")).long()
    corners = torch.as_tensor(asset.faces).long()[faces]
    barycentrics = torch.as_tensor(getattr(asset, f"{kind}_barycentrics"))
    if kind != "mediapipe":
        return corners, barycentrics, torch.zeros(len(corners), 3)
    weights = (torch.as_tensor(asset.weights)[corners] * barycentrics[..., None]).sum(1)
    rotation = torch.einsum("kj,jab->kab", weights, world_from_joint[:, :3, :3])
    return corners, barycentrics, torch.einsum("kab,kb->ka", rotation, bias_of(asset))
