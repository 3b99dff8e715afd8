"""A tiny capture of the shipped head, shaded by region before a striped wall, and settings that train in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import shrink

from avatar.config import Config, load_preset
from avatar.data.capture import write_capture
from avatar.flame.assets import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera, look_at, project
from avatar.kernels.mesh_query import MeshQuery, interpolate

SIZE, FRAMES = 40, 24


def tiny_parameters(asset) -> HeadParameters:
    params = HeadParameters.neutral(asset, FRAMES)
    t = torch.arange(FRAMES) / FRAMES * 2 * torch.pi
    params.jaw[:, 0] = 0.15 - 0.15 * torch.cos(3 * t)
    params.rotation[:, 1] = 0.2 * torch.sin(t)
    params.translation[:, 0] = 0.01 * torch.sin(2 * t)
    return params


@pytest.fixture(scope="session")
def tiny_capture(tmp_path_factory) -> Path:
    asset = load_head()
    head, params = HeadModel(asset), tiny_parameters(asset)
    camera = Camera(SIZE, SIZE, 70.0, 70.0, SIZE / 2, SIZE / 2, look_at((0, 0, 0.8), (0, 0, 0)))
    colours = torch.tensor([[0.8, 0.6, 0.5]]).repeat(asset.vertex_count, 1)
    for region, colour in (("lips", (0.7, 0.2, 0.2)), ("scalp", (0.2, 0.1, 0.1)), ("eyeballs", (0.9, 0.9, 0.9))):
        colours[torch.as_tensor(asset.region(region))] = torch.tensor(colour)
    faces = torch.as_tensor(asset.faces)
    query = MeshQuery(faces)
    stripes = np.where(np.arange(SIZE)[None, :, None] // 5 % 2, 60, 180)
    wall = np.broadcast_to(stripes, (SIZE, SIZE, 3)).astype(np.uint8)
    images, masks = [], []
    with torch.no_grad():
        vertices = head(params).vertices
    for posed in vertices:
        seen = rasterize(query, posed, camera)
        colour = interpolate(colours, faces, seen.face.view(-1), seen.barycentrics.view(-1, 3)).view(SIZE, SIZE, 3)
        mask = seen.mask.numpy()
        images.append(np.where(mask[..., None], (colour.numpy() * 255).round(), wall).astype(np.uint8))
        masks.append(mask.astype(np.uint8) * 255)
    landmarks = project(head.landmarks(vertices), camera)[0].numpy().astype(np.float32)
    return write_capture(
        tmp_path_factory.mktemp("tiny") / "capture",
        images=np.stack(images),
        masks=np.stack(masks),
        cameras=camera,
        params=params,
        asset=asset,
        fps=25.0,
        timestamps=[i / 25 for i in range(FRAMES)],
        landmarks=landmarks,
        visible=np.ones(landmarks.shape[:2], bool),
        background=wall,
        report={},
        camera_mode="static",
    )


@pytest.fixture
def tiny_config() -> Config:
    return shrink(load_preset("cpu"))
