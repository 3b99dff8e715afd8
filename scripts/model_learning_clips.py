"""Small synthetic clips of people who differ a lot, to learn a face model from.

    python scripts/model_learning_clips.py --out DATA --people 50

Each person has a paint of their own and an identity drawn from the whole of the head model's basis (unit normal, cut at
two deviations), filmed by one camera in one light while the head turns by 35 degrees to either side with a new
expression in every frame. The detector runs on the frames, and nothing else is known of them. A file of DATA holds one
clip and its truth; files that are there are kept, so that an interrupted run goes on.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from landmark_portraits import detect

from avatar.base.files import write_npz
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatar.synthetic import portraits
from capture_tools.detect.face_mesh import FaceMesh
from capture_tools.report.texture import texels

FIRST_SEED = 800_000
"""Seed of the first person: far from those of training and of other figures."""
FACE = 0.5
"""Share of the picture's height that the face has."""
ALBEDO_SIDE = 128
"""Texels across the true albedo."""


@dataclass(frozen=True)
class Settings:
    """How many clips, and how large."""

    out: Path
    """Folder of the files."""
    people: int = 50
    """Clips, each of another person."""
    frames: int = 10
    """Frames of a clip."""
    size: int = 192
    """Pixels of a frame."""
    turn: float = 35.0
    """Degrees to which the head turns."""
    deviation: float = 1.0
    """Deviation of the identity's coefficients."""


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    torch.set_num_threads(1)
    settings.out.mkdir(parents=True, exist_ok=True)
    asset, mesh = load_head(), FaceMesh(1)
    for number in range(settings.people):
        path = settings.out / f"clip_{number:03d}.npz"
        if path.exists():
            continue
        start = time.perf_counter()
        arrays = film(FIRST_SEED + number, asset, mesh, settings)
        write_npz(path, arrays, compressed=True)
        print(f"{path.name}: {arrays['found'].sum()} of {settings.frames} found, {time.perf_counter() - start:.1f} s")


def film(seed: int, asset: HeadAsset, mesh: FaceMesh, settings: Settings) -> dict[str, np.ndarray]:
    """One clip: images, masks, detections, and the truth (identity, poses, camera, albedo)."""
    rng = np.random.default_rng([seed, 61])
    sitter = portraits.Sitter(seed, asset)
    shape = portraits.random_identity(rng, asset, settings.deviation)
    model, size = HeadModel(asset), settings.size
    distance = rng.uniform(0.55, 0.9)
    focal = FACE * size * distance / portraits.FACE_HEIGHT
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[2, 3] = distance
    camera = Camera(size, size, focal, focal, size / 2, size / 2, pose)
    light, backdrop = portraits.random_light(rng), portraits.random_backdrop(rng, sitter.backdrop, size)
    rows: dict[str, list] = {}
    for part in np.linspace(-1, 1, settings.frames):
        params = portraits.random_face(rng, asset)
        params.shape = shape
        yaw = math.radians(settings.turn) * part + rng.normal(0, 0.05)
        place(params, model, yaw, rng)
        portrait = sitter.draw(params, 0.0, camera, light, backdrop, shadows=False)
        found = detect(mesh, rng, portrait.image, portrait.landmarks)
        row = {
            "images": portrait.image,
            "masks": portrait.mask,
            "found": found is not None,
            "detected": np.full((478, 2), np.nan, np.float32) if found is None else found,
            "landmarks": portrait.landmarks,
        }
        row |= {name: getattr(params, name)[0].numpy() for name in ("expr", "rotation", "translation", "jaw", "eyes")}
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
    arrays = {name: np.stack(values) for name, values in rows.items()}
    return arrays | {"shape": shape.numpy(), "focal": np.float64(focal), "albedo": true_albedo(sitter, asset)}


def place(params: HeadParameters, model: HeadModel, yaw: float, rng: np.random.Generator) -> None:
    """Turn a head by `yaw` and some pitch and roll about the middle of its face, which moves a little."""
    pitch, roll = rng.normal(0, [0.14, 0.07])
    turns = axis_angle_to_matrix(torch.tensor([[0.0, yaw, 0.0], [float(pitch), 0.0, 0.0], [0.0, 0.0, float(roll)]]))
    params.rotation[0] = matrix_to_axis_angle(turns[0] @ turns[1] @ turns[2])
    with torch.no_grad():
        middle = model.landmarks(model(params).vertices)[0].mean(0)
    params.translation[0] = torch.tensor(rng.normal(0, [0.006, 0.006, 0.015]), dtype=torch.float32) - middle


def true_albedo(sitter: portraits.Sitter, asset: HeadAsset) -> np.ndarray:
    """The painted albedo `[T, T, 3]` (linear) in the head's texture map; zero where the map has no surface."""
    samples = texels(asset, ALBEDO_SIDE)
    corners = asset.template[asset.faces[samples.face.numpy()]]
    points = (corners * samples.barycentrics.numpy()[..., None]).sum(1)
    at = np.rint(sitter.person.atlas.coordinates(points)).astype(int)
    height, width = sitter.person.albedo.shape[:2]
    picture = np.zeros((ALBEDO_SIDE**2, 3), np.float32)
    picture[samples.place.numpy()] = sitter.person.albedo[at[:, 1].clip(0, height - 1), at[:, 0] % width]
    return picture.reshape(ALBEDO_SIDE, ALBEDO_SIDE, 3)


if __name__ == "__main__":
    main()
