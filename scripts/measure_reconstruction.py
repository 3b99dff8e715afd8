"""How close heads from several photographs come to synthetic people, as in the FaceScape benchmark.

    python scripts/measure_reconstruction.py --people 6 --json FILE

Each person, of an identity and a sitter that the first guess was not trained on, is photographed from the front and
from 30 to 60 degrees on either side. Points spread evenly over the skin of the true face are compared with the head
found, which is moved onto it rigidly (first by the same points, then by closest ones): chamfer distance (mean of both
ways, mm), angle between normals (radians), and completeness (share of the true face with the head within 10 mm), by the
band of yaw in which the surface faces: 0-5, 5-30, 30-60 and 60-90 degrees aside.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from avatar.base.files import write_json
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera
from avatar.geometry.meshes import vertex_normals
from avatar.geometry.rotations import nearest_rotation
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate
from avatar.synthetic import portraits
from capture_tools.track.photometric import LEFT_OUT, spread_points

BANDS = (0, 5, 30, 60, 90)
"""Degrees of yaw of the surface's normals."""
NEAR = 0.010
"""Metres within which a point of the true face counts as covered."""
ROUNDS = 12
POINTS = 6000


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    people: int = 6
    """Number of people."""
    first: int = 500_000
    """Seed of the first person: far from those of training and of synthetic clips."""
    size: int = 384
    """Pixels of a photograph."""
    one_view: bool = False
    """Also reconstruct each from the front alone."""
    refine: bool = True
    """Fit to the pictures after the landmarks."""
    json: Path | None = None
    """File for the figures."""
    pictures: Path | None = None
    """Folder for the photographs of every person, as files."""


@dataclass(frozen=True)
class Sitting:
    """A person's photographs and true head."""

    images: list[np.ndarray]
    vertices: np.ndarray
    """`[V, 3]` with the expression, neither turned nor moved."""


def photograph(seed: int, size: int, asset: HeadAsset) -> Sitting:
    """Three photographs of the person of a seed: front, left, right; one lens, one expression, three lights."""
    rng = np.random.default_rng([seed, 51])
    sitter = portraits.Sitter(seed, asset)
    params = portraits.random_face(rng, asset)
    params.shape = portraits.random_identity(rng, asset, 0.55)
    corners = asset.faces[asset.mediapipe_faces]
    middle = torch.as_tensor((asset.template[corners] * asset.mediapipe_barycentrics[..., None]).sum(1).mean(0))
    images = []
    for yaw in (rng.uniform(-5, 5), rng.uniform(-60, -30), rng.uniform(30, 60)):
        view = params.clone()
        placed = portraits.place(rng, view, math.radians(yaw), size, middle)
        # The usual lens at about a metre: the drawn distance would be as if every photograph had its own.
        eye = middle.numpy() + np.array([0, 0, rng.uniform(0.7, 0.9)])
        pose = placed.world_from_cam.copy()
        pose[:3, 3] = eye
        pose[:3, :3] = np.diag([1.0, -1.0, -1.0])
        camera = Camera(size, size, 1.6 * size, 1.6 * size, size / 2, size / 2, pose)
        backdrop = portraits.random_backdrop(rng, sitter.backdrop, size)
        images.append(sitter.draw(view, 0.0, camera, portraits.random_light(rng), backdrop).image)
    with torch.no_grad():
        vertices = HeadModel(asset)(upright(params)).vertices[0].numpy()
    return Sitting(images, vertices)


def upright(params: HeadParameters) -> HeadParameters:
    still = params.clone()
    still.rotation, still.translation, still.eyes = (
        torch.zeros_like(v) for v in (still.rotation, still.translation, still.eyes)
    )
    return still


