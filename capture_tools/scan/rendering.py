"""Pictures of a scan for the landmark detector: shaded by the depth that a camera sees, and coloured where it is.

Shading by depth needs no winding of triangles and no normals, and is the same for meshes and clouds of points. Small
holes, through which the scan's far side is seen, are closed first.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
import torch
from torch import Tensor

from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera
from avatar.kernels.mesh.types import interpolate
from capture_tools.scan.reading import sample_texture
from capture_tools.scan.scan import Scan, plane_normals

SKIN = (0.78, 0.62, 0.54)
"""sRGB of scans without colours: the detector knows faces of skin better than grey ones."""
BACKGROUND = (0.45, 0.47, 0.5)
LIGHT = (-0.25, 0.45, 1.0)
"""Direction towards the light in the camera's axes (x right, y up, z towards the camera)."""
SPLAT = 1.1
"""Radius of a point's disc over the distance to its neighbours."""
BLENDED = 1.0
"""Discs this far behind the nearest one, in distances of neighbours, are one surface with it."""
SMOOTHED = 0.4
"""Deviation of the blur of a cloud's depth, in distances of neighbours."""
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
        self.normals = np.zeros((0, 3)) if scan.faces is not None else plane_normals(scan.vertices, scan.vertices)

    def render(self, camera: Camera, *, hole: float) -> ScanImage:
        """The scan seen by `camera`; holes narrower than `hole` (world units) are closed."""
        depth, albedo = self.surface(camera)
        seen = np.isfinite(depth)
        if not seen.any():
            return ScanImage(np.zeros((*depth.shape, 3), np.uint8) + 115, depth)
        pixel = float(np.median(depth[seen])) / camera.fl_x
        depth, albedo = close_holes(depth, albedo, hole, max(3, int(hole / pixel)))
        return ScanImage(shade(depth, albedo, camera, max(1.0, SMOOTHED * self.spacing / pixel)), depth)

    def surface(self, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        """Depth `[H, W]`, infinite where nothing is seen, and colours `[H, W, 3]` in 0 to 1, holes and all."""
        return self._mesh(camera) if self.query is not None else self._points(camera)

    def _mesh(self, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        assert self.query is not None
        image = rasterize(self.query, self.vertices, camera)
        albedo = np.full((*image.mask.shape, 3), SKIN, np.float32)
        if self.scan.has_colours:
            face, barycentrics = image.face[image.mask], image.barycentrics[image.mask]
            albedo[image.mask.numpy()] = colours_at(self.scan, face, barycentrics)
        return image.depth.numpy(), albedo

    def _points(self, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
        """Discs along the surface at the points: the nearest depth first, then the smooth mean of those near it."""
        rotation = camera.cam_from_world[:3, :3]
        points = self.scan.vertices @ rotation.T + camera.cam_from_world[:3, 3]
        ahead = points[:, 2] > 1e-6
        points, normals = points[ahead], self.normals[ahead] @ rotation.T
        steep = np.sign(normals[:, 2:]) * np.maximum(np.abs(normals[:, 2:]), 0.4)
        slope = -normals[:, :2] / np.where(steep == 0, 0.4, steep)  # of the depth, by x and y
        x, y = (camera.fl_x * points[:, :2] / points[:, 2:]).T + np.array([[camera.cx], [camera.cy]])
        per_pixel = points[:, 2] / camera.fl_x
        radius = np.clip(SPLAT * self.spacing / per_pixel, 0.8, LARGEST_SPLAT)
        column, row = np.floor(x).astype(int), np.floor(y).astype(int)
        height, width = camera.height, camera.width
        reach = int(np.ceil(radius.max()))
        offsets = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]

        def near(i: int, j: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
            """Points whose disc holds the pixel (i, j) away, that pixel, the squared distance, the depth there."""
            right, down = column + j + 0.5 - x, row + i + 0.5 - y
            square = right**2 + down**2
            r, c = row + i, column + j
            inside = np.flatnonzero((square < radius**2) & (r >= 0) & (r < height) & (c >= 0) & (c < width))
            tilt = (slope[inside, 0] * right[inside] + slope[inside, 1] * down[inside]) * per_pixel[inside]
            return inside, r[inside] * width + c[inside], square[inside], points[inside, 2] + tilt

        front = np.full(height * width, np.inf)
        for i, j in offsets:
            _, pixel, _, depth = near(i, j)
            np.minimum.at(front, pixel, depth)
        weight, total = np.zeros(height * width), np.zeros((4, height * width))
        colours = np.broadcast_to(SKIN, (len(points), 3))
        if self.scan.colours is not None:
            colours = self.scan.colours[ahead] / 255
        for i, j in offsets:
            chosen, pixel, square, depth = near(i, j)
            close = depth < front[pixel] + BLENDED * self.spacing
            chosen, pixel = chosen[close], pixel[close]
            amount = np.exp(-2 * square[close] / radius[chosen] ** 2)
            weight += np.bincount(pixel, amount, height * width)
            for channel, values in enumerate((depth[close], *colours[chosen].T)):
                total[channel] += np.bincount(pixel, amount * values, height * width)
        mean = (total / np.maximum(weight, 1e-12)).astype(np.float32).reshape(4, height, width)
        depth = np.where(weight.reshape(height, width) > 0, mean[0], np.float32(np.inf))
        return depth, np.moveaxis(mean[1:], 0, -1)


def colours_at(scan: Scan, face: Tensor, barycentrics: Tensor) -> np.ndarray:
    """Colours `[N, 3]` float32 in 0 to 1 at points of a coloured mesh: triangles `[N]`, barycentrics `[N, 3]`."""
    assert scan.faces is not None
    faces = torch.as_tensor(scan.faces)
    if scan.texture is not None and scan.uv is not None:
        places = interpolate(torch.as_tensor(scan.uv, dtype=torch.float32), faces, face, barycentrics).numpy()
        return sample_texture(scan.texture, places) / np.float32(255)
    return interpolate(torch.as_tensor(scan.colours, dtype=torch.float32) / 255, faces, face, barycentrics).numpy()


def directions() -> list[np.ndarray]:
    """26 directions: to the faces, edges and corners of a cube, those of the faces first."""
    whole = [np.array(d, float) for d in product((-1, 0, 1), repeat=3) if any(d)]
    return sorted((d / np.linalg.norm(d) for d in whole), key=lambda d: int((np.abs(d) > 1e-9).sum()))


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


def shade(depth: np.ndarray, albedo: np.ndarray, camera: Camera, blur: float = 1.0) -> np.ndarray:
    """A uint8 picture of a surface given by its depth `[H, W]`, lit from the camera's upper left.

    blur: pixels, of the depth before it is shaded.
    """
    seen = np.isfinite(depth)
    near = np.where(seen, depth, depth[seen].max())
    near = cv2.GaussianBlur(near.astype(np.float32), (0, 0), blur)
    per_pixel = near / camera.fl_x
    dx = cv2.Sobel(near, cv2.CV_32F, 1, 0, scale=1 / 8) / per_pixel
    dy = cv2.Sobel(near, cv2.CV_32F, 0, 1, scale=1 / 8) / per_pixel
    normal = np.stack([dx, -dy, np.ones_like(dx)], -1)  # camera axes, y up, z towards the camera
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.array(LIGHT, np.float32) / np.float32(np.linalg.norm(LIGHT))
    brightness = 0.35 + 0.7 * np.clip(normal @ light, 0, None)
    colour = np.where(seen[..., None], albedo * brightness[..., None], np.array(BACKGROUND, np.float32))
    return np.rint(255 * np.clip(colour, 0, 1)).astype(np.uint8)
