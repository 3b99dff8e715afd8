"""Views of synthetic people with MediaPipe's landmarks on them: what the open head's landmarks are fitted to.

The people are those of avatar/synthetic/clip.py (skin, brows, hair, light), from seeds that no test or benchmark uses,
at random moments of their clips, turned and gazing at random.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera, look_at
from avatar.kernels.mesh.op import MeshQuery
from avatar.synthetic.clip import make_synthetic_scene
from avatar.synthetic.motion import compose_rotation
from avatar.synthetic.render import SyntheticScene, render_synthetic_frame
from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.embed.embedding import Observation

FIRST_SEED = 1000
SIZE = 320
MOMENTS = 250
YAW, PITCH, ROLL = 0.28, 0.16, 0.08
"""Deviations of the head's angles, radians."""
GAZE = (0.08, 0.16)
"""Deviations of the eyes' angles up and down, and sideways, radians."""
DISTANCES = (0.45, 1.3)
"""Metres from the camera."""
WIDTHS = (0.34, 0.50)
"""Metres across the picture at the head."""


def observe_people(asset: HeadAsset, people: int, views: int, seed: int) -> list[Observation]:
    """`people` times `views` pictures with their detections; pictures without a face are left out."""
    seeds = [FIRST_SEED + seed * people + i for i in range(people)]
    with ProcessPoolExecutor(2) as pool:
        return [view for found in pool.map(partial(observe_person, asset, views), seeds) for view in found]


@torch.no_grad()
def observe_person(asset: HeadAsset, views: int, seed: int) -> list[Observation]:
    """`views` pictures of the person of one seed."""
    torch.set_num_threads(1)
    rng = np.random.default_rng([seed, 77])
    scene = make_synthetic_scene(seed=seed, size=SIZE, frames=MOMENTS, asset=asset)
    params = random_views(scene, views, rng)
    scene.person.parameters = params
    head, query = HeadModel(asset), MeshQuery(torch.as_tensor(asset.faces))
    found = []
    with LandmarkDetector(static=True) as detector:
        for i in range(views):
            distance = float(rng.uniform(*DISTANCES))
            focal = SIZE * distance / float(rng.uniform(*WIDTHS))
            pose = look_at((0.0, 0.0, distance), (0.0, 0.0, 0.0))
            camera = Camera(SIZE, SIZE, focal, focal, SIZE / 2, SIZE / 2, pose)
            pixels, _ = detector.detect(render_synthetic_frame(replace(scene, camera=camera), i).image)
            if pixels is None:
                continue
            frame = params.frame(i)
            vertices = head(frame).vertices[0]
            face = rasterize(query, vertices, camera.scaled(SIZE // 2, SIZE // 2)).face.numpy()
            seen = np.zeros(len(asset.faces), bool)
            seen[face[face >= 0]] = True
            found.append(Observation(frame, vertices, camera, pixels.astype(np.float64), seen))
    return found


def random_views(scene: SyntheticScene, views: int, rng: np.random.Generator) -> HeadParameters:
    """`views` random moments of a scene's motion, turned, gazing and placed anew."""
    moments = np.sort(rng.choice(MOMENTS, views, replace=False))
    params = scene.person.parameters.select(moments.tolist())
    yaw, pitch, roll = (rng.normal(0, deviation, views) for deviation in (YAW, PITCH, ROLL))
    turn = compose_rotation(yaw.clip(-0.75, 0.75), pitch.clip(-0.4, 0.4), roll)
    gaze = np.concatenate([rng.normal(0, GAZE, (views, 2)), np.zeros((views, 1))], 1)
    return replace(
        params,
        rotation=torch.tensor(turn, dtype=torch.float32),
        translation=torch.tensor(rng.normal(0, 0.01, (views, 3)), dtype=torch.float32),
        eyes=torch.tensor(np.concatenate([gaze, gaze], 1), dtype=torch.float32),
    )
