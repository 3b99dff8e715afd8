"""The contact sheet of a capture: representative frames with the tracked head, and the person's appearance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.flame.landmark_sets import LIPS, inter_ocular_distance, lid_distance, lip_distance
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera, look_at
from avatar.kernels.harmonics.op import spherical_harmonics
from avatar.kernels.runtime.threads import one_torch_thread
from avatar.media.images import write_png
from capture_tools.detect.selection import Crop
from capture_tools.report.overlay import MESH_OPACITY
from capture_tools.report.painting import MeshPainter, as_srgb, crop_camera, face_window
from capture_tools.report.scores import worst_rows

CELLS = 12
TILE = 300
"""Pixels of each of a cell's three tiles, large enough to judge lips and lids."""
MARGIN = 0.08
"""Margin around the face in the close-ups, as a share of its extent."""
GREEN = (40, 160, 70)
PORTRAIT_YAWS = (-0.6, 0.0, 0.6)
"""Radians by which the head is rotated in the strip."""


def write_contact_sheet(
    path: Path,
    painter: MeshPainter,
    images: np.ndarray,
    masks: np.ndarray,
    background: np.ndarray,
    params: HeadParameters,
    camera: Camera,
    landmarks: np.ndarray,
    scores: Sequence[dict[str, Any]],
) -> Path:
    """Write a PNG of twelve representative frames, the worst among them, and a strip of the person's appearance.

    A cell shows the face, the mesh over it, and the whole picture with the background masked out. The strip shows the
    background, the face's albedo, and a white ball under the clip's light.

    Args:
        painter: of the person; images, masks: uint8 `[N, S, S, 3]` and `[N, S, S]`; background: uint8 `[S, S, 3]`.
        params, camera: N frames as the camera sees them. landmarks: `[N, 478, 2]` pixels of the images.
        scores: the N entries of report.frame_scores.
    Raises OutputError when the file cannot be written.
    """
    chosen = telling_frames(landmarks, params.rotation.numpy(), CELLS, worst_rows(scores))
    with one_torch_thread():
        cells = [_cell(painter, images[i], masks[i], params.frame(i), camera, landmarks[i], scores[i]) for i in chosen]
        strip = _strip(painter, background, params)
    if len(cells) % 2:
        cells.append(np.zeros_like(cells[0]))
    rows = [np.concatenate(cells[k : k + 2], axis=1) for k in range(0, len(cells), 2)]
    return write_png(path, np.concatenate([*rows, strip], axis=0))


def telling_frames(landmarks: np.ndarray, rotation: np.ndarray, count: int, wanted: Sequence[int] = ()) -> list[int]:
    """Representative frames: those `wanted`, the closed eye, open mouth, widest smile and extreme rotations.

    They are filled up to `count` with the frames farthest in time from the others.
    `landmarks` `[N, 478, 2]` without gaps, `rotation` `[N, 3]` axis-angle.
    """
    eyes = inter_ocular_distance(landmarks)
    mouth = lip_distance(landmarks)
    width = np.ptp(landmarks[:, list(LIPS), 0], axis=1) / eyes
    special = {*wanted, int(lid_distance(landmarks).argmin()), int(mouth.argmax()), int(width.argmax())}
    special |= {int(rotation[:, 1].argmin()), int(rotation[:, 1].argmax()), int(np.abs(rotation[:, 0]).argmax())}
    frames = np.arange(len(landmarks))
    while len(special) < min(count, len(frames)):
        special.add(int(np.abs(frames[:, None] - sorted(special)).min(1).argmax()))
    return sorted(special)


def _cell(
    painter: MeshPainter,
    image: np.ndarray,
    mask: np.ndarray,
    params: HeadParameters,
    camera: Camera,
    landmarks: np.ndarray,
    scores: dict[str, Any],
) -> np.ndarray:
    window = face_window(landmarks, image.shape[0], TILE, MARGIN)
    close = window.cut(image)
    mesh = painter.draw(close, params, crop_camera(camera, window), MESH_OPACITY)
    whole = Crop(0, 0, image.shape[0], TILE)
    alpha = whole.cut(mask)[..., None] / 255.0
    cut = (whole.cut(image) * alpha + np.array(GREEN) * (1 - alpha)).astype(np.uint8)
    figures = [f"landmarks {scores['landmark_error_iod']:.1%}"]
    if scores.get("photometric_error") is not None:
        figures.append(f"difference {scores['photometric_error']:.1f}")
    return np.concatenate(
        [labelled(close, f"frame {scores['frame']}"), labelled(mesh, ", ".join(figures)), cut], axis=1
    )


def _strip(painter: MeshPainter, background: np.ndarray, params: HeadParameters) -> np.ndarray:
    """A row as wide as two cells: background, neutral heads from three sides, light."""
    neutral = HeadParameters.neutral(painter.asset)
    person = replace(neutral, shape=params.shape, static_offset=params.static_offset)
    tiles = [labelled(Crop(0, 0, background.shape[0], TILE).cut(background), "background")]
    centre = torch.as_tensor(painter.asset.template[painter.asset.region("face")]).mean(0).numpy()
    for yaw in PORTRAIT_YAWS:
        place = centre + 0.8 * np.array([np.sin(yaw), 0, np.cos(yaw)])
        camera = Camera(TILE, TILE, 2.6 * TILE, 2.6 * TILE, TILE / 2, TILE / 2, look_at(place, centre))
        seen = painter.look(person, camera)
        colours = as_srgb(painter.albedo(seen)) if painter.skin else painter.shaded(seen)
        name = "the face's colours" if painter.skin else "the face"
        tiles.append(labelled(seen.over(np.full((TILE, TILE, 3), 40, np.uint8), colours), name))
    if painter.skin is not None:
        tiles.append(labelled(lit_ball(painter.skin.light, TILE), "the light on a white ball"))
    tiles += [np.zeros((TILE, TILE, 3), np.uint8)] * (6 - len(tiles))
    return np.concatenate(tiles, axis=1)


def lit_ball(light: torch.Tensor, size: int) -> np.ndarray:
    """A white ball under `light` `[9, 3]` (harmonics of the normal), brightest at 1: uint8 `[size, size, 3]`."""
    x, y = np.meshgrid(*[(np.arange(size) + 0.5) / size * 2.2 - 1.1] * 2)
    inside = x**2 + y**2 < 1
    normals = np.stack([x[inside], -y[inside], np.sqrt(1 - x[inside] ** 2 - y[inside] ** 2)], -1).astype(np.float32)
    linear = (spherical_harmonics(torch.from_numpy(normals)) @ light).clamp(min=0).numpy()
    ball = np.full((size, size, 3), 40, np.uint8)
    ball[inside] = np.rint(as_srgb(linear / max(float(linear.max()), 1e-6))).astype(np.uint8)
    return ball


def labelled(tile: np.ndarray, text: str) -> np.ndarray:
    """A copy of a picture with outlined white text in its upper left corner."""
    import cv2

    drawn = np.ascontiguousarray(tile).copy()
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(drawn, text, (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, width, cv2.LINE_AA)
    return drawn
