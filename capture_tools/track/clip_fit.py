"""The variables of one clip's tracking and their optimisation.

Identity, focal length and a smooth static offset are shared by the clip; head pose, expression, jaw and eyes are per
frame and smooth in time. All of them are optimised jointly on surface points; no vertex is computed in the loop. Adam
fits clips, for it ends before it follows the noise of single frames; L-BFGS fits photographs, in a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar.base.conventions import LANDMARK_COUNT
from avatar.flame.assets import HeadAsset
from avatar.flame.landmark_sets import inter_ocular_distance
from avatar.flame.model import HeadModel, HeadParameters, landmark_vertices
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, yaw_of
from capture_tools.dense_landmarks.placing import DenseLandmarks
from capture_tools.track.descent import descend
from capture_tools.track.energy import (
    JAW_UNIT,
    EnergyWeights,
    ExpressionPrior,
    landmark_term,
    opening_term,
    pose_prior,
    smoothness,
)
from capture_tools.track.landmark_evidence import dense_evidence, detected_evidence, with_dense
from capture_tools.track.offset_space import offset_space
from capture_tools.track.photometric import PhotometricTerm
from capture_tools.track.surface_points import SurfacePoints

WORLD_FROM_CAMERA_AXES = np.diag([1.0, -1.0, -1.0])
"""The camera looks along -z of the world with y up: OpenCV's axes flipped, its own inverse."""
UNKNOWN_LENS = 0.3
"""Standard deviation of the log focal length where no file tells it."""
REFRESH, PHOTOGRAPHS_REFRESH = 60, 25
"""Steps, by Adam and by L-BFGS, between updates of landmark weights, light and visibility."""
RATES = {
    "rotation": 0.01,
    "place": 0.01,
    "size": 0.005,
    "focal": 0.01,
    "shape": 0.05,
    "expr": 0.02,
    "jaw": 0.01,
    "gaze": 0.015,
    "offset": 0.1,
    "bias": 0.1,
}
"""Adam's learning rate of each variable; L-BFGS takes them as units."""
ASIDE = (np.deg2rad(15), np.deg2rad(30))
"""Yaw of a photograph's head from which on its landmarks count less, and from which on least."""
ASIDE_WEIGHT = 0.05
"""What landmarks seen from aside count beside those from the front: the detector's errors there are twice as large and
of one sign, which more of them do not average out."""


@dataclass(frozen=True)
class TrackSettings:
    """How the tracker fits a clip."""

    rigid_steps: int = 120
    """Steps for pose, focal length and identity alone."""
    face_steps: int = 250
    """Steps with expression, jaw and eyes."""
    offset_steps: int = 300
    """Steps with the static offset; the learning rate falls to a twentieth over them."""
    photometric_steps: int = 300
    """Steps with the photometric term, where pictures are given."""
    focal_prior: float = 1.4
    """Expected focal length over the longer side of the frame."""
    focal_deviation: float = UNKNOWN_LENS
    """Standard deviation of the log focal length."""
    weights: EnergyWeights = field(default_factory=EnergyWeights)
    """Deviations and weights of the energy."""
    photographs: bool = False
    """The frames are photographs of one person: they share expression and jaw, each has its own light; steps are those
    of L-BFGS (see `of_photographs`)."""
    static_offset: bool = True
    """Fit the static offset; without, the person is what the identity coefficients alone say."""

    @staticmethod
    def of_photographs(**changes: Any) -> TrackSettings:
        """Settings for photographs of one person, with `changes`."""
        steps: dict[str, Any] = {"rigid_steps": 25, "face_steps": 60, "offset_steps": 80, "photometric_steps": 150}
        return TrackSettings(photographs=True, **(steps | changes))


