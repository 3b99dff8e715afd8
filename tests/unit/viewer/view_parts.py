"""A run folder without a training, and a stand-in for its avatar whose pictures tell what was asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera, look_at

HEIGHT, WIDTH = 160, 120


@dataclass
class Shown:
    image: torch.Tensor
    mask: torch.Tensor


class GreyAvatar:
    """Pictures whose brightness is the jaw's angle. `seconds`: how long one takes."""

    def __init__(self, asset, seconds: float = 0.0) -> None:
        self.asset, self.head, self.seconds = asset, HeadModel(asset), seconds
        pose = look_at((0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
        self.camera = Camera(WIDTH, HEIGHT, 200.0, 200.0, WIDTH / 2 + 3, HEIGHT / 2 - 5, pose)
        self.parameters = HeadParameters.neutral(asset, 4)
        self.parameters.jaw[:, 0] = torch.linspace(0.1, 0.4, 4)
        self.posed = 0
        self.device = torch.device("cpu")
        self.shows_room = False

    def pose(self, params: HeadParameters) -> HeadParameters:
        self.posed += 1
        return params

    def render_frame(self, params, camera, *, background=None, between=None):
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            between()
            time.sleep(0.002)
        image = torch.full((camera.height, camera.width, 3), float(params.jaw[0, 0]).__abs__())
        mask = torch.zeros(camera.height, camera.width, dtype=torch.bool)
        mask[2:-2, 2:-2] = True
        return Shown(image if background is None else background.clone(), mask)


def make_run(folder: Path, step: int = 8) -> Path:
    """A folder that passes for a run until its checkpoint is read."""
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("{}\n")
    name = f"step_{step:06d}.safetensors"
    (checkpoints / name).write_bytes(b"none")
    (checkpoints / "latest").write_text(name + "\n")
    return folder


def wait_for(condition, seconds: float = 20.0) -> bool:
    """Whether a condition comes true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())


def any_pose(seed: int) -> np.ndarray:
    """A pose `[4, 4]` that looks at the origin from somewhere."""
    return look_at(np.random.default_rng(seed).normal(size=3) + np.array([0.0, 0.0, 3.0]), (0.0, 0.0, 0.0))
