"""A painted head before a textured wall as a clip, for tests that need a detector to find something."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera, look_at
from avatar.kernels.mesh.op import MeshQuery
from capture_tools.embed.head_painting import Look, Painter

LOOK = Look((0.80, 0.62, 0.52), (0.2, 0.13, 0.1), (0.25, 0.35, 0.5), (0.5, 0.5, 0.5), (0.4, 0.5, 1.0), 0.5)


@dataclass
class PaintedClip:
    images: list[np.ndarray]
    """uint8 `[H, W, 3]`."""
    masks: list[np.ndarray]
    """bool `[H, W]`: where the head is."""
    params: HeadParameters
    camera: Camera
    wall: np.ndarray
    """uint8 `[H, W, 3]`: the scene without the head."""


def wall(height: int, width: int) -> np.ndarray:
    import cv2

    rng = np.random.default_rng(0)
    coarse = rng.integers(90, 170, (height // 10, width // 10, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def painted_clip(asset: HeadAsset, count: int, width: int = 320, height: int = 240) -> PaintedClip:
    """`count` frames of a head that turns, opens its mouth and blinks."""
    phase = torch.linspace(0, 2 * np.pi, count)
    p = HeadParameters.neutral(asset, count)
    p.rotation[:, 1] = 0.25 * torch.sin(phase)
    p.jaw[:, 0] = 0.15 * (1 - torch.cos(2 * phase))
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        if name in asset.expression_names:
            p.expr[count // 2, asset.expression_index(name)] = 0.8
    camera = Camera(width, height, 1.3 * width, 1.3 * width, width / 2, height / 2, look_at((0, 0, 0.75), (0, 0, 0)))
    model, painter, query = HeadModel(asset), Painter(asset), MeshQuery(torch.as_tensor(asset.faces), "cpu")
    scene = wall(height, width)
    images, masks = [], []
    with torch.no_grad():
        vertices = model(p).vertices
    for i in range(count):
        query.update(vertices[i])
        picture, face = painter.render(query, camera, LOOK)
        mask = np.asarray(face) >= 0
        images.append(np.where(mask[..., None], picture, scene).astype(np.uint8))
        masks.append(mask)
    return PaintedClip(images, masks, p, camera, scene)


def smear(image: np.ndarray, length: int, degrees: float) -> np.ndarray:
    """What a motion by `length` pixels leaves of a picture."""
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), degrees, 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return cv2.filter2D(image, -1, kernel / kernel.sum())