class ClipFit:
    """The variables of one clip and their optimisation.

    The head's centre is parametrised by its image position and its scale in pixels per metre, so that a change of the
    focal length neither moves nor scales the head's projection.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        times: np.ndarray,
        width: int,
        height: int,
        asset: HeadAsset,
        settings: TrackSettings,
        occluded: np.ndarray | None = None,
        dense: DenseLandmarks | None = None,
    ) -> None:
        self.asset, self.settings, self.w = asset, settings, settings.weights
        self.width, self.height = width, height
        self.model = HeadModel(asset, landmark_vertices(asset))
        self.prior = ExpressionPrior.of(asset)
        self.space = offset_space(asset)
        self.done = 0
        self.times = torch.as_tensor(np.asarray(times), dtype=torch.float32)
        seen = np.all(np.isfinite(pixels), axis=(1, 2))
        filled = _fill_gaps(pixels, seen, np.asarray(times, np.float64))
        self.seen = torch.as_tensor(seen, dtype=torch.float32)
        self.detected = torch.as_tensor(filled, dtype=torch.float32)
        eyes = inter_ocular_distance(filled)
        # Rotation foreshortens the eye distance; the clip's median bounds it, so that noise is not amplified.
        self.unit = torch.as_tensor(np.maximum(eyes, 0.7 * np.median(eyes[seen])), dtype=torch.float32)
        self.scale = float(np.median(eyes[seen]))
        hidden = torch.zeros(filled.shape[:2]) if occluded is None else torch.as_tensor(occluded, dtype=torch.float32)
        self.free = self.seen[:, None] * (1 - hidden)
        if dense is None:
            self.evidence = detected_evidence(asset, self.space.basis, self.detected)
        else:
            self.evidence = dense_evidence(asset, self.space.basis, dense, self.unit)
            self.w = with_dense(self.w)
            others = self.evidence.points.count - LANDMARK_COUNT
            self.free = torch.cat([self.free, self.seen[:, None].expand(-1, others)], 1)
        self.focal_prior = settings.focal_prior * max(width, height)
        self.principal = torch.tensor([width / 2, height / 2])
        with torch.no_grad():
            rest = self.model(HeadParameters.neutral(asset))
            self.root = rest.joints[0, 0]
            corners = self.model.landmarks(rest.vertices)[0]
            self.centre = corners.mean(0)
            self.growth = growth_of(self.evidence.points, asset.shape_count)
        self._initialise(filled, corners.numpy())

    def _initialise(self, filled: np.ndarray, template: np.ndarray) -> None:
        rotations, places, sizes = _pose_by_pnp(
            filled, template, self.centre.numpy(), self.focal_prior, self.width, self.height
        )
        count = len(filled)
        faces = 1 if self.settings.photographs else count

        def variable(value: Tensor | np.ndarray) -> Tensor:
            return torch.as_tensor(value, dtype=torch.float32).clone().requires_grad_()

        self.v = {
            "rotation": variable(rotations),
            "place": variable(places / self.scale),
            "size": variable(np.log(sizes)),
            "focal": variable(torch.zeros(())),
            "shape": variable(torch.zeros(self.asset.shape_count)),
            "expr": variable(torch.zeros(faces, self.asset.expression_count)),
            "jaw": variable(torch.zeros(faces, 3)),
            "gaze": variable(torch.zeros(count, 4)),
            "offset": variable(torch.zeros(self.space.count, 3)),
            "bias": variable(torch.zeros(self.space.count, 3)),
        }

    def focal(self) -> Tensor:
        """Focal length, pixels."""
        return self.focal_prior * self.v["focal"].exp()

    def parameters(self, with_offset: bool) -> HeadParameters:
        """The variables as FLAME parameters; translations are relative to a camera at the world's origin."""
        v = self.v
        focal = self.focal()
        depth = focal / v["size"].exp()
        place = (v["place"] * self.scale - self.principal) * (depth / focal)[:, None]
        centre = torch.stack([place[:, 0], -place[:, 1], -depth], -1)
        arm = self.centre - self.root
        rotated = (axis_angle_to_matrix(v["rotation"]) @ arm[:, None]).squeeze(-1)
        zero = torch.zeros_like(v["gaze"][:, :1])
        expr, jaw = (v[name].expand(len(centre), -1) for name in ("expr", "jaw"))
        return HeadParameters(
            shape=v["shape"],
            expr=expr,
            rotation=v["rotation"],
            translation=centre - self.root - rotated,
            neck=torch.zeros_like(jaw),
            jaw=jaw,
            eyes=torch.cat([v["gaze"][:, :2], zero, v["gaze"][:, 2:], zero], -1),
            static_offset=self.space.offsets(v["offset"]) if with_offset else None,
        )

    def project(self, points: Tensor) -> Tensor:
        """World points `[N, P, 3]` seen by a camera at the origin that looks along -z: pixels `[N, P, 2]`."""
        depth = (-points[..., 2]).clamp(min=1e-3)
        flat = torch.stack([points[..., 0], -points[..., 1]], -1)
        return self.focal() * flat / depth[..., None] + self.principal

    def landmark_points(self, p: HeadParameters, with_offset: bool) -> Tensor:
        """`[N, P, 3]` where the landmarks of heads `p` are seen: off the skin by the detector's bias, in general and on
        this person."""
        return self.evidence.points.at(p, self.v["offset"] + self.v["bias"] if with_offset else None)

    def energy(self, weights: Tensor, with_offset: bool, photometric: PhotometricTerm | None = None) -> Tensor:
        """The tracking energy; `weights` `[N, P]` of the landmarks (`landmark_weights`)."""
        v, w = self.v, self.w
        p = self.parameters(with_offset=False)
        points = self.landmark_points(p, with_offset)
        projected, unit = self.project(points), self.unit[:, None, None]
        residual = (projected - self.evidence.places) / unit
        total = self.evidence.worth * landmark_term(residual * self.evidence.trust[..., None], weights, w)
        # Openings are the detector's: its networks for lips and eyes learned from real faces.
        apart = (projected[:, :LANDMARK_COUNT] - self.detected) / unit
        total = total + opening_term(apart, self.free, w) + w.shape * v["shape"].square().sum()
        total = total + (v["focal"] / self.settings.focal_deviation).square()
        # Size and distance are ambiguous: priors on lengths must not favour a small head.
        size = 1 + self.growth @ v["shape"]
        total = total + self.prior.energy(p.expr / size, w) + pose_prior(p.jaw, p.eyes, w)
        pose = torch.cat([v["rotation"], v["place"], v["size"][:, None]], -1)
        total = total + smoothness(pose, self.times, w.smooth_pose)
        face = torch.cat([p.expr / self.prior.pace, p.jaw / JAW_UNIT, v["gaze"]], -1)
        total = total + smoothness(face, self.times, w.smooth_expression)
        if with_offset:
            total = total + w.offset * (v["offset"] / size).square().sum() + w.bias * (v["bias"] / size).square().sum()
            total = total + (self.space.orbit @ v["offset"][:, 2] / w.orbit).square().sum()
        if photometric is not None:
            total = total + photometric.energy(p, v["offset"], self.project)
        return total

    def run(self, progress: Callable[[int, str], None], photometric: PhotometricTerm | None = None) -> None:
        """Fit in stages; progress is called with (steps done, a note)."""
        s = self.settings
        rigid = ("rotation", "place", "size", "focal", "shape")
        face = (*rigid, "expr", "jaw", "gaze")
        everything = (*face, "offset") if s.static_offset else face
        self._descend(s.rigid_steps, rigid, 1.0, 1.0, progress)
        self._descend(s.face_steps, face, 1.0, 0.5, progress)
        self._descend(s.offset_steps, everything, 0.7, 0.05, progress)
        if photometric is not None:
            if self.settings.photographs:
                self._split_offset()
                everything = (*everything, "bias")
            for level, first, last in ((0, 0.4, 0.2), (1, 0.25, 0.02)):
                photometric.choose_level(level)
                self._descend(s.photometric_steps // 2, everything, first, last, progress, photometric)

    @torch.no_grad()
    def _split_offset(self) -> None:
        """Give the detector's bias on this person its part of what landmarks told: only pictures tell it from shape."""
        whole, w = self.v["offset"].clone(), self.w
        self.v["bias"].copy_(whole * w.offset / (w.offset + w.bias))
        self.v["offset"].copy_(whole * w.bias / (w.offset + w.bias))

    def _descend(
        self,
        steps: int,
        names: tuple[str, ...],
        first: float,
        last: float,
        progress: Callable[[int, str], None],
        photometric: PhotometricTerm | None = None,
    ) -> None:
        """Descend in the named variables. Adam's rates decay from `first` to `last` times RATES."""
        if self.settings.photographs:
            self._descend_photographs(steps, names, progress, photometric)
            return
        with_offset = "offset" in names
        groups = [{"params": [self.v[name]], "lr": RATES[name]} for name in names]
        adam = torch.optim.Adam(groups, betas=(0.9, 0.99))
        for step in range(steps):
            if step % REFRESH == 0:
                weights = self.landmark_weights(with_offset)
                if photometric is not None:
                    photometric.refresh(self.parameters(with_offset=True).detach(), self.project)
            fall = first * (last / first) ** (step / max(1, steps - 1))
            for name, group in zip(names, adam.param_groups, strict=True):
                group["lr"] = RATES[name] * fall
            adam.zero_grad()
            energy = self.energy(weights, with_offset, photometric)
            energy.backward()
            adam.step()
            self.done += 1
            if self.done % 20 == 0:
                progress(self.done, f"energy {float(energy.detach()):.1f}")

    def _descend_photographs(
        self,
        steps: int,
        names: tuple[str, ...],
        progress: Callable[[int, str], None],
        photometric: PhotometricTerm | None,
    ) -> None:
        """L-BFGS in the named variables, PHOTOGRAPHS_REFRESH steps at a time."""
        with_offset, end = "offset" in names, self.done + steps
        while self.done < end:
            before, count = self.done, min(PHOTOGRAPHS_REFRESH, end - self.done)
            weights = self.landmark_weights(with_offset)
            if photometric is not None:
                photometric.refresh(self.parameters(with_offset=True).detach(), self.project)

            def energy(values: dict[str, Tensor], weights: Tensor = weights) -> Tensor:
                self.v.update(values)
                return self.energy(weights, with_offset, photometric)

            def told(done: int, reached: float, before: int = before) -> None:
                if done % 5 == 0:
                    progress(before + done, f"energy {reached:.1f}")

            self.v.update(descend({name: self.v[name] for name in names}, RATES, energy, count, told))
            self.done = before + count

    @torch.no_grad()
    def landmark_weights(self, with_offset: bool) -> Tensor:
        """`[N, P]`: the constant weights, reduced where the skin faces away, zero in frames without a face.

        In photographs those seen from aside count less: in a clip smooth motion holds them, too. Dense landmarks say
        by their deviations what is hidden.
        """
        if self.evidence.knows_hidden:
            return self.evidence.weights * self.free
        facing = self.facing(self.model(self.parameters(with_offset)).vertices)
        visibility = (facing / 0.3).clamp(0.1, 1.0)
        weights = self.evidence.weights * visibility * self.free
        if self.settings.photographs:
            aside = yaw_of(self.v["rotation"]).abs()
            weights = weights * ((ASIDE[1] - aside) / (ASIDE[1] - ASIDE[0])).clamp(ASIDE_WEIGHT, 1.0)[:, None]
        return weights

    def facing(self, vertices: Tensor) -> Tensor:
        """Cosine `[N, 478]` between each landmark's triangle normal and the direction to the camera at the origin."""
        a, b, c = vertices[:, self.model.mediapipe_corners].unbind(2)
        normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
        return -(normal * torch.nn.functional.normalize(a, dim=-1)).sum(-1)


def growth_of(points: SurfacePoints, shape_count: int) -> Tensor:
    """`[S]`: relative change of the size of the neutral head's points per unit of each shape coefficient."""

    def centred(values: Tensor) -> Tensor:
        whole = values.new_zeros(points.count, *values.shape[1:]).index_add(0, points.point, values)
        return whole - whole.mean(0)

    rest, directions = centred(points.template), centred(points.shapedirs)
    return (rest[..., None] * directions).sum((0, 1)) / rest.square().sum()


def _fill_gaps(pixels: np.ndarray, seen: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Interpolate the landmarks of frames without a face; they carry no weight in the fit."""
    filled = np.asarray(pixels, np.float64).reshape(len(pixels), -1).copy()
    if not seen.all():
        for column in range(filled.shape[1]):
            filled[~seen, column] = np.interp(times[~seen], times[seen], filled[seen, column])
    return filled.reshape(pixels.shape)


def _pose_by_pnp(
    pixels: np.ndarray, template: np.ndarray, centre: np.ndarray, focal: float, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rigid poses of the template: rotations `[N, 3]` (world), image positions `[N, 2]` and pixels per metre `[N]`."""
    import cv2

    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    points = (template - centre).astype(np.float64)
    rotations, places, sizes = [], [], []
    undistorted: Any = None
    for frame in pixels:
        _, rotation, translation = cv2.solvePnP(points, frame, intrinsics, undistorted, flags=cv2.SOLVEPNP_SQPNP)
        _, rotation, translation = cv2.solvePnP(
            points, frame, intrinsics, undistorted, rotation, translation, useExtrinsicGuess=True
        )
        rotations.append(WORLD_FROM_CAMERA_AXES @ cv2.Rodrigues(rotation)[0])
        depth = max(float(translation[2, 0]), 0.05)
        places.append(focal * translation[:2, 0] / depth + intrinsics[:2, 2])
        sizes.append(focal / depth)
    axis_angles = matrix_to_axis_angle(torch.as_tensor(np.stack(rotations))).numpy()
    return axis_angles, np.stack(places), np.array(sizes)
