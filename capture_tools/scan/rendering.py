"""Pictures of a scan for the landmark detector: shaded by the depth that a camera sees, and coloured where it is.

Shading by depth needs no winding of triangles and no normals, and is the same for meshes and clouds of points. Small
holes, through which the scan's far side is seen, are closed first.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera
from avatar.kernels.mesh.types import interpolate
from capture_tools.scan.reading import sample_texture
from capture_tools.scan.scan import Scan

SKIN = (0.78, 0.62, 0.54)
"""sRGB of scans without colours: the detector knows faces of skin better than grey ones."""
BACKGROUND = (0.45, 0.47, 0.5)
LIGHT = (-0.25, 0.45, 1.0)
"""Direction towards the light in the camera's axes (x right, y up, z towards the camera)."""
SPLAT = 1.1
"""Radius of a point's disc over the distance to its neighbours."""
NEIGHBOURS = 8
LARGEST_SPLAT = 12
"""Pixels."""


@dataclass(frozen=True)
class ScanImage:
    """A scan seen by a camera."""

    rgb: np.ndarray
    """uint8 `[H, W, 3]`."""
    depth: np.ndarray
    """`[H, W]` float32 z-depth, infinite where nothing is seen; small holes are closed."""


class ScanPainter:
    """Draws one scan, whose vertices are in the cameras' world."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.vertices = torch.as_tensor(scan.vertices, dtype=torch.float32)
        self.query = None if scan.faces is None else scan.query()
        self.spacing = 0.0 if scan.faces is not None else point_spacing(scan.vertices)

    def render(self, camera: Camera, *, hole: float) -> ScanImage:
        """The scan seen by `camera`; holes narrower than `hole` (world units) are closed."""
        depth, albedo = self._mesh(camera) if self.query is not None else self._points(camera)
        seen = np.isfinite(depth)
        if not seen.any():
            return ScanImage(np.zeros((*depth.shape, 3), np.uint8) + 115, depth)
        pixel = float(np.median(depth[seen])) / camera.fl_x
        depth, albedo = close_holes(depth, albedo, hole, max(3, int(hole / pixel)))
        return ScanImage(shade(depth, albedo, camera), depth)

    def _mesh(self, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        assert self.query is not None
        image = rasterize(self.query, self.vertices, camera)
        albedo = np.full((*image.mask.shape, 3), SKIN, np.float32)
        if self.scan.has_colours:
            face, barycentrics = image.face[image.mask], image.barycentrics[image.mask]
            if self.scan.texture is not None and self.scan.uv is not None:
                uv = torch.as_tensor(self.scan.uv, dtype=torch.float32)
                places = interpolate(uv, self.query.faces, face, barycentrics).numpy()
                colour = sample_texture(self.scan.texture, places) / np.float32(255)
            else:
                values = torch.as_tensor(self.scan.colours, dtype=torch.float32) / 255
                colour = interpolate(values, self.query.faces, face, barycentrics).numpy()
            albedo[image.mask.numpy()] = colour
        return image.depth.numpy(), albedo

    def _points(self, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        """Discs of points: the nearest depth first, then the smooth mean of those near it."""
        points = self.scan.vertices @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
        ahead = points[:, 2] > 1e-6
        points = points[ahead]
        x, y = (camera.fl_x * points[:, :2] / points[:, 2:]).T + np.array([[camera.cx], [camera.cy]])
        radius = np.clip(SPLAT * self.spacing * camera.fl_x / points[:, 2], 0.8, LARGEST_SPLAT)
        column, row = np.floor(x).astype(int), np.floor(y).astype(int)
        height, width = camera.height, camera.width
        front = np.full(height * width, np.inf)
        reach = int(np.ceil(radius.max()))
        offsets = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]

        def near(i: int, j: int, grow: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            r, c = row + i, column + j
            square = (c + 0.5 - x) ** 2 + (r + 0.5 - y) ** 2
            inside = np.flatnonzero((square < (grow * radius) ** 2) & (r >= 0) & (r < height) & (c >= 0) & (c < width))
            return inside, r[inside] * width + c[inside], square[inside]

        for i, j in offsets:
            chosen, pixel, _ = near(i, j, 1.0)
            np.minimum.at(front, pixel, points[chosen, 2])
        weight, total = np.zeros(height * width), np.zeros((height * width, 4))
        colours = np.broadcast_to(SKIN, (len(points), 3))
        if self.scan.colours is not None:
            colours = self.scan.colours[ahead] / 255
        values = np.concatenate([points[:, 2:], colours], 1)
        for i, j in offsets:
            chosen, pixel, square = near(i, j, 1.0)
            close = points[chosen, 2] < front[pixel] + 3 * self.spacing
            chosen, pixel = chosen[close], pixel[close]
            amount = np.exp(-2 * square[close] / radius[chosen] ** 2)
            weight += np.bincount(pixel, amount, height * width)
            for channel in range(4):
                total[:, channel] += np.bincount(pixel, amount * values[chosen, channel], height * width)
        mean = total / np.maximum(weight, 1e-12)[:, None]
        depth = np.where(weight > 0, mean[:, 0], np.inf).astype(np.float32).reshape(height, width)
        return depth, mean[:, 1:].astype(np.float32).reshape(height, width, 3)


def point_spacing(points: np.ndarray) -> float:
    """The median distance of points `[P, 3]` to the fourth nearest of the others."""
    from scipy.spatial import KDTree

    chosen = points if len(points) < 20_000 else points[:: len(points) // 20_000]
    return float(np.median(KDTree(points).query(chosen, k=5)[0][:, 4]))


def close_holes(depth: np.ndarray, albedo: np.ndarray, step: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth `[H, W]` and colours without pits that are deeper than `step` and narrower than `size` pixels."""
    far = np.float32(depth[np.isfinite(depth)].max() + 2 * step)
    filled = np.where(np.isfinite(depth), depth, far).astype(np.float32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size | 1, size | 1))
    opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, kernel)  # without narrow places of greater depth
    # opening removes bright (far) spots; what it leaves is the depth around
    pits = filled - opened > step
    if not pits.any():
        return depth, albedo
    good = ~pits & np.isfinite(depth)
    weight = good.astype(np.float32)
    blur = lambda a: cv2.GaussianBlur(a, (0, 0), size / 4)  # noqa: E731
    share = np.maximum(blur(weight), 1e-6)
    mean = blur(np.where(good, depth, 0).astype(np.float32)) / share
    colour = blur(np.where(good[..., None], albedo, 0).astype(np.float32)) / share[..., None]
    return np.where(pits, mean, depth).astype(np.float32), np.where(pits[..., None], colour, albedo)


def shade(depth: np.ndarray, albedo: np.ndarray, camera: Camera) -> np.ndarray:
    """A uint8 picture of a surface given by its depth `[H, W]`, lit from the camera's upper left."""
    seen = np.isfinite(depth)
    near = np.where(seen, depth, depth[seen].max())
    near = cv2.GaussianBlur(near.astype(np.float32), (0, 0), 1.0)
    per_pixel = near / camera.fl_x
    dx = cv2.Sobel(near, cv2.CV_32F, 1, 0, scale=1 / 8) / per_pixel
    dy = cv2.Sobel(near, cv2.CV_32F, 0, 1, scale=1 / 8) / per_pixel
    normal = np.stack([dx, -dy, np.ones_like(dx)], -1)  # camera axes, y up, z towards the camera
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.array(LIGHT, np.float32) / np.float32(np.linalg.norm(LIGHT))
    brightness = 0.35 + 0.7 * np.clip(normal @ light, 0, None)
    colour = np.where(seen[..., None], albedo * brightness[..., None], np.array(BACKGROUND, np.float32))
    return np.rint(255 * np.clip(colour, 0, 1)).astype(np.uint8)
