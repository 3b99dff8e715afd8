"""Renders of the tracked head: shaded by region, or with the person's own albedo and light."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.base.errors import CaptureError
from avatar.base.files import read_json
from avatar.data.capture_arrays import load_arrays
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera
from avatar.geometry.meshes import faces_inside, vertex_normals
from avatar.kernels.harmonics.op import spherical_harmonics
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate
from avatar.media.images import linear_image, read_png, to_srgb
from capture_tools.detect.selection import Crop
from capture_tools.track.photometric import look_up

LIGHT = (0.25, 0.35, 0.9)
"""Direction towards the light of shaded heads, world frame."""
GREY = 205.0
COLOURS = {"lips": (235, 120, 120), "eyeballs": (120, 190, 255), "teeth": (255, 250, 190), "tongue": (255, 80, 90)}
WITHIN_FACE = ("eyeballs", "eye_sockets", "mouth_interior", "teeth", "tongue")
"""Regions inside the face besides `face`."""


@dataclass(frozen=True)
class Skin:
    """A person's albedo, and the light of the clip."""

    albedo: Tensor
    """Linear: `[T, T, 3]` in the head's UV (the first row is v = 1), or `[V, 3]` of the vertices."""
    light: Tensor
    """`[9, 3]` coefficients of harmonics of the normal, in the tracked camera's world."""

    def colours(self, asset: HeadAsset, face: Tensor, barycentrics: Tensor) -> Tensor:
        """Linear albedo `[P, 3]` of surface points with face `[P]` and barycentrics `[P, 3]`."""
        if self.albedo.dim() == 2:
            return interpolate(self.albedo, torch.as_tensor(asset.faces), face, barycentrics)
        uv = interpolate(torch.as_tensor(asset.uv), torch.as_tensor(asset.uv_faces), face, barycentrics)
        places = torch.stack([uv[:, 0], 1 - uv[:, 1]], -1).float()
        return look_up(self.albedo.permute(2, 0, 1)[None], places[None])[0]


def read_skin(appearance: Path) -> Skin | None:
    """Read what `texture.write_appearance` wrote to the folder `appearance`; None where there is nothing.

    Raises CaptureError for damaged files.
    """
    if not (appearance / "light.json").is_file():
        return None
    light = torch.tensor(read_json(appearance / "light.json", CaptureError)["harmonics"], dtype=torch.float32)
    if (appearance / "albedo.png").is_file():
        return Skin(torch.from_numpy(linear_image(read_png(appearance / "albedo.png", CaptureError))), light)
    return Skin(torch.from_numpy(load_arrays(appearance / "albedo.npz", None, ("linear",))["linear"]), light)


@dataclass(frozen=True)
class SeenHead:
    """A posed head seen by a camera: its P visible pixels in row-major order."""

    mask: np.ndarray
    """`[H, W]` bool."""
    face: Tensor
    """`[P]` int64."""
    barycentrics: Tensor
    """`[P, 3]`."""
    normals: Tensor
    """`[P, 3]` unit vectors, world."""

    def over(self, picture: np.ndarray, colours: np.ndarray, opacity: float = 1.0) -> np.ndarray:
        """Colours `[P, 3]` in 0 to 255 composited over uint8 `[H, W, 3]`."""
        drawn = picture.copy()
        under = picture[self.mask].astype(np.float32)
        drawn[self.mask] = np.rint(np.clip(under + opacity * (colours - under), 0, 255)).astype(np.uint8)
        return drawn


class MeshPainter:
    """Draws the posed head of one person."""

    def __init__(self, asset: HeadAsset, skin: Skin | None = None) -> None:
        self.asset, self.skin = asset, skin
        self.model = HeadModel(asset)
        self.faces = torch.as_tensor(asset.faces, dtype=torch.int64)
        self.query = MeshQuery(self.faces, "cpu")
        self.colours = torch.full((asset.vertex_count, 3), GREY)
        for name, colour in COLOURS.items():
            if name in asset.regions:
                self.colours[torch.as_tensor(asset.regions[name])] = torch.tensor(colour, dtype=torch.float32)
        empty = np.zeros(asset.vertex_count, bool)
        face = asset.region("face") | np.any([asset.regions.get(name, empty) for name in WITHIN_FACE], axis=0)
        self.in_face = faces_inside(self.faces, torch.as_tensor(face))
        """`[F]` bool: triangles of the face, eyes and mouth included."""
        self.on_neck = faces_inside(self.faces, torch.as_tensor(asset.regions.get("neck", empty)))
        """`[F]` bool."""

    @torch.no_grad()
    def look(self, params: HeadParameters, camera: Camera) -> SeenHead:
        """The head of one frame (`params` with N = 1) through `camera`."""
        vertices = self.model(params).vertices[0]
        seen = rasterize(self.query, vertices, camera)
        face, barycentrics = seen.face[seen.mask].long(), seen.barycentrics[seen.mask]
        normals = interpolate(vertex_normals(vertices, self.faces), self.faces, face, barycentrics)
        normals = torch.nn.functional.normalize(normals, dim=-1)
        return SeenHead(seen.mask.numpy(), face, barycentrics, normals)

    def shaded(self, seen: SeenHead) -> np.ndarray:
        """Colours `[P, 3]` in 0 to 255: grey skin and the colours of the regions, lit from the front."""
        light = torch.nn.functional.normalize(torch.tensor(LIGHT), dim=0)
        shade = 0.25 + 0.75 * (seen.normals @ light).clamp(0, 1)
        return (interpolate(self.colours, self.faces, seen.face, seen.barycentrics) * shade[:, None]).numpy()

    def painted(self, seen: SeenHead) -> np.ndarray:
        """Linear colours `[P, 3]`: the person's albedo under the clip's light. Needs a skin."""
        assert self.skin is not None
        return self.albedo(seen) * (spherical_harmonics(seen.normals) @ self.skin.light).clamp(min=0).numpy()

    def albedo(self, seen: SeenHead) -> np.ndarray:
        """Linear albedo `[P, 3]` of the person. Needs a skin."""
        assert self.skin is not None
        return self.skin.colours(self.asset, seen.face, seen.barycentrics).numpy()

    def draw(self, picture: np.ndarray, params: HeadParameters, camera: Camera, opacity: float = 1.0) -> np.ndarray:
        """The shaded head of one frame over uint8 `[H, W, 3]`, seen by `camera` (of the picture's size)."""
        seen = self.look(params, camera)
        return seen.over(picture, self.shaded(seen), opacity)


def as_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear colours to sRGB in 0 to 255, float32."""
    return 255 * to_srgb(np.clip(linear, 0, 1)).astype(np.float32)


def crop_camera(camera: Camera, crop: Crop) -> Camera:
    """The camera of a crop of a camera's picture."""
    return camera.cropped(crop.x0, crop.y0, crop.side, crop.side).scaled(crop.size, crop.size)


def face_window(landmarks: np.ndarray, picture: int, size: int, margin: float) -> Crop:
    """The square of a square picture (`picture` pixels across) that holds `landmarks` `[..., 2]`, drawn at `size`.

    margin: room on each side as a share of the landmarks' longer extent.
    """
    points = landmarks.reshape(-1, 2)
    points = points[np.isfinite(points).all(-1)]
    low, high = points.min(0), points.max(0)
    side = int(np.clip(np.ceil((high - low).max() * (1 + 2 * margin)), 8, picture))
    corner = np.clip(np.rint((low + high - side) / 2), 0, picture - side).astype(int)
    return Crop(int(corner[0]), int(corner[1]), side, size)
