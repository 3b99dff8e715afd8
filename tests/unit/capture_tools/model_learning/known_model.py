"""Registrations whose model is known: the open head with other weights, joints, correctives, shapes and expressions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from avatar.base.files import write_npz
from avatar.flame.assets import HeadAsset, make_head
from avatar.flame.model import HeadModel, HeadParameters

PEOPLE, FRAMES, DIRECTIONS = 10, 12, 12
PER_VERTEX = ("template", "shapedirs", "exprdirs", "posedirs", "weights")
JOINT_MOVES = {1: (0.0, 0.004, -0.003), 2: (0.001, -0.003, 0.003), 3: (0.001, -0.001, 0.002), 4: (-0.001, 0.001, 0.002)}
"""Metres, of neck, jaw and eyes."""


@dataclass(frozen=True)
class Performance:
    """People and what they do."""

    shapes: np.ndarray
    """`[S, B]`."""
    parameters: list[HeadParameters]
    """Of each person, the first frame without expression."""
    vertices: np.ndarray
    """`[S, F, V, 3]` metres."""


def thinned(asset: HeadAsset, triangles: int = 1000) -> HeadAsset:
    """The triangles of landmarks and some others of a head, with its joints: learning looks at vertices alone."""
    assert asset.uv_faces is not None
    corners = asset.template[asset.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = np.random.default_rng(0).choice(len(area), triangles, replace=False, p=area / area.sum())
    kept = np.unique(np.concatenate([asset.ibug_faces, asset.mediapipe_faces, chosen]))
    held = np.flatnonzero(asset.joint_regressor.any(0))
    vertices = np.union1d(asset.faces[kept], held)
    arrays = {name: getattr(asset, name)[vertices] for name in PER_VERTEX}
    arrays |= {"faces": np.searchsorted(vertices, asset.faces[kept])}
    arrays |= {"joint_regressor": asset.joint_regressor[:, vertices], "uv": asset.uv, "uv_faces": asset.uv_faces[kept]}
    for name in ("mediapipe", "ibug"):
        arrays[f"{name}_faces"] = np.searchsorted(kept, getattr(asset, f"{name}_faces"))
        arrays[f"{name}_barycentrics"] = getattr(asset, f"{name}_barycentrics")
    return make_head(
        "thinned",
        arrays,
        expression_names=asset.expression_names,
        regions={name: mask[vertices] for name, mask in asset.regions.items()},
        extras={name: value for name, value in asset.extras.items() if name != "mirror"},
    )


def smooth_fields(points: np.ndarray, count: int, rng: np.random.Generator, width: float = 0.03) -> np.ndarray:
    """Random smooth functions `[V, count]` of a root mean square of 1 on points `[V, 3]`."""
    centres = points[rng.choice(len(points), 40, replace=False)]
    bumps = np.exp(-((points[:, None] - centres) ** 2).sum(-1) / (2 * width**2))
    fields = bumps @ rng.normal(size=(40, count))
    return fields / np.sqrt((fields**2).mean(0))


def true_head(asset: HeadAsset, seed: int = 0) -> HeadAsset:
    """A head of the same topology, none of whose numbers are the open head's."""
    rng = np.random.default_rng(seed)
    v = asset.template
    face = asset.region("face")
    weights = asset.weights * np.exp(1.4 * smooth_fields(v, 5, rng))
    weights /= weights.sum(1, keepdims=True)
    regressor = asset.joint_regressor.astype(np.float64)
    for joint, move in JOINT_MOVES.items():
        used = np.flatnonzero(regressor[joint])
        rows = np.concatenate([v[used].T, np.ones((1, len(used)))])
        regressor[joint, used] += np.linalg.lstsq(rows, np.array([*move, 0.0]), rcond=None)[0]
    posedirs = asset.posedirs.astype(np.float64)
    for feature in range(18):  # of neck and jaw
        posedirs[..., feature] += 0.0008 * smooth_fields(v, 3, rng) * face[:, None]
    mix = rng.normal(size=(asset.expression_count, DIRECTIONS)) / 3
    mix[[name.startswith(("jaw", "eyeLook")) for name in asset.expression_names]] = 0
    expressions = asset.exprdirs @ mix
    expressions += 0.001 * face[:, None, None] * smooth_fields(v, 3 * DIRECTIONS, rng, 0.02).reshape(-1, 3, DIRECTIONS)
    largest = np.linalg.norm(expressions, axis=1).max(0)
    expressions *= np.linspace(0.014, 0.006, DIRECTIONS) / largest
    spread = np.linspace(1.5, 0.3, 40)
    shapes = asset.shapedirs[..., :40] @ (spread[:, None] * rng.normal(size=(40, DIRECTIONS)) / np.sqrt(DIRECTIONS))
    shapes += 0.001 * smooth_fields(v, 3 * DIRECTIONS, rng, 0.05).reshape(-1, 3, DIRECTIONS)
    arrays = {
        "template": v + 0.0015 * smooth_fields(v, 3, rng, 0.05),
        "faces": asset.faces,
        "shapedirs": shapes,
        "exprdirs": expressions,
        "posedirs": posedirs,
        "joint_regressor": regressor,
        "weights": weights,
    }
    return make_head("true", arrays, regions=asset.regions)


