"""How close heads from several photographs come to the truth, as in the FaceScape benchmark.

    python scripts/measure_reconstruction.py --people 20 --one-view --json FILE
    python scripts/measure_reconstruction.py --people 5 --without pictures
    python scripts/measure_reconstruction.py --people 0 --scan ../shared/data/scans/lee_perry_smith/LeePerrySmith.obj

Each person, of an identity and a sitter that the dense landmarks were not trained on, is photographed from the front
and from 30 to 60 degrees on either side; so is a scan, in its own colours. Points spread evenly over the skin of the
true face are compared with the head found, which is moved and scaled onto it (first by the same points, then by closest
ones): the benchmark (Zhu et al., TPAMI 2023) compares heads laid over each other in the picture, which knows no size.
Chamfer distance (mean of both ways, mm), the angle between normals (radians), the benchmark's own figure of it (after
one is added to every component, as its published code does: less than half as large), and completeness (share of the
true face with the head within 10 mm), by the band of yaw in which the surface faces: 0-5, 5-30, 30-60 and 60-90 degrees
aside.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

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
from avatar.media.images import write_png
from avatar.synthetic import portraits
from capture_tools.multiview import reconstructing
from capture_tools.multiview.reconstructing import PHOTOGRAPH_WEIGHTS
from capture_tools.multiview.settings import ReconstructSettings
from capture_tools.photo import Photograph, find_face
from capture_tools.scan.landmarks import HOLE, close_camera
from capture_tools.scan.reading import read_scan
from capture_tools.scan.registering import register_scan
from capture_tools.scan.rendering import ScanPainter
from capture_tools.scan.settings import RegisterSettings
from capture_tools.track.energy import EnergyWeights
from capture_tools.track.photometric import LEFT_OUT, spread_points

BANDS = (0, 5, 30, 60, 90)
"""Degrees of yaw of the surface's normals."""
NEAR = 0.010
"""Metres within which a point of the true face counts as covered."""
ROUNDS = 12
POINTS = 6000
SCAN_SHOWN = 0.30
"""Metres across a photograph of a scan."""


Part = Literal["pictures", "landmarks", "lids", "lips", "regulariser", "dense"]
"""Parts of the fit that can be left out."""
FAR = 1e3
"""A deviation so large that a term says nothing."""
LOOSE = 0.01
"""Factor on the priors of the identity, offset and bias where the regulariser is left out."""


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
    scan: Path | None = None
    """A scan with triangles to photograph and reconstruct, too; it is registered first."""
    without: tuple[Part, ...] = ()
    """What the fit does without."""
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
        turned = (points - centre) @ rotation.T
        size = ((target - goal) * turned).sum() / turned.square().sum()
        mine = size * (mine - centre) @ rotation.T + goal
    there, normals = nearest(query.update(mine), target)
    angle = torch.acos((normals * outward).sum(-1).clamp(-1, 1))
    own, facing = skin_points(mine, faces, triangle, weights)
    back = nearest(MeshQuery(skin).update(real), own)[0]
    shifted = torch.acos((unit(normals + 1) * unit(outward + 1)).sum(-1).clamp(-1, 1))
    rows: dict[str, list[float]] = {"chamfer_mm": [], "normal_rad": [], "normal_benchmark": [], "completeness": []}
    yaw, own_yaw = (torch.rad2deg(torch.atan2(n[:, 0], n[:, 2])).abs() for n in (outward, facing))
    away, back_away = (there - target).norm(dim=-1), (back - own).norm(dim=-1)
    for low, high in itertools.pairwise(BANDS):
        here, own_here = (yaw >= low) & (yaw < high), (own_yaw >= low) & (own_yaw < high)
        rows["chamfer_mm"].append(float(500 * (away[here].mean() + back_away[own_here].mean())))
        rows["normal_rad"].append(float(angle[here].mean()))
        rows["normal_benchmark"].append(float(shifted[here].mean()))
        rows["completeness"].append(float((away[here] < NEAR).float().mean()))
    return rows


def skin_points(vertices: Tensor, faces: Tensor, triangle: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Points of a mesh `[K, 3]` and their unit normals."""
    normals = interpolate(vertex_normals(vertices, faces.long()), faces, triangle, weights)
    return interpolate(vertices, faces, triangle, weights), unit(normals)


def unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def nearest(query: MeshQuery, points: Tensor) -> tuple[Tensor, Tensor]:
    """The points of a mesh nearest to points `[N, 3]`, and their unit normals."""
    closest = query.closest_points(points)
    return skin_points(query.vertices, query.faces, closest.face.long(), closest.barycentrics)


def weights_without(parts: tuple[Part, ...]) -> EnergyWeights:
    """The energy's weights with some of its terms left out."""
    weights = PHOTOGRAPH_WEIGHTS
    if "landmarks" in parts:
        weights = replace(weights, landmark=FAR)
    if "regulariser" in parts:
        loose = {name: LOOSE * getattr(weights, name) for name in ("shape", "offset", "bias")}
        weights = replace(weights, **loose)
    return replace(weights, **{name: 0.0 for name in ("lids", "lips") if name in parts})


def photograph_scan(path: Path, size: int, asset: HeadAsset) -> Sitting:
    """Three photographs of a scan: front and 45 degrees to both sides; its head as registered to it."""
    made = register_scan(read_scan(path), asset, RegisterSettings())
    middle = asset.template[asset.region("face")].mean(0)
    painter = ScanPainter(made.scan)
    images = [
        painter.render(close_camera(middle, math.radians(yaw), 0.0, size, SCAN_SHOWN), hole=HOLE).rgb
        for yaw in (0, -45, 45)
    ]
    return Sitting(images, made.vertices.astype(np.float32))


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    asset = load_head()
    if "dense" in settings.without:
        reconstructing.place_dense_landmarks = lambda *arguments: None
    options = ReconstructSettings(refine="pictures" not in settings.without)
    weights = weights_without(settings.without)
    figures: dict[str, list[dict[str, list[float]]]] = {}
    seconds = []
    sitters = [str(seed) for seed in range(settings.first, settings.first + settings.people)]
    for name in [*sitters, *([] if settings.scan is None else [settings.scan.stem])]:
        kind = "" if name in sitters else " of the scan"
        sitting = (
            photograph_scan(settings.scan, settings.size, asset)
            if kind and settings.scan is not None
            else photograph(int(name), settings.size, asset)
        )
        photos = [Photograph(image, None) for image in sitting.images]
        if settings.pictures is not None:
            for number, image in enumerate(sitting.images):
                write_png(settings.pictures / f"{name}_{number}.png", image, synthetic=not kind)
        marks = [find_face(photo, Path(name))[0] for photo in photos]
        start = time.perf_counter()
        made = reconstructing.reconstruct(photos, marks, asset, options, weights)
        seconds.append(time.perf_counter() - start)
        heads = {"mean head": asset.template.astype(np.float32), "three views": made.vertices}
        if settings.one_view:
            alone = reconstructing.reconstruct(photos[:1], marks[:1], asset, options, weights)
            heads["one view"] = alone.vertices
        for key, vertices in heads.items():
            figures.setdefault(key + kind, []).append(compare(vertices, sitting.vertices, asset))
        print(name, figures["three views" + kind][-1], f"{seconds[-1]:.0f} s", flush=True)
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
