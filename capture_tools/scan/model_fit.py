"""Stage 1, model only: shape, expression and pose of the head model that lie closest to a scan.

Li et al., ACM TOG 36(6), 2017, section 5: scan-to-model distance under Geman-McClure's loss, landmarks, priors. Solved
by Gauss-Newton with the model's exact Jacobian; closest points and weights are found anew in every round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.flame import lbs
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters, HeadPose
from avatar.geometry.rotations import axis_angle_to_matrix
from capture_tools.scan.landmarks import ScanLandmarks, posed_landmarks
from capture_tools.scan.matching import HeadSurface, geman_mcclure
from capture_tools.scan.sampling import Samples

POSE = {"rotation": 3, "translation": 3, "neck": 3, "jaw": 3, "eyes": 6}
POSE_DEVIATION = {"rotation": 3.0, "translation": 1.0, "neck": 0.12, "jaw": 0.06, "eyes": 0.15}
"""Standard deviations of the priors: radians, and metres of the translation."""
UNIT_EXPRESSION_DEVIATION = 0.15
"""Of actions in [0, 1]: a scan's face is mostly at rest."""
EXPRESSION_DEVIATION = 0.7
"""Of coefficients of unit variance."""
DISTANCE_DEVIATION = 0.001
"""Metres."""
DISTANCE_EVIDENCE = 1500.0
"""Independent distances that all samples together stand for."""
LANDMARK_DEVIATION = 0.003
"""Metres."""
LANDMARK_EVIDENCE = 60.0
"""Independent landmarks that all of them stand for."""
LANDMARK_ROUNDS = 5
SCALES = (0.015, 0.012, 0.009, 0.007, 0.006, 0.005, 0.004, 0.004, 0.003, 0.003, 0.003, 0.003)
"""Metres, of Geman-McClure's loss, one a round."""
FARTHEST = 0.04
"""Metres from the model beyond which a sample has no closest point."""
STEP = 0.01
"""Radians and metres, of the differences in the pose."""


@dataclass(frozen=True)
class ModelFit:
    """The head model on a scan."""

    params: HeadParameters
    """One frame."""
    vertices: np.ndarray
    """`[V, 3]` float64 metres."""
    pose: HeadPose


