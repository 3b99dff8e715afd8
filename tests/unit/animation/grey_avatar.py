"""A stand-in for a trained avatar: its pictures tell what it was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera, look_at


@dataclass
class Shown:
    image: torch.Tensor
    opacity: torch.Tensor
    depth: torch.Tensor


class GreyAvatar:
    """Answers every request with a grey picture: brightness is twice the jaw's angle, brighter on the left for a camera
    that has moved to +x."""

    def __init__(self, asset):
        self.asset, self.head = asset, HeadModel(asset)
        pose = np.asarray(look_at((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)), dtype=np.float64)
        self.camera = Camera(48, 32, 80.0, 80.0, 24.0, 16.0, pose)
        self.parameters = HeadParameters.neutral(asset, 4)
        self.device = torch.device("cpu")
        self.shows_room = False
        self.scene, self.background = torch.nn.Linear(2, 2), torch.zeros(32, 48, 3, dtype=torch.uint8)
        self.config, self.progress = "grey", 1.0
        self.asked = []

    def render_frame(self, params, camera, *, deform_code=None, background=None):
        self.asked.append((params, camera))
        image = torch.full((camera.height, camera.width, 3), 2 * abs(float(params.jaw[0, 0])))
        return Shown(image, torch.full(image.shape[:2], 0.5), torch.full(image.shape[:2], 0.8))


def performance(head, frames=6):
    params = HeadParameters.neutral(head, frames)
    params.jaw[:, 0] = torch.linspace(0.0, 0.4, frames)
    params.shape[:] = 1.0
    return params