def perform(true: HeadAsset, *, people: int = PEOPLE, frames: int = FRAMES, seed: int = 1) -> Performance:
    """Heads of the true model in many poses and expressions; a person's first frame is at rest."""
    shapes = np.random.default_rng(seed).normal(size=(people, true.shape_count))
    return performed(true, shapes, frames, seed + 1)


def performed(true: HeadAsset, shapes: np.ndarray, frames: int, seed: int) -> Performance:
    """The same people `[S, B]` in other poses and expressions."""
    rng = np.random.default_rng(seed)
    model = HeadModel(true)
    made, vertices = [], []
    for shape in shapes:
        params = HeadParameters.neutral(true, frames)
        jaw = np.stack([rng.uniform(0, 0.3, frames), *rng.normal(0, 0.04, (2, frames))], 1)
        gaze = rng.normal(0, 0.15, (frames, 2))
        eyes = np.concatenate([gaze, np.zeros((frames, 1)), gaze + rng.normal(0, 0.03, (frames, 2))], 1)
        drawn = {
            "expr": rng.normal(0, 1, (frames, true.expression_count)),
            "neck": rng.normal(0, 0.12, (frames, 3)),
            "jaw": jaw,
            "eyes": np.concatenate([eyes, np.zeros((frames, 1))], 1),
        }
        for value in drawn.values():
            value[0] = 0
        params = replace(params, shape=torch.tensor(shape, dtype=torch.float32), **as_tensors(drawn))
        with torch.no_grad():
            vertices.append(model(params).vertices.numpy())
        made.append(params)
    return Performance(shapes, made, np.stack(vertices))


def write_registrations(folder: Path, performance: Performance, asset: HeadAsset, noise: float = 0.005) -> None:
    """Registration folders SUBJECT_FRAME as `avatar register` writes them with `asset`, whose poses are rough.

    noise: radians, of neck, jaw and eyes but for neutral frames.
    """
    rng = np.random.default_rng(9)
    for person, (params, vertices) in enumerate(zip(performance.parameters, performance.vertices, strict=True)):
        for frame, heads in enumerate(vertices):
            place = folder / (f"p{person:02d}_neutral" if frame == 0 else f"p{person:02d}_{frame:02d}")
            place.mkdir(parents=True)
            poses = {name: getattr(params, name)[frame].numpy() for name in ("neck", "jaw", "eyes")}
            if frame:
                poses = {name: value + rng.normal(0, noise, value.shape) for name, value in poses.items()}
            arrays = {name: value.astype(np.float32) for name, value in poses.items()}
            arrays |= {
                "vertices": heads.astype(np.float32),
                "shape": np.zeros(asset.shape_count, np.float32),
                "expr": np.zeros(asset.expression_count, np.float32),
                "rotation": np.zeros(3, np.float32),
                "translation": np.zeros(3, np.float32),
                "scan_to_model": np.eye(4),
                "head_fingerprint": np.array(asset.fingerprint),
            }
            write_npz(place / "registration.npz", arrays)


def as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.tensor(value, dtype=torch.float32) for key, value in arrays.items()}