class ModelFitter:
    """Gauss-Newton over all parameters of one head."""

    def __init__(self, asset: HeadAsset, landmarks: ScanLandmarks) -> None:
        self.asset, self.model, self.landmarks = asset, HeadModel(asset), landmarks
        self.surface = HeadSurface(asset)
        units = "jawOpen" in asset.expression_names
        spread = np.full(asset.expression_count, UNIT_EXPRESSION_DEVIATION if units else EXPRESSION_DEVIATION)
        for index, name in enumerate(asset.expression_names):
            if name in ("jawOpen", "tongueOut") or name.startswith("eyeLook"):
                spread[index] *= 0.2  # the joints do what these do
        pose = np.concatenate([np.full(size, POSE_DEVIATION[name]) for name, size in POSE.items()])
        self.deviations = np.concatenate([np.ones(asset.shape_count), spread, pose])
        self.lowest = np.full(len(self.deviations), -np.inf)
        self.highest = np.full(len(self.deviations), np.inf)
        if units:
            actions = slice(asset.shape_count, asset.shape_count + asset.expression_count)
            self.lowest[actions], self.highest[actions] = 0.0, 1.0
        jaw = self._slices()["jaw"]
        self.lowest[jaw.start] = -0.03  # a jaw hardly closes further than the template's
        self.values = np.zeros(len(self.deviations))
        self.held = np.zeros(len(self.deviations), bool)

    def hold_shape(self) -> None:
        """Keep the shape coefficients at zero: the template is that of the person."""
        self.held[self._slices()["shape"]] = True

    def start_from(self, params: HeadParameters) -> None:
        """Take expression, neck, jaw and eyes of another frame of the person."""
        places = self._slices()
        for name in ("expr", "neck", "jaw", "eyes"):
            self.values[places[name]] = getattr(params, name)[0].double().numpy()
        self.values = np.clip(self.values, self.lowest, self.highest)

    def unrest(self) -> float:
        """How far expression and jaw are from rest, in standard deviations of the prior."""
        places = self._slices()
        off = self.values / self.deviations
        return float(np.sqrt((off[places["expr"]] ** 2).sum() + (off[places["jaw"]] ** 2).sum()))

    def _slices(self) -> dict[str, slice]:
        sizes = {"shape": self.asset.shape_count, "expr": self.asset.expression_count} | POSE
        ends = np.cumsum([0, *sizes.values()])
        return {name: slice(int(a), int(b)) for name, a, b in zip(sizes, ends[:-1], ends[1:], strict=True)}

    def parameters(self, values: Tensor | None = None) -> HeadParameters:
        """The parameters as those of one frame."""
        vector = torch.as_tensor(self.values, dtype=torch.float32) if values is None else values
        parts = {name: vector[where] for name, where in self._slices().items()}
        return HeadParameters(**{k: v if k == "shape" else v[None] for k, v in parts.items()})

    @torch.no_grad()
    def fit(self) -> ModelFit:
        """The head as it stands."""
        params = self.parameters()
        pose = self.model(params)
        return ModelFit(params, pose.vertices[0].double().numpy(), pose)

    @torch.no_grad()
    def jacobian(self) -> np.ndarray:
        """Derivatives `[3 V, P]` of all vertices by all parameters.

        With the rotations held, vertices are affine in shape and expression; those of the pose are differences.
        """
        model, params = self.model, self.parameters()
        pose = model(params)
        rotations = axis_angle_to_matrix(
            torch.stack([params.rotation, params.neck, params.jaw, params.eyes[:, :3], params.eyes[:, 3:]], 1)
        )
        directions = torch.cat([model.shapedirs, model.exprdirs], -1)  # [V, 3, K]
        joints = torch.cat([model.joint_shapedirs, model.joint_exprdirs], -1).permute(2, 0, 1)  # [K, 5, 3]
        _, moved = lbs.joint_transforms(rotations.expand(len(joints), -1, -1, -1), joints, model.parents)
        blended = (model.weights @ pose.world_from_joint[0, :, :3, :3].flatten(1)).reshape(-1, 3, 3)
        linear = blended @ directions + torch.einsum("vj,kja->vak", model.weights, moved[..., :3, 3])
        count = sum(POSE.values())
        steps = torch.zeros(2 * count, len(self.values))
        steps[:, -count:] = STEP * torch.cat([torch.eye(count), -torch.eye(count)])
        vectors = torch.as_tensor(self.values, dtype=torch.float32) + steps
        parts = {name: vectors[:, where] for name, where in self._slices().items() if name != "shape"}
        either = model(HeadParameters(shape=params.shape, **parts)).vertices.flatten(1)
        differences = (either[:count] - either[count:]) / (2 * STEP)
        return np.concatenate([linear.reshape(-1, linear.shape[-1]).numpy(), differences.numpy().T], 1).astype(
            np.float64
        )

    def to_landmarks(self, rounds: int = LANDMARK_ROUNDS) -> ModelFit:
        """Pose and shape from the landmarks alone."""
        for _ in range(rounds):
            fit = self.fit()
            self._step(*self._landmark_equations(fit, self.jacobian(), 1.0))
        return self.fit()

    def to_samples(self, samples: Samples, scales: tuple[float, ...] = SCALES) -> ModelFit:
        """All parameters from distances, landmarks and priors."""
        for scale in scales:
            fit, slopes = self.fit(), self.jacobian()
            matrix, right = self._landmark_equations(fit, slopes, 1.0)
            matches = self.surface.match(fit.vertices, samples, FARTHEST)
            along = matches.along_normals(self.asset.vertex_count)
            target = (samples.points[matches.sample] * matches.normals).sum(1)
            residual = target - along @ fit.vertices.ravel()
            weights = geman_mcclure(matches.distance, scale)
            weights *= DISTANCE_EVIDENCE / len(samples) / DISTANCE_DEVIATION**2
            rows = np.asarray(along @ slopes)
            matrix += rows.T @ (rows * weights[:, None])
            right += rows.T @ (weights * residual)
            self._step(matrix, right)
        return self.fit()

    def to_vertices(
        self, target: np.ndarray, weights: np.ndarray, rounds: int = 2, deviation: float = 0.001
    ) -> ModelFit:
        """All parameters from vertices `[V, 3]` that are known with `weights` `[V]`."""
        strength = np.repeat(weights / weights.sum(), 3) * DISTANCE_EVIDENCE / deviation**2
        for _ in range(rounds):
            fit, slopes = self.fit(), self.jacobian()
            rows = slopes * strength[:, None]
            self._step(rows.T @ slopes, rows.T @ (target - fit.vertices).ravel())
        return self.fit()

    def _landmark_equations(self, fit: ModelFit, slopes: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Normal matrix `[P, P]` and right side `[P]` of the landmarks."""
        corners, barycentrics, bias = posed_landmarks(
            self.landmarks.kind, self.asset, fit.pose.vertices[0], fit.pose.world_from_joint[0]
        )
        known = self.landmarks.known
        corners, barycentrics = corners.numpy()[known], barycentrics.numpy()[known].astype(np.float64)
        placed = (fit.vertices[corners] * barycentrics[..., None]).sum(1) + bias.numpy()[known]
        off = self.landmarks.points[known] - placed
        rows = np.einsum("kc,kcip->kip", barycentrics, slopes.reshape(-1, 3, slopes.shape[1])[corners])
        information = self.landmarks.information[known]
        distance = np.linalg.norm(off, axis=1)
        amount = geman_mcclure(distance, 4 * LANDMARK_DEVIATION) * strength
        information = information * (amount * LANDMARK_EVIDENCE / known.sum() / LANDMARK_DEVIATION**2)[:, None, None]
        pulled = information @ rows
        return np.einsum("kip,kiq->pq", rows, pulled), np.einsum("kip,ki->p", pulled, off)

    def _step(self, matrix: np.ndarray, right: np.ndarray) -> None:
        """One Gauss-Newton step with the priors, inside the bounds: parameters that would leave them stay there."""
        precision = 1 / self.deviations**2
        matrix = matrix + np.diag(precision)
        right = right - precision * self.values
        free = ~self.held
        step = np.zeros(len(right))
        for _ in range(6):
            index = np.flatnonzero(free)
            known = matrix[np.ix_(index, np.flatnonzero(~free))] @ step[~free]
            step[index] = np.linalg.solve(matrix[np.ix_(index, index)], right[index] - known)
            beyond = free & ((self.values + step < self.lowest) | (self.values + step > self.highest))
            if not beyond.any():
                break
            step[beyond] = (
                np.clip((self.values + step)[beyond], self.lowest[beyond], self.highest[beyond]) - self.values[beyond]
            )
            free &= ~beyond
        self.values = np.clip(self.values + step, self.lowest, self.highest)
