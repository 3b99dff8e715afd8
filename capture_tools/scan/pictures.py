"""Pictures of a registration: a heat map of distances, and scan and head beside and over each other."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera, image_rays
from avatar.geometry.meshes import unique_edges
from avatar.kernels.mesh.op import MeshQuery
from capture_tools.scan.landmarks import HOLE, close_camera
from capture_tools.scan.registering import Registration
from capture_tools.scan.rendering import ScanPainter
from capture_tools.scan.scan import Scan

YAWS = (-0.7, 0.0, 0.7)
"""Radians of the three views."""
SIZE, SHOWN = 480, 0.28
WARMEST = 2.0
"""Millimetres of the heat map's last colour."""
GREY = 40
LINE = (60, 130, 90)
MARK = (255, 60, 60)


def heat_map(registration: Registration, asset: HeadAsset) -> np.ndarray:
    """uint8 `[H, W, 3]`: the scan from three sides, coloured by its distance to the head, a row for each stage."""
    painter = ScanPainter(registration.scan)
    rows = []
    for name, vertices in registration.stages.items():
        query = MeshQuery(torch.as_tensor(asset.faces)).update(torch.as_tensor(vertices, dtype=torch.float32))
        tiles = [_heat(painter, query, _camera(registration, yaw)) for yaw in YAWS]
        row = np.concatenate(tiles, 1)
        summary = registration.distances[name].summary()
        crop, head = summary["face_crop"], summary["head"]
        text = f"{name}: scan to head, median / p95"
        for area, values in (("face", crop), ("head", head)):
            text += "" if values is None else f", {area} {values['median']:.2f} / {values['p95']:.2f} mm"
        rows += [_line(text, row.shape[1]), row]
    return np.concatenate([*rows, _scale(SIZE * len(YAWS))])


def overlay(registration: Registration, asset: HeadAsset) -> np.ndarray:
    """uint8 `[H, W, 3]`: from three sides the scan with its landmarks, the head, and its edges over the scan."""
    painter = ScanPainter(registration.scan)
    head = ScanPainter(Scan("head", registration.vertices, asset.faces.astype(np.int64)))
    columns = []
    for yaw in YAWS:
        camera = _camera(registration, yaw)
        picture = painter.render(camera, hole=HOLE).rgb
        marked, lined = picture.copy(), picture.copy()
        points = registration.landmarks.points[registration.landmarks.known]
        for x, y in _pixels(points, camera):
            cv2.circle(marked, (round(x), round(y)), 1, MARK, -1, cv2.LINE_AA)
        _draw_edges(lined, registration.vertices, asset, camera)
        columns.append(np.concatenate([marked, head.render(camera, hole=HOLE).rgb, lined]))
    text = "scan with landmarks; registered head; its edges over the scan"
    return np.concatenate([_line(text, SIZE * len(YAWS)), np.concatenate(columns, 1)])


def _camera(registration: Registration, yaw: float) -> Camera:
    centre = registration.landmarks.points[registration.landmarks.known].mean(0)
    return close_camera(centre, yaw, 0.0, SIZE, SHOWN)


def _heat(painter: ScanPainter, query: MeshQuery, camera: Camera) -> np.ndarray:
    image = painter.render(camera, hole=HOLE)
    seen = np.isfinite(image.depth)
    origins, directions = image_rays(camera)
    forward = torch.as_tensor(camera.world_from_cam[:3, 2].copy(), dtype=torch.float32)
    lengths = torch.as_tensor(image.depth) / (directions @ forward)
    points = (origins + directions * lengths[..., None])[torch.as_tensor(seen)]
    distance = 1000 * query.closest_points(points, 0.1).distance.numpy()
    level = np.clip(np.nan_to_num(distance, posinf=WARMEST) / WARMEST, 0, 1)
    colour = cv2.applyColorMap(np.rint(255 * level).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
    colour = np.where((distance > 15)[:, None], GREY, colour)  # not of this head
    picture = image.rgb.copy()
    light = image.rgb[seen].astype(np.float32).mean(1, keepdims=True) / 190
    picture[seen] = np.clip(colour * np.clip(light, 0.35, 1.1), 0, 255).astype(np.uint8)
    return picture


def _pixels(points: np.ndarray, camera: Camera) -> np.ndarray:
    seen = points @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    return seen[:, :2] / seen[:, 2:] * [camera.fl_x, camera.fl_y] + [camera.cx, camera.cy]


def _draw_edges(picture: np.ndarray, vertices: np.ndarray, asset: HeadAsset, camera: Camera) -> None:
    """The head's visible edges, drawn into the picture."""
    query = MeshQuery(torch.as_tensor(asset.faces))
    image = rasterize(query, torch.as_tensor(vertices, dtype=torch.float32), camera)
    shown = np.zeros(len(asset.faces), bool)
    shown[np.unique(image.face[image.mask].numpy())] = True
    places = np.rint(16 * _pixels(vertices, camera)).astype(int)
    for a, b in unique_edges(torch.as_tensor(asset.faces[shown])).numpy():
        cv2.line(picture, places[a].tolist(), places[b].tolist(), LINE, 1, cv2.LINE_AA, 4)


def _line(text: str, width: int) -> np.ndarray:
    strip = np.full((28, width, 3), 20, np.uint8)
    cv2.putText(strip, text, (10, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
    return strip


def _scale(width: int) -> np.ndarray:
    """The colours from 0 to the warmest."""
    ramp = cv2.applyColorMap(np.linspace(0, 255, width).astype(np.uint8)[None], cv2.COLORMAP_TURBO)[..., ::-1]
    strip = np.repeat(ramp, 12, axis=0)
    return np.concatenate([strip, _line(f"0 mm {' ' * 60} {WARMEST / 2:g} {' ' * 60} {WARMEST:g} mm and more", width)])
