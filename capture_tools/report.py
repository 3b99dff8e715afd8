"""Pictures a person can check a capture by: the overlay video, the contact sheet, and warnings in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from avatar.data.landmark_sets import LIPS, inter_ocular_distance, lip_distance
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera
from avatar.geometry.meshes import vertex_normals
from avatar.imaging import write_png
from avatar.kernels.mesh_query import MeshQuery
from avatar.kernels.threads import one_torch_thread
from avatar.videos import write_video

OVERLAY_SIZE = 320
"""Pixels of each of the two panels; enough to judge alignment by, and quick to draw."""
SHEET_CELLS = 12
LIGHT = np.array([0.25, 0.35, 0.9])
COLOURS = {"lips": (235, 120, 120), "eyeballs": (120, 190, 255), "teeth": (255, 250, 190), "tongue": (255, 80, 90)}
DETECTED, PROJECTED = (60, 255, 60), (255, 60, 60)
TURNED_FAR = 60
"""Degrees of yaw from which a face hides half of its landmarks."""


class MeshPainter:
    """Draws the posed head, shaded, over a picture."""

    def __init__(self, asset: HeadAsset) -> None:
        self.model = HeadModel(asset)
        self.faces = torch.as_tensor(asset.faces, dtype=torch.int64)
        self.query = MeshQuery(torch.as_tensor(asset.faces), "cpu")
        self.colours = np.full((asset.vertex_count, 3), 205.0, np.float32)
        for name, colour in COLOURS.items():
            if name in asset.regions:
                self.colours[asset.regions[name]] = colour

    @torch.no_grad()
    def draw(self, picture: np.ndarray, params: HeadParameters, camera: Camera, opacity: float = 1.0) -> np.ndarray:
        """`params` of one frame over uint8 `[H, W, 3]`, seen by `camera` (of the picture's size)."""
        vertices = self.model(params).vertices[0]
        seen = rasterize(self.query, vertices, camera)
        normals = vertex_normals(vertices, self.faces).numpy()
        corners = self.faces.numpy()[seen.face.numpy()]
        weights = seen.barycentrics.numpy()[..., None]
        normal = (normals[corners] * weights).sum(-2)
        shade = 0.25 + 0.75 * np.clip(normal @ (LIGHT / np.linalg.norm(LIGHT)), 0, 1)
        colour = (self.colours[corners] * weights).sum(-2) * shade[..., None]
        mixed = picture + opacity * (colour - picture)
        return np.where(seen.mask.numpy()[..., None], np.clip(mixed, 0, 255), picture).astype(np.uint8)


def draw_landmarks(picture: np.ndarray, detected: np.ndarray, projected: np.ndarray) -> np.ndarray:
    """Detected landmarks `[478, 2]` as green dots, a red line from each to the fitted head's."""
    import cv2

    drawn = picture.copy()
    shift = 4  # sixteenths of a pixel
    for found, fitted in zip(detected, projected, strict=True):
        if np.isfinite(found).all():
            a, b = (tuple(int(v) for v in np.rint((point - 0.5) * 2**shift)) for point in (found, fitted))
            cv2.line(drawn, a, b, PROJECTED, 1, cv2.LINE_AA, shift)
            cv2.circle(drawn, a, 2**shift // 2, DETECTED, -1, cv2.LINE_AA, shift)
    return drawn


def write_overlay(
    path: Path,
    images: np.ndarray,
    params: HeadParameters,
    camera: Camera,
    detected: np.ndarray,
    projected: np.ndarray,
    asset: HeadAsset,
    fps: float,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """An mp4: the frame with landmarks, and the frame under the shaded head. Pixels are those of `images`."""
    painter = MeshPainter(asset)
    size = min(OVERLAY_SIZE, images.shape[1]) // 2 * 2
    scale = size / images.shape[1]
    small = camera.scaled(size, size)

    def frames() -> Iterator[np.ndarray]:
        for i in range(len(images)):
            picture = resize(images[i], size)
            left = draw_landmarks(picture, detected[i] * scale, projected[i] * scale)
            right = painter.draw(picture, params.select([i]), small, opacity=0.8)
            if progress is not None:
                progress(i + 1)
            yield np.concatenate([left, right], axis=1)

    with one_torch_thread():
        return write_video(path, frames(), max(fps, 1.0), synthetic=True)


def write_contact_sheet(
    path: Path,
    images: np.ndarray,
    mattes: np.ndarray,
    plate: np.ndarray,
    params: HeadParameters,
    camera: Camera,
    landmarks: np.ndarray,
    asset: HeadAsset,
) -> Path:
    """A png of twelve telling frames: the picture, the head over it, and the person cut out, with frame numbers."""
    import cv2

    painter = MeshPainter(asset)
    size = min(224, images.shape[1])
    small = camera.scaled(size, size)
    cells = []
    for i in telling_frames(landmarks, params.rotation.numpy(), SHEET_CELLS):
        picture = resize(images[i], size)
        mesh = painter.draw(picture, params.select([i]), small)
        alpha = resize(mattes[i], size)[..., None] / 255.0
        cut = (picture * alpha + np.array([40, 160, 70]) * (1 - alpha)).astype(np.uint8)
        cell = np.ascontiguousarray(np.concatenate([picture, mesh, cut], axis=1))
        cv2.putText(cell, str(i), (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        cells.append(cell)
    if len(cells) % 2:
        last = np.zeros_like(cells[0])
        last[:, :size] = resize(plate, size)
        cells.append(last)
    rows = [np.concatenate(cells[k : k + 2], axis=1) for k in range(0, len(cells), 2)]
    return write_png(path, np.concatenate(rows, axis=0))


def telling_frames(landmarks: np.ndarray, rotation: np.ndarray, count: int) -> list[int]:
    """Frames worth looking at: evenly spaced ones, and the closed eye, open mouth, widest smile and farthest turns.

    `landmarks` `[N, 478, 2]` without gaps, `rotation` `[N, 3]` axis-angle.
    """
    eyes = inter_ocular_distance(landmarks)
    lid = np.linalg.norm(landmarks[:, 159] - landmarks[:, 145], axis=-1) / eyes
    mouth = lip_distance(landmarks)
    width = np.ptp(landmarks[:, list(LIPS), 0], axis=1) / eyes
    special = {int(lid.argmin()), int(mouth.argmax()), int(width.argmax())}
    special |= {int(rotation[:, 1].argmin()), int(rotation[:, 1].argmax()), int(np.abs(rotation[:, 0]).argmax())}
    even = np.linspace(0, len(landmarks) - 1, max(0, count - len(special)) + 2).round().astype(int)[1:-1]
    return sorted(special | {int(i) for i in even})[: max(count, len(special))]


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """A square uint8 image at another size, averaged when it gets smaller."""
    import cv2

    if image.shape[0] == size:
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_LINEAR)


def ranges(indices: list[int]) -> str:
    """Frame numbers in words: `3, 7-9, 12`."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and index == parts[-1][-1] + 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def yaw_degrees(rotation: np.ndarray) -> np.ndarray:
    """Angle `[N]` in degrees between the faces of axis-angle `[N, 3]` and the camera's axis, sideways."""
    from avatar.geometry.rotations import axis_angle_to_matrix

    forward = axis_angle_to_matrix(torch.as_tensor(rotation, dtype=torch.float32))[..., 2].numpy()
    return np.degrees(np.arctan2(forward[:, 0], forward[:, 2]))
