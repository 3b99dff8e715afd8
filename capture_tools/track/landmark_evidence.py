"""What the frames of a clip say about where the head's surface is: detected landmarks, or dense ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from capture_tools.dense_landmarks.placing import DenseLandmarks
from capture_tools.track.energy import EnergyWeights, landmark_weights
from capture_tools.track.landmark_bias import bias_of
from capture_tools.track.surface_points import SurfacePoints

LEAST_DEVIATION = 0.004
"""Of the eye distance: below it no dense landmark is believed."""
DENSE_EVIDENCE, DENSE_SHAPE, DENSE_OFFSET = 0.4, 0.3, 3.0
"""Factors on the weights of landmarks and of the priors of identity and offset. The errors of dense landmarks on one
person are alike, so a frame says less; they are small, so identity can be believed more, and the static offset less."""


@dataclass(frozen=True)
class LandmarkEvidence:
    """P points of the head in N frames; the detector's 478 landmarks come first."""

    points: SurfacePoints
    places: Tensor
    """`[N, P, 2]` pixels."""
    trust: Tensor
    """`[N, P]` the usual deviation of a landmark over that of each."""
    weights: Tensor
    """`[P]` how much each counts."""
    worth: float
    """How much a frame's points say, over what the detector's would."""
    knows_hidden: bool
    """Whether the deviations tell which points are hidden."""


def detected_evidence(asset: HeadAsset, basis: Tensor, pixels: Tensor) -> LandmarkEvidence:
    """Detected landmarks `[N, 478, 2]`, off the surface by the detector's mean bias. basis: of the static offset."""
    points = SurfacePoints(asset, asset.mediapipe_faces, asset.mediapipe_barycentrics, basis, bias_of(asset))
    return LandmarkEvidence(points, pixels, torch.ones(pixels.shape[:2]), landmark_weights(), 1.0, False)


def dense_evidence(asset: HeadAsset, basis: Tensor, dense: DenseLandmarks, unit: Tensor) -> LandmarkEvidence:
    """Dense landmarks. unit: `[N]` eye distances, pixels. Frames without a face lie anywhere, and have no trust."""
    points = SurfacePoints(asset, dense.points.faces, dense.points.barycentrics, basis)
    seen = np.isfinite(dense.deviation)
    places = torch.as_tensor(np.where(seen[..., None], dense.places, 0.0), dtype=torch.float32)
    spread = torch.as_tensor(np.where(seen, dense.deviation, np.inf), dtype=torch.float32) / unit[:, None]
    usual = landmark_weights()
    weights = torch.cat([usual, torch.ones(len(dense.points) - len(usual))])
    trust = EnergyWeights().landmark / (spread.square() + LEAST_DEVIATION**2).sqrt()
    return LandmarkEvidence(points, places, trust, weights, DENSE_EVIDENCE, True)


def with_dense(w: EnergyWeights) -> EnergyWeights:
    """The weights of the priors of identity and offset where landmarks are dense."""
    return replace(w, shape=DENSE_SHAPE * w.shape, offset=DENSE_OFFSET * w.offset)
