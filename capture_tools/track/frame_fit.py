"""Head pose, expression, jaw and gaze of a known person in one frame, from its landmarks and a prediction.

The energy is ClipFit's for a single frame, with a prior around the prediction in place of smoothness. Every term is a
square (robust ones by iteratively reweighted least squares, Holland and Welsch 1977), so a few Gauss-Newton steps with
one small linear system each minimise it. Derivatives by expression are exact differences, because surface points are
linear in it; those by the angles of jaw and eyes are central differences; those by the head's pose are analytic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.flame.landmark_sets import inter_ocular_distance
from avatar.flame.model import HeadModel, HeadParameters, landmark_vertices
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, skew
from capture_tools.track.clip_fit import growth_of
from capture_tools.track.energy import (
    JAW_BEYOND,
    JAW_BOUNDS,
    JAW_UNIT,
    LID_PAIRS,
    LIP_PAIRS,
    SMOOTHNESS_HUBER,
    EnergyWeights,
    ExpressionPrior,
    landmark_weights,
    pose_prior,
)
from capture_tools.track.landmark_bias import bias_of
from capture_tools.track.offset_space import OffsetSpace
from capture_tools.track.surface_points import SurfacePoints

POSE = 6
"""Unknowns of the head's pose: rotation (three), image position (two), log scale."""
ANGLES = 7
"""Unknowns of jaw (three) and gaze (two each for the left and the right eye)."""
ANGLE_STEP = 0.01
"""Step of the central differences, radians."""
SMALLEST = 0.02
"""Smallest absolute coefficient in the reweighting of the sparsity term."""


@dataclass(frozen=True)
class Person:
    """The constants of a person during tracking."""

    shape: Tensor
    """`[S]`."""
    latents: Tensor
    """`[Q, 3]` latents of the static offset (`OffsetSpace`)."""
    focal: float
    """Focal length, pixels."""


@dataclass(frozen=True)
class FrameState:
    """The unknowns of one frame, float64."""

    rotation: np.ndarray
    """`[3, 3]` world from head (the camera at the origin looks along -z, y up)."""
    place: np.ndarray
    """`[3]`: image position of the face's centre (pixels) and log pixels per metre."""
    face: np.ndarray
    """`[E + 7]`: expression, jaw, gaze (left x, y, right x, y; radians)."""


@dataclass(frozen=True)
class Prediction:
    """Predicted state of a frame, and its standard deviations."""

    state: FrameState
    pose: float
    """Radians, and shares of the eye distance."""
    face: float
    """Units of expression."""


