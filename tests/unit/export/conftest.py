"""A run of the open head with its capture, trained for seconds, once; this file puts its folder on the path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import bare, shrink

from avatar.config import load_preset
from avatar.data.capture import write_capture
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera, look_at
from avatar.kernels.mesh.op import MeshQuery

SIZE, FRAMES = 40, 24


@pytest.fixture(scope="session")
def head():
    return load_head()


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, head) -> Path:
    """A run folder with its capture inside, after a short training."""
    from avatar.training.trainer import train

    run = tmp_path_factory.mktemp("export") / "run"
    config = bare(shrink(load_preset("cpu")))
    config.training.steps = 200  # enough for a surface
    train(shaded_capture(run / "capture", head), run, config)
    return run


def shaded_capture(folder: Path, asset) -> Path:
    """The head in one colour before a grey wall, turning and opening its mouth."""
    params = HeadParameters.neutral(asset, FRAMES)
    t = torch.arange(FRAMES) / FRAMES * 2 * torch.pi
    params.jaw[:, 0] = 0.15 - 0.15 * torch.cos(3 * t)
    params.rotation[:, 1] = 0.2 * torch.sin(t)
    params.expr[:, asset.expression_index("mouthSmileLeft")] = 0.5 - 0.5 * torch.cos(2 * t)
    camera = Camera(SIZE, SIZE, 70.0, 70.0, SIZE / 2, SIZE / 2, look_at((0, 0, 0.8), (0, 0, 0)))
    query = MeshQuery(torch.as_tensor(asset.faces))
    images, masks = [], []
    for vertices in HeadModel(asset)(params).vertices:
        mask = rasterize(query, vertices, camera).mask.numpy().astype(bool)
        image = np.full((SIZE, SIZE, 3), 90, np.uint8)
        image[mask] = (205, 150, 130)
        images.append(image)
        masks.append(np.where(mask, 255, 0).astype(np.uint8))
    return write_capture(
        folder,
        images=images,
        masks=masks,
        cameras=camera,
        params=params,
        asset=asset,
        fps=25.0,
        timestamps=[i / 25 for i in range(FRAMES)],
        landmarks=np.full((FRAMES, 478, 2), np.nan, np.float32),
        visible=np.zeros((FRAMES, 478), bool),
        background=np.full((SIZE, SIZE, 3), 90, np.uint8),
        report={},
        camera_mode="static",
    )
