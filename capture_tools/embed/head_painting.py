"""Simple renders of a head mesh for a landmark detector: skin, brows, lips, irises, lids, two lights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera
from avatar.geometry.meshes import vertex_normals
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate

IRIS_RADIUS = 0.0059
"""Metres; the visible iris of an adult is 11.8 mm across (Rufer et al., Cornea 24(3), 2005)."""


@dataclass(frozen=True)
class Look:
    """Colours (sRGB in [0, 1]) and lights of a render."""

    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    iris: tuple[float, float, float]
    background: tuple[float, float, float]
    light: tuple[float, float, float]
    """Direction towards the key light, in the camera's axes (x right, y up, z towards the camera)."""
    ambient: float


def random_look(rng: np.random.Generator) -> Look:
    """Skin of any tone, dark hair and brows, a soft light from the front."""
    tone = rng.uniform(0, 1)
    skin = (1 - tone) * np.array([0.87, 0.70, 0.61]) + tone * np.array([0.50, 0.34, 0.26])
    hair = np.array([0.18, 0.12, 0.09]) * rng.uniform(0.5, 1.5)
    iris = np.array([[0.25, 0.15, 0.08], [0.25, 0.35, 0.5], [0.3, 0.35, 0.2]])[rng.integers(3)]
    light = np.array([rng.normal(0, 0.5), rng.uniform(0.1, 0.9), 1.0])
    background = rng.uniform(0.2, 0.9, 3)
    return Look(*map(_triple, (skin, hair, iris, background, light)), ambient=float(rng.uniform(0.35, 0.6)))


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    first, second, third = values.tolist()
    return first, second, third


class Painter:
    """Renders a head with procedural colours on its template; regions that the model lacks are skin."""

    def __init__(self, asset: HeadAsset) -> None:
        self.template = torch.as_tensor(asset.template)
        self.faces = torch.as_tensor(asset.faces)
        names = ("lips", "scalp", "mouth_interior", "teeth", "tongue", "eyelids")
        empty = np.zeros(asset.vertex_count, bool)
        masks = [asset.regions.get(name, empty) for name in names]
        self.names = names
        self.masks = torch.as_tensor(np.stack(masks, 1), dtype=torch.float32)
        joints = torch.as_tensor(asset.joint_regressor @ asset.template)
        self.eye_centres = joints[3:]
        self.eyeballs = torch.as_tensor(asset.weights[:, 3:] > 0.9)
        self.scale = float((joints[3] - joints[4]).norm()) / 0.063

    def render(self, query: MeshQuery, camera: Camera, look: Look) -> tuple[np.ndarray, np.ndarray]:
        """uint8 image `[H, W, 3]` and the face index of each pixel `[H, W]` (-1 for background)."""
        seen = rasterize(query, query.vertices, camera)
        face, barycentrics = seen.face[seen.mask], seen.barycentrics[seen.mask]
        albedo = self._albedo(face, barycentrics, look)
        normals = interpolate(vertex_normals(query.vertices, self.faces), self.faces, face, barycentrics)
        axes = torch.tensor(camera.world_from_cam[:3, :3] * [1, -1, -1], dtype=torch.float32)
        normals = torch.nn.functional.normalize(normals @ axes, dim=-1)
        light = torch.nn.functional.normalize(torch.tensor(look.light), dim=0)
        shade = look.ambient + (1 - look.ambient) * (normals @ light).clamp_min(0)
        image = torch.tensor(look.background).expand(*seen.mask.shape, 3).clone()
        image[seen.mask] = albedo * shade[:, None]
        return (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy(), seen.face.numpy()

    def _albedo(self, face: Tensor, barycentrics: Tensor, look: Look) -> Tensor:
        place = interpolate(self.template, self.faces, face, barycentrics)
        amounts = interpolate(self.masks, self.faces, face, barycentrics)
        skin = torch.tensor(look.skin)
        colours = {
            "lips": skin * torch.tensor([0.85, 0.55, 0.55]),
            "scalp": torch.tensor(look.hair),
            "mouth_interior": torch.tensor([0.25, 0.08, 0.08]),
            "teeth": torch.tensor([0.88, 0.86, 0.80]),
            "tongue": torch.tensor([0.62, 0.28, 0.28]),
            "eyelids": skin * 0.62,
        }
        albedo = skin.expand(len(face), 3).clone()
        for index, name in enumerate(self.names):
            amount = amounts[:, index : index + 1]
            albedo = albedo * (1 - amount) + colours[name] * amount
        brow = (self.brows(place) * 0.85)[:, None]
        albedo = albedo * (1 - brow) + torch.tensor(look.hair) * brow
        on_eye = self.eyeballs[self.faces.long()[face.long()]].all(1)  # [P, 2]
        for side in range(2):
            pixels = on_eye[:, side]
            albedo[pixels] = self._eye(place[pixels] - self.eye_centres[side], look)
        return albedo

    def brows(self, place: Tensor) -> Tensor:
        """Coverage `[P]` in [0, 1] of template points `[P, 3]` by a brow, an arc about 2 cm above each eye."""
        eye = self.eye_centres.mean(0)
        x, y = place[:, 0].abs() / self.scale, (place[:, 1] - eye[1]) / self.scale
        arch = 0.0195 + 0.0045 * ((x - 0.012) / 0.028).clamp(0, 1) - 22.0 * (x - 0.040).clamp_min(0).square()
        half = 0.0042 - 0.0022 * ((x - 0.030) / 0.024).clamp(0, 1) - 0.0016 * ((0.020 - x) / 0.008).clamp(0, 1)
        above = 1 - ((y - arch).abs() / half - 0.7).clamp(0, 0.6) / 0.6
        across = ((x - 0.0115) / 0.004).clamp(0, 1) * ((0.055 - x) / 0.004).clamp(0, 1)
        return above * across * (place[:, 2] > eye[2] - 0.02 * self.scale)

    def _eye(self, offset: Tensor, look: Look) -> Tensor:
        radius = (offset[:, :2] / self.scale).norm(dim=-1) + (offset[:, 2] < 0) * 1.0
        iris = ((IRIS_RADIUS - radius) / 0.0006 + 0.5).clamp(0, 1)[:, None]
        pupil = ((0.0022 - radius) / 0.0004 + 0.5).clamp(0, 1)[:, None]
        colour = torch.tensor([0.90, 0.88, 0.86]) * (1 - iris) + torch.tensor(look.iris) * iris
        return colour * (1 - pupil) + 0.03 * pupil