class FrameFit:
    """Fits frames of one person in pictures of `width` x `height` pixels; stateless between calls."""

    def __init__(
        self, asset: HeadAsset, space: OffsetSpace, person: Person, width: int, height: int, weights: EnergyWeights
    ) -> None:
        self.asset, self.person, self.w, self.space = asset, person, weights, space
        self.expressions = asset.expression_count
        embedding = asset.mediapipe_faces, asset.mediapipe_barycentrics
        self.points = SurfacePoints(asset, *embedding, space.basis, bias_of(asset))
        self.principal = np.array([width / 2, height / 2])
        self.base_weights = landmark_weights().double().numpy()
        self.pairs = np.array((*LID_PAIRS, *LIP_PAIRS)).T
        size = 1 + float(growth_of(self.points, asset.shape_count) @ person.shape)
        self._prepare_prior(ExpressionPrior.of(asset), size)
        self._prepare_rest()

    def _prepare_prior(self, prior: ExpressionPrior, size: float) -> None:
        """Half the Hessian of the prior's quadratic terms; bounds and sparsity are added per state."""
        count = self.expressions

        def squares(face: Tensor) -> Tensor:
            gaze, zero = face[count + 3 :], face.new_zeros(1)
            eyes = torch.cat([gaze[:2], zero, gaze[2:], zero])
            own = prior.energy(face[None, :count] / size, self.w)
            return own + pose_prior(face[None, count : count + 3], eyes[None], self.w)

        inside = torch.full(
            (count + ANGLES,), 0.25 * size
        )  # within all bounds, where only the quadratic terms have curvature
        curvature = torch.autograd.functional.hessian(squares, inside).double().numpy() / 2
        self.prior = (curvature + curvature.T) / 2
        self.unit_size = size
        self.lengths = np.concatenate([prior.pace.double().numpy(), np.full(3, JAW_UNIT), np.ones(ANGLES - 3)])
        self.sparsity = self.w.sparsity / (prior.scale.double().numpy() * size) if prior.bounded else None

    @torch.no_grad()
    def _prepare_rest(self) -> None:
        """Constants of the neutral head: its pivot, eye distance, landmark normals and extent."""
        template = HeadModel(self.asset, landmark_vertices(self.asset))
        rest = template(HeadParameters.neutral(self.asset))
        self.root = rest.joints[0, 0].double().numpy()
        self.arm = template.landmarks(rest.vertices)[0].mean(0).double().numpy() - self.root
        offset = self.space.offsets(self.person.latents)
        own = template(replace(HeadParameters.neutral(self.asset), shape=self.person.shape, static_offset=offset))
        self.pivot = own.joints[0, 0].double().numpy() - self.root
        places = template.landmarks(own.vertices)[0].double().numpy()
        self.eye_distance = float(inter_ocular_distance(places))
        a, b, c = own.vertices[0, template.mediapipe_corners].unbind(1)
        self.normals = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1).double().numpy()
        self.spread = float(np.sqrt((places - places.mean(0))[:, :2].var(0).sum()))

    def start(self, detected: np.ndarray, rotation: np.ndarray | None = None) -> FrameState:
        """A neutral face at the landmarks `[478, 2]` (pixels), with the given rotation (default: facing the camera)."""
        spread = np.sqrt(detected.var(0).sum())
        place = np.append(detected.mean(0), np.log(spread / self.spread))
        return FrameState(np.eye(3) if rotation is None else rotation, place, np.zeros(self.expressions + ANGLES))

    def fit(self, detected: np.ndarray, start: FrameState, prediction: Prediction | None, steps: int) -> FrameState:
        """The state fitted to the landmarks `[478, 2]` (pixels): `steps` Gauss-Newton steps from `start`."""
        seen = float(inter_ocular_distance(detected))
        state = start
        for _ in range(steps):
            unit = max(seen, 0.7 * self.eye_distance * np.exp(state.place[2]))
            projected, jacobian, weights = self._linearised(state, unit)
            hessian, gradient = self._landmarks((projected - detected) / unit, jacobian, weights)
            self._add_prior(state, hessian[POSE:, POSE:], gradient[POSE:])
            if prediction is not None:
                self._add_prediction(state, prediction, unit, hessian, gradient)
            state = _moved(state, np.linalg.solve(hessian, -gradient), unit)
        return state

    def parameters(self, state: FrameState) -> HeadParameters:
        """The state as FLAME parameters, N = 1, relative to a camera at the origin that looks along -z."""
        rotation = matrix_to_axis_angle(torch.as_tensor(state.rotation))
        translation = self._centre(state.place) - self.root - state.rotation @ self.arm
        bare = self._bare(state.face[None])
        return replace(
            bare,
            rotation=rotation[None].float(),
            translation=torch.as_tensor(translation, dtype=torch.float32)[None],
            static_offset=self.space.offsets(self.person.latents),
        )

    def _bare(self, faces: np.ndarray) -> HeadParameters:
        """FLAME parameters of faces `[K, E + 7]`, without pose."""
        values = torch.as_tensor(faces, dtype=torch.float32)
        expr, jaw, gaze = values.split([self.expressions, 3, 4], dim=1)
        zero, none = torch.zeros_like(gaze[:, :1]), torch.zeros_like(jaw)
        eyes = torch.cat([gaze[:, :2], zero, gaze[:, 2:], zero], 1)
        return HeadParameters(self.person.shape, expr, none, none, none, jaw, eyes)

    def _centre(self, place: np.ndarray) -> np.ndarray:
        """World position `[3]` of the face's centre, metres."""
        depth = self.person.focal / np.exp(place[2])
        x, y = (place[:2] - self.principal) * depth / self.person.focal
        return np.array([x, -y, -depth])

    @torch.no_grad()
    def _linearised(self, state: FrameState, unit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Projected landmarks `[478, 2]`, their derivatives `[478, 2, 6 + E + 7]` in eye distances, weights `[478]`."""
        count = self.expressions
        moves = np.eye(count + ANGLES)
        moves[count:] *= ANGLE_STEP
        batch = state.face + np.concatenate([np.zeros((1, count + ANGLES)), moves, -moves[count:]])
        rotation = matrix_to_axis_angle(torch.as_tensor(state.rotation)).float()
        posed = replace(self._bare(batch), rotation=rotation.expand(len(batch), 3))
        found = self.points.at(posed, self.person.latents).double().numpy()
        centre = self._centre(state.place)
        points = found[0] + centre - self.root - state.rotation @ self.arm
        depth = np.maximum(-points[:, 2], 1e-3)
        flat = points[:, :2] * (1, -1) / depth[:, None]
        projected = self.person.focal * flat + self.principal

        moved = np.empty((len(points), 3, POSE + count + ANGLES))
        moved[:, :, :3] = -skew(torch.as_tensor(points - centre - self.pivot)).numpy()
        scale = unit * -centre[2] / self.person.focal
        moved[:, :, 3:POSE] = np.stack([(scale, 0, 0), (0, -scale, 0), -centre], 1)
        moved[:, :, POSE : POSE + count] = (found[1 : count + 1] - found[0]).transpose(1, 2, 0)
        angles = (found[count + 1 : -ANGLES] - found[-ANGLES:]) / (2 * ANGLE_STEP)
        moved[:, :, POSE + count :] = angles.transpose(1, 2, 0)
        jacobian = moved[:, :2] * np.array([1, -1])[:, None] + flat[:, :, None] * moved[:, 2:]
        jacobian *= (self.person.focal / (unit * depth))[:, None, None]

        facing = -((self.normals @ state.rotation.T) * points).sum(1) / np.linalg.norm(points, axis=1)
        return projected, jacobian, self.base_weights * np.clip(facing / 0.3, 0.1, 1.0)

    def _landmarks(
        self, residual: np.ndarray, jacobian: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Hessian `[K, K]` and gradient `[K]` (both halved) of the landmark and the opening term."""
        w = self.w
        share = w.evidence * weights / weights.sum() / w.landmark**2
        upper, lower = self.pairs
        opening, opening_jacobian = residual[upper] - residual[lower], jacobian[upper] - jacobian[lower]
        opening_share = np.full(len(upper), 0.25 * w.evidence / len(upper) / w.opening**2)
        share = share * _robust(residual / w.landmark, w.huber)
        opening_share = opening_share * _robust(opening / w.opening, w.huber)
        values = np.concatenate([residual, opening]).reshape(-1)
        rows = np.concatenate([jacobian, opening_jacobian]).reshape(len(values), -1)
        weighted = rows * np.repeat(np.concatenate([share, opening_share]), 2)[:, None]
        return weighted.T @ rows, weighted.T @ values

    def _add_prior(self, state: FrameState, hessian: np.ndarray, gradient: np.ndarray) -> None:
        """Add the priors of expression, jaw and gaze, in place, to the face block."""
        hessian += self.prior
        gradient += self.prior @ state.face
        own = np.zeros(len(gradient))
        beyond = np.zeros(len(gradient))
        count = self.expressions
        if self.sparsity is not None:
            expr = state.face[:count]
            own[:count] = self.sparsity / (2 * np.maximum(np.abs(expr), SMALLEST))
            gradient[:count] += own[:count] * expr
            beyond[:count] = expr - np.clip(expr, 0, self.unit_size)
            stiffness = (beyond[:count] != 0) / (self.w.bounds * self.unit_size) ** 2
            own[:count] += stiffness
            gradient[:count] += stiffness * beyond[:count]
        jaw = state.face[count] - np.clip(state.face[count], *JAW_BOUNDS)
        if jaw:
            own[count] += 1 / JAW_BEYOND**2
            gradient[count] += jaw / JAW_BEYOND**2
        hessian[np.diag_indices_from(hessian)] += own

    def _add_prediction(
        self, state: FrameState, prediction: Prediction, unit: float, hessian: np.ndarray, gradient: np.ndarray
    ) -> None:
        """Add the prior around the predicted state, in place."""
        expected = prediction.state
        rotation = matrix_to_axis_angle(torch.as_tensor(state.rotation @ expected.rotation.T)).numpy()
        away = (state.place - expected.place) / (unit, unit, 1)
        face = state.face - expected.face
        blocks = (
            (slice(0, POSE), np.concatenate([rotation, away]), np.full(POSE, prediction.pose)),
            (slice(POSE, None), face, prediction.face * self.lengths),
        )
        for part, values, deviations in blocks:
            stiffness = _robust((values / deviations)[None], SMOOTHNESS_HUBER) / deviations**2
            gradient[part] += stiffness * values
            hessian[part, part][np.diag_indices(len(values))] += stiffness


def rotated(vector: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """`[3, 3]`: `rotation` `[3, 3]` followed by the axis-angle `[3]` (radians)."""
    return axis_angle_to_matrix(torch.as_tensor(vector)).numpy() @ rotation


def _robust(values: np.ndarray, threshold: float) -> np.ndarray:
    """IRLS weights `[K]` of the Huber loss (`energy.huber`) for residuals `[K, C]` in deviations."""
    return np.minimum(1, threshold / np.maximum(np.linalg.norm(values, axis=1), 1e-9))


def _moved(state: FrameState, step: np.ndarray, unit: float) -> FrameState:
    place = state.place + step[3:POSE] * (unit, unit, 1)
    return FrameState(rotated(step[:3], state.rotation), place, state.face + step[POSE:])
