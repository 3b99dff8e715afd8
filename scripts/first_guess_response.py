"""How the landmark detector answers a head: where it puts landmarks, against where they are.

On portraits (scripts/first_guess_data.py) truth and detections are known. Their difference, in millimetres at the
head, is fitted as a displacement of each landmark in the head's own axes that depends linearly on pose, expression and
identity (ridge regression); what is left is kept portrait by portrait, predicted without its own sitter. Added to the
true landmarks of any other head it gives detections without rendering or detecting, as many as training wants.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.landmarks import mediapipe_mirror, surface_points
from avatar.geometry.rotations import axis_angle_to_matrix
from capture_tools.multiview.views import view_of

FOLDS = 6
NOISE = 0.0015
"""Metres of a single detection: the unit of the ridges."""
RIDGES = {"constant": 0.007, "pose": 0.007, "expression": 0.003, "jaw": 0.03, "identity": 0.0007}
"""Metres: expected size of a displacement per unit of each kind of feature."""
OUTLIER = 0.012
"""Metres of the median error of a portrait above which the detector has missed the face."""


@dataclass
class Shots:
    """Portraits on which a face was found: their truth, and the detector's error. K of them."""

    shape: np.ndarray
    expr: np.ndarray
    jaw: np.ndarray
    """`[K]` radians."""
    rotation: np.ndarray
    """`[K, 3, 3]` of the head, seen along the line to it, upright in the picture (x right, y down, z away)."""
    distance: np.ndarray
    """`[K]` metres from the camera to the middle of the head's landmarks."""
    error: np.ndarray
    """`[K, 478, 2]` metres: detected minus true, in the plane through the head's middle, upright axes."""
    sitter: np.ndarray
    """`[K]`; mirrored portraits count as another sitter's."""

    def rows(self, index: np.ndarray) -> Shots:
        return Shots(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def __len__(self) -> int:
        return len(self.shape)

    @staticmethod
    def joined(parts: list[Shots]) -> Shots:
        names = [field.name for field in fields(Shots)]
        return Shots(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def middle_of(asset: HeadAsset) -> np.ndarray:
    """`[3]`: the middle of the mean head's landmarks."""
    return surface_points(asset.template, asset.faces, asset.mediapipe_faces, asset.mediapipe_barycentrics).mean(0)


def read_shots(path: Path, sitter: int, asset: HeadAsset) -> Shots:
    """The portraits of a file of first_guess_data.py on which the detector found the face."""
    arrays = dict(np.load(path))
    found = arrays["found"].ravel()
    views = arrays["found"].shape[1]

    def flat(name: str) -> np.ndarray:
        return arrays[name].reshape(len(found), *arrays[name].shape[2:])[found]

    true, detected, camera = flat("true"), flat("detected"), flat("cam_from_world")
    turned = axis_angle_to_matrix(torch.as_tensor(flat("rotation"))).numpy()
    root = asset.joint_regressor[0] @ asset.template
    middle = turned @ (middle_of(asset) - root) + root
    middle = np.einsum("kab,kb->ka", camera[:, :3, :3], middle) + camera[:, :3, 3]
    distance = np.linalg.norm(middle, axis=1)
    upright = upright_of(true)
    towards = looking_at(middle / distance[:, None])
    rotation = upright @ towards @ camera[:, :3, :3] @ turned
    metres = (distance / flat("lens")[:, 0])[:, None, None]
    error = (detected - true) * metres @ upright[:, :2, :2].swapaxes(1, 2)
    shape = np.repeat(arrays["shape"], views, 0)[found]
    shots = Shots(shape, flat("expr"), flat("jaw")[:, 0], rotation, distance, error, np.full(int(found.sum()), sitter))
    return shots.rows(np.median(np.linalg.norm(error, axis=2), axis=1) < OUTLIER)


def upright_of(landmarks: np.ndarray) -> np.ndarray:
    """Rotations `[K, 3, 3]` in the picture that set faces with landmarks `[K, 478, 2]` upright."""
    views = view_of(landmarks)[..., :2]
    upright = np.tile(np.eye(3), (len(views), 1, 1))
    upright[:, :2, :2] = views / np.linalg.norm(views[:, :1], axis=2, keepdims=True)
    return upright


def looking_at(direction: np.ndarray) -> np.ndarray:
    """Rotations `[K, 3, 3]` that turn unit directions `[K, 3]` of a camera onto its axis."""
    right = np.cross([0.0, 1.0, 0.0], direction)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack([right, np.cross(direction, right), direction], 1)


class Mirror:
    """The other side of heads and landmarks."""

    def __init__(self, asset: HeadAsset) -> None:
        self.landmarks = mediapipe_mirror()
        vertex = asset.extras["mirror"].astype(int)
        flipped = asset.shapedirs[vertex] * np.array([-1, 1, 1], np.float32)[:, None]
        likeness = (flipped * asset.shapedirs).sum((0, 1)) / (asset.shapedirs**2).sum((0, 1))
        if (np.abs(likeness) < 0.98).any():
            raise SystemExit("a direction of the head model's identity is neither even nor odd")
        self.shape = np.sign(likeness).astype(np.float32)
        names = list(asset.expression_names)
        self.expr = np.array([names.index(other_side(name, names)) for name in names])

    def shots(self, shots: Shots, sitters: int) -> Shots:
        """Mirrored shots, whose sitters are numbered from `sitters` on."""
        axes = np.array([-1.0, 1.0, 1.0])
        return Shots(
            shape=shots.shape * self.shape,
            expr=shots.expr[:, self.expr],
            jaw=shots.jaw,
            rotation=axes[:, None] * shots.rotation * axes,
            distance=shots.distance,
            error=shots.error[:, self.landmarks] * np.array([-1.0, 1.0]),
            sitter=shots.sitter + sitters,
        )


def other_side(name: str, names: list[str]) -> str:
    for mine, theirs in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(mine) and name.removesuffix(mine) + theirs in names:
            return name.removesuffix(mine) + theirs
    return name


def features(shots: Shots, identity: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """What displacements depend on, `[K, C]`, and their expected size per unit, `[C]` metres."""
    across, down = shots.rotation[:, 0, 2], shots.rotation[:, 1, 2]
    pose = [across, np.abs(across), across**2, down, down**2, across * down, across**3, np.abs(across) ** 3]
    parts = {
        "constant": np.ones((len(shots), 1)),
        "pose": np.stack([*pose, 1 / shots.distance - 1], 1),
        "expression": shots.expr,
        "jaw": np.stack([shots.jaw, shots.jaw**2], 1),
    }
    if identity:
        parts["identity"] = shots.shape
    sizes = np.concatenate([np.full(part.shape[1], RIDGES[name]) for name, part in parts.items()])
    return np.concatenate(list(parts.values()), 1), sizes


def design(shots: Shots, identity: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Rows `[K, 2, 3 C]` of the regression, and the ridges `[3 C]`."""
    values, sizes = features(shots, identity)
    rows = shots.rotation[:, :2, :, None] * values[:, None, None, :]
    return rows.reshape(len(shots), 2, -1), (NOISE / np.tile(sizes, 3)) ** 2


class Response:
    """The detector's mean answer and what is left of it."""

    def __init__(self, shots: Shots, identity: bool = True) -> None:
        rows, ridges = design(shots, identity)
        self.identity = identity
        folds = shots.sitter % (shots.sitter.max() // 2 + 1) % FOLDS  # a sitter and its mirror image go together
        grams = [self._sums(rows[folds == fold], shots.error[folds == fold]) for fold in range(FOLDS)]
        whole = [sum(part) for part in zip(*grams, strict=True)]
        self.slopes = np.linalg.solve(whole[0] + np.diag(ridges), whole[1])
        self.left = np.empty_like(shots.error)
        for fold, (gram, right) in enumerate(grams):
            slopes = np.linalg.solve(whole[0] - gram + np.diag(ridges), whole[1] - right)
            chosen = folds == fold
            self.left[chosen] = shots.error[chosen] - (rows[chosen] @ slopes).swapaxes(1, 2)

    @staticmethod
    def _sums(rows: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat, values = rows.reshape(-1, rows.shape[2]), error.swapaxes(1, 2).reshape(-1, error.shape[1])
        return flat.T @ flat, flat.T @ values

    def mean(self, shots: Shots) -> np.ndarray:
        """The expected error `[K, 478, 2]` of other shots (their own is not looked at), metres."""
        return (design(shots, self.identity)[0] @ self.slopes).swapaxes(1, 2)
