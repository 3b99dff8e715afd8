"""A smooth space of static offsets, controlled at the face landmarks: a Gaussian process over the template.

Lüthi, Gerig, Jud, Vetter, "Gaussian process morphable models", TPAMI 2018: a deformation with covariance k(a, b)
between template points a and b. The process extends the landmarks' evidence smoothly over skin, lids, teeth and
eyeballs (which share no mesh edge) and fades to zero at the back of the head. In whitened coordinates z ~ N(0, 1) its
prior is a plain square, and the optimisation is well conditioned at all scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.flame.landmark_sets import LEFT_EYE, RIGHT_EYE

SCALES = ((0.0025, 0.030), (0.0015, 0.010))
"""(standard deviation, length scale), metres, of the covariance's two squared exponentials: head shape, features."""
KEPT = 1e-4
"""Share of the largest variance below which modes are dropped."""
ORBIT = 0.022
"""Metres from an eyeball's centre within which skin could penetrate it."""
FACE_LANDMARKS = 468
"""Landmarks on the skin; the ten iris landmarks do not control the offset."""


@dataclass(frozen=True)
class OffsetSpace:
    """static_offset = basis @ z."""

    basis: Tensor
    """`[V, Q]` metres per unit of latent."""
    orbit: Tensor
    """`[K, Q]` the same for landmarks around the eyes, relative to their eyeball's offset."""

    @property
    def count(self) -> int:
        """Q, latents per axis."""
        return self.basis.shape[1]

    def offsets(self, latents: Tensor) -> Tensor:
        """`[Q, 3]` standard-normal latents to `[V, 3]` metres."""
        return self.basis @ latents


def offset_space(asset: HeadAsset) -> OffsetSpace:
    """Build the space for a head with a landmark embedding; 0.1 s, the same on every machine up to rounding."""
    corners = asset.faces[asset.mediapipe_faces[:FACE_LANDMARKS]]
    weights = asset.mediapipe_barycentrics[:FACE_LANDMARKS, :, None]
    controls = (asset.template[corners] * weights).sum(axis=1).astype(np.float64)
    values, vectors = np.linalg.eigh(_covariance(controls, controls))
    kept = values > KEPT * values.max()
    # E[offset(v) | controls] = k(v, C) K^-1 delta with delta = U sqrt(S) z
    basis = _covariance(asset.template.astype(np.float64), controls) @ (vectors[:, kept] / np.sqrt(values[kept]))
    at_controls = (basis[corners] * weights).sum(axis=1)
    orbit = []
    for name, contour in (("left_eyeball", LEFT_EYE), ("right_eyeball", RIGHT_EYE)):
        if name in asset.regions and asset.regions[name].any():
            # An eyeball moves rigidly with its lids: at its depth the process fades, and it would stick out.
            ball = at_controls[list(contour)].mean(axis=0)
            distance = np.linalg.norm(controls - asset.template[asset.regions[name]].mean(axis=0), axis=-1)
            orbit.append(at_controls[distance < ORBIT] - ball)
            basis[asset.regions[name]] = ball
    around = np.concatenate([np.zeros((0, basis.shape[1])), *orbit])
    return OffsetSpace(*(torch.as_tensor(value, dtype=torch.float32) for value in (basis, around)))


def _covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = ((a**2).sum(-1)[:, None] + (b**2).sum(-1)[None] - 2 * a @ b.T).clip(min=0)
    covariance = np.zeros_like(squared)
    for deviation, length in SCALES:
        covariance += deviation**2 * np.exp(-squared / (2 * length**2))
    return covariance
