"""A tiny capture of the shipped head, shaded by region before a striped wall, and settings that train in seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import bare, shrink

from avatar.config import Config, load_preset
from avatar.data.capture import read_capture, write_capture
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera, look_at, project
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate

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
    return shaded_capture(tmp_path_factory.mktemp("tiny") / "capture", SIZE, tiny_parameters(load_head()))


@pytest.fixture(scope="session")
def nodding_capture(tmp_path_factory) -> Path:
    """Larger, and the head nods, so that some of the scalp is seen."""
    params = tiny_parameters(load_head())
    params.rotation[:, 0] = 0.35 * torch.linspace(0, 1, FRAMES)
    return shaded_capture(tmp_path_factory.mktemp("nodding") / "capture", 3 * SIZE, params)


def shaded_capture(folder: Path, size: int, params: HeadParameters) -> Path:
    """A capture of `size` pixels of the head in skin, lips, scalp and eyes of one colour each."""
    asset = load_head()
    head, focal = HeadModel(asset), 1.75 * size
    camera = Camera(size, size, focal, focal, size / 2, size / 2, look_at((0, 0, 0.8), (0, 0, 0)))
    colours = torch.tensor([[0.8, 0.6, 0.5]]).repeat(asset.vertex_count, 1)
    for region, colour in (("lips", (0.7, 0.2, 0.2)), ("scalp", (0.2, 0.1, 0.1)), ("eyeballs", (0.9, 0.9, 0.9))):
        colours[torch.as_tensor(asset.region(region))] = torch.tensor(colour)
    faces = torch.as_tensor(asset.faces)
    query = MeshQuery(faces)
    stripes = np.where(np.arange(size)[None, :, None] // 5 % 2, 60, 180)
    wall = np.broadcast_to(stripes, (size, size, 3)).astype(np.uint8)
    images, masks = [], []
    with torch.no_grad():
        vertices = head(params).vertices
    for posed in vertices:
        seen = rasterize(query, posed, camera)
        colour = interpolate(colours, faces, seen.face.view(-1), seen.barycentrics.view(-1, 3)).view(size, size, 3)
        mask = seen.mask.numpy()
        images.append(np.where(mask[..., None], (colour.numpy() * 255).round(), wall).astype(np.uint8))
        masks.append(mask.astype(np.uint8) * 255)
    landmarks = project(head.landmarks(vertices), camera)[0].numpy().astype(np.float32)
    return write_capture(
        folder,
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


@pytest.fixture(scope="session")
def carry_capture(tiny_capture) -> Callable[..., Path]:
    """`carry(folder, motions, images=None)`: the tiny capture with camera and head of each frame carried through the
    world together by rigid `motions` `[N, 4, 4]`, so that its pictures stay true, or with `images` in their place."""

    def carry(folder: Path, motions: np.ndarray, images: np.ndarray | None = None) -> Path:
        capture, asset = read_capture(tiny_capture), load_head()
        params, indices = capture.parameters(), range(len(capture.frames))
        moved = torch.as_tensor(motions, dtype=torch.float32)
        turn, shift = moved[:, :3, :3], moved[:, :3, 3]
        # the root turns about its joint, which `translation` moves
        joint = HeadModel(asset)(params.frame(0)).joints[0, 0].detach() - params.translation[0]
        place = (turn @ (params.translation + joint)[..., None])[..., 0] + shift - joint
        rotation = matrix_to_axis_angle(turn @ axis_angle_to_matrix(params.rotation))
        pixels, visible = capture.landmarks()
        return write_capture(
            folder,
            images=[capture.read_image(i) for i in indices] if images is None else images,
            masks=[capture.read_mask(i) for i in indices],
            cameras=[
                frame.camera.moved(motion @ frame.camera.world_from_cam)
                for frame, motion in zip(capture.frames, motions, strict=True)
            ],
            params=replace(params, rotation=rotation, translation=place),
            asset=asset,
            fps=capture.fps,
            timestamps=[frame.timestamp for frame in capture.frames],
            landmarks=pixels,
            visible=visible,
            background=None,
            report={},
            camera_mode="moving",
        )

    return carry


@pytest.fixture
def tiny_config() -> Config:
    return shrink(load_preset("cpu"))


@pytest.fixture
def bare_config(tiny_config: Config) -> Config:
    """For tests of what any training does."""
    return bare(tiny_config)