def compare(found: np.ndarray, true: np.ndarray, asset: HeadAsset) -> dict[str, list[float]]:
    """Figures of a head `[V, 3]` against the true one, by band."""
    triangle, weights = spread_points(asset, POINTS)
    faces = torch.as_tensor(asset.faces)
    left_out = np.any([asset.regions[name] for name in LEFT_OUT if name in asset.regions], axis=0)
    skin = faces[torch.as_tensor(~left_out[asset.faces].any(1))]
    real, mine = torch.as_tensor(true), torch.as_tensor(found)
    target, outward = skin_points(real, faces, triangle, weights)
    query = MeshQuery(skin)
    for step in range(ROUNDS):
        points = interpolate(mine, faces, triangle, weights) if step == 0 else nearest(query.update(mine), target)[0]
        centre, goal = points.mean(0), target.mean(0)
        rotation = nearest_rotation((target - goal).T @ (points - centre))
        mine = (mine - centre) @ rotation.T + goal
    there, normals = nearest(query.update(mine), target)
    angle = torch.acos((normals * outward).sum(-1).clamp(-1, 1))
    own, facing = skin_points(mine, faces, triangle, weights)
    back = nearest(MeshQuery(skin).update(real), own)[0]
    rows: dict[str, list[float]] = {"chamfer_mm": [], "normal_rad": [], "completeness": []}
    yaw, own_yaw = (torch.rad2deg(torch.atan2(n[:, 0], n[:, 2])).abs() for n in (outward, facing))
    away, back_away = (there - target).norm(dim=-1), (back - own).norm(dim=-1)
    for low, high in itertools.pairwise(BANDS):
        here, own_here = (yaw >= low) & (yaw < high), (own_yaw >= low) & (own_yaw < high)
        rows["chamfer_mm"].append(float(500 * (away[here].mean() + back_away[own_here].mean())))
        rows["normal_rad"].append(float(angle[here].mean()))
        rows["completeness"].append(float((away[here] < NEAR).float().mean()))
    return rows


def skin_points(vertices: Tensor, faces: Tensor, triangle: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Points of a mesh `[K, 3]` and their unit normals."""
    normals = interpolate(vertex_normals(vertices, faces.long()), faces, triangle, weights)
    return interpolate(vertices, faces, triangle, weights), torch.nn.functional.normalize(normals, dim=-1)


def nearest(query: MeshQuery, points: Tensor) -> tuple[Tensor, Tensor]:
    """The points of a mesh nearest to points `[N, 3]`, and their unit normals."""
    closest = query.closest_points(points)
    return skin_points(query.vertices, query.faces, closest.face.long(), closest.barycentrics)


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    from avatar.media.images import write_png
    from capture_tools.multiview.reconstructing import reconstruct
    from capture_tools.multiview.settings import ReconstructSettings
    from capture_tools.photo import Photograph, find_face

    asset = load_head()
    options = ReconstructSettings(refine=settings.refine)
    figures: dict[str, list[dict[str, list[float]]]] = {"mean head": []}
    seconds = []
    for seed in range(settings.first, settings.first + settings.people):
        sitting = photograph(seed, settings.size, asset)
        photos = [Photograph(image, None) for image in sitting.images]
        if settings.pictures is not None:
            for number, image in enumerate(sitting.images):
                write_png(settings.pictures / f"{seed}_{number}.png", image, synthetic=True)
        marks = [find_face(photo, Path(f"{seed}"))[0] for photo in photos]
        start = time.perf_counter()
        made = reconstruct(photos, marks, asset, options)
        seconds.append(time.perf_counter() - start)
        figures["mean head"].append(compare(asset.template.astype(np.float32), sitting.vertices, asset))
        figures.setdefault("three views", []).append(compare(made.vertices, sitting.vertices, asset))
        if settings.one_view:
            alone = reconstruct(photos[:1], marks[:1], asset, options)
            figures.setdefault("one view", []).append(compare(alone.vertices, sitting.vertices, asset))
        print(seed, figures["three views"][-1], f"{seconds[-1]:.0f} s", flush=True)
    means = {
        name: {key: np.mean([row[key] for row in rows], axis=0).round(4).tolist() for key in rows[0]}
        for name, rows in figures.items()
    }
    for name, row in means.items():
        print(name, row)
    if settings.json is not None:
        write_json(settings.json, {"bands": BANDS, "people": settings.people, "seconds": seconds, **means})


if __name__ == "__main__":
    main()
