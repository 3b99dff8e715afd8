"""Whole-clip FLAME tracking from landmarks: one joint fit of the person, the lens and every frame.

Identity, focal length and a smooth static offset are shared by the clip; head pose, expression, jaw and eyes are per
frame and smooth in time. Adam over all of them at once, in stages (rigid, then the face, then the offset), on the
vertices that carry landmarks only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor

from avatar.data.landmark_sets import inter_ocular_distance
from avatar.errors import HeadModelError, InputError
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters, landmark_vertices
from avatar.geometry.cameras import Camera
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatar.kernels.threads import one_torch_thread
from capture_tools.energy import (
    EnergyWeights,
    ExpressionPrior,
    landmark_term,
    landmark_weights,
    opening_term,
    pose_prior,
    smoothness,
)
from capture_tools.landmark_head import LandmarkHead
from capture_tools.offset_space import offset_space

WORLD_FROM_CAMERA_AXES = np.diag([1.0, -1.0, -1.0])
"""The camera looks along -z of the world with y up: OpenCV's axes flipped, its own inverse."""


@dataclass(frozen=True)
class TrackSettings:
    """How the tracker fits a clip."""

    rigid_steps: int = 120
    """Steps for pose, focal length and identity alone."""
    face_steps: int = 350
    """Steps with expression, jaw and eyes."""
    offset_steps: int = 430
    """Steps with the static offset; the learning rate falls to a twentieth over them."""
    focal_prior: float = 1.4
    """Expected focal length over the longer side of the frame, where the clip does not tell."""
    weights: EnergyWeights = field(default_factory=EnergyWeights)
    """Deviations and weights of the energy."""


@dataclass
class TrackResult:
    """The fit of N frames. Pixels are those of the frames the landmarks were given in."""

    params: HeadParameters
    camera: Camera
    """Fixed at (0, 0, d), looking at the origin; d makes the mean head translation zero in z."""
    projected: np.ndarray
    """`[N, 478, 2]` float32 landmarks of the fitted heads, pixels."""
    errors: np.ndarray
    """`[N, 478]` float32 distance of projected to detected landmark, pixels; NaN in frames without a face."""
    errors_iod: np.ndarray
    """`[N]` mean of the errors over the frame's eye distance; NaN in frames without a face."""
    facing: np.ndarray
    """`[N, 478]` bool: the landmark's skin is turned towards the camera."""

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a file."""
        p, c = self.params, self.camera
        arrays = {f"params.{f.name}": getattr(p, f.name) for f in fields(p) if getattr(p, f.name) is not None}
        lens = np.array([c.width, c.height, c.fl_x, c.fl_y, c.cx, c.cy])
        own = {"projected": self.projected, "errors": self.errors, "errors_iod": self.errors_iod, "facing": self.facing}
        return (
            {key: np.asarray(value) for key, value in arrays.items()} | own | {"lens": lens, "pose": c.world_from_cam}
        )

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> TrackResult:
        """The inverse of `to_arrays`."""
        held = {key[7:]: torch.as_tensor(value) for key, value in arrays.items() if key.startswith("params.")}
        width, height, *lens = (float(v) for v in arrays["lens"])
        camera = Camera(int(width), int(height), *lens, arrays["pose"])
        own = (arrays[key] for key in ("projected", "errors", "errors_iod", "facing"))
        return TrackResult(HeadParameters(**held), camera, *own)

    @property
    def landmark_error_px(self) -> float:
        return float(np.nanmean(self.errors))

    @property
    def landmark_error_iod(self) -> float:
        return float(np.nanmean(self.errors_iod))


def track(
    pixels: np.ndarray,
    times: np.ndarray,
    width: int,
    height: int,
    asset: HeadAsset,
    settings: TrackSettings | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> TrackResult:
    """Fit a head model to the landmarks of a clip taken by a fixed camera.

    Args:
        pixels: `[N, 478, 2]` landmarks (pixel centres at 0.5), NaN in frames without a face; those frames get a pose
            carried over from their neighbours.
        times: `[N]` seconds, increasing.
        width, height: size of the frames; the principal point is their centre.
        asset: a head with a landmark embedding.
        progress: called with (steps done, steps in all, a note).

    Raises HeadModelError for a head without landmarks, InputError when no frame has a face.
    """
    settings = settings or TrackSettings()
    if not asset.has_landmarks():
        raise HeadModelError(
            f"the head model {asset.name} has no landmark embedding", fix="import it again: avatar model import FILE"
        )
    if not np.isfinite(pixels).all(axis=(1, 2)).any():
        raise InputError(
            "no frame shows a face", expected="a face in at least one frame", found=f"{len(pixels)} frames"
        )
    fit = _Fit(pixels, times, width, height, asset, settings)
    with one_torch_thread():
        fit.run(progress)
    return fit.result()


class _Fit:
    """The variables of one clip and their optimisation.

    The head's centre is held as its place in the image and its size in pixels per metre, so that the focal length can
    change without moving or scaling the picture of the head.
    """

    def __init__(
        self, pixels: np.ndarray, times: np.ndarray, width: int, height: int, asset: HeadAsset, settings: TrackSettings
    ) -> None:
        self.asset, self.settings, self.w = asset, settings, settings.weights
        self.width, self.height = width, height
        self.model = HeadModel(asset, landmark_vertices(asset))
        self.prior = ExpressionPrior.of(asset)
        self.space = offset_space(asset)
        self.head = LandmarkHead(asset, self.space.basis)
        self.times = torch.as_tensor(np.asarray(times), dtype=torch.float32)
        seen = np.isfinite(pixels).all(axis=(1, 2))
        filled = _fill_gaps(pixels, seen, np.asarray(times, np.float64))
        self.seen = torch.as_tensor(seen, dtype=torch.float32)
        self.detected = torch.as_tensor(filled, dtype=torch.float32)
        eyes = inter_ocular_distance(filled)
        # A turned head brings the eyes together; the clip's scale keeps its noise from being counted up.
        self.unit = torch.as_tensor(np.maximum(eyes, 0.7 * np.median(eyes[seen])), dtype=torch.float32)
        self.scale = float(np.median(eyes[seen]))
        self.base_weights = landmark_weights()
        self.focal_prior = settings.focal_prior * max(width, height)
        self.principal = torch.tensor([width / 2, height / 2])
        with torch.no_grad():
            rest = self.model(HeadParameters.neutral(asset))
            self.root = rest.joints[0, 0]
            corners = self.model.landmarks(rest.vertices)[0]
            self.centre = corners.mean(0)
        self._initialise(filled, corners.numpy())

    def _initialise(self, filled: np.ndarray, template: np.ndarray) -> None:
        rotations, places, sizes = _pose_by_pnp(
            filled, template, self.centre.numpy(), self.focal_prior, self.width, self.height
        )
        count = len(filled)

        def variable(value: Tensor | np.ndarray) -> Tensor:
            return torch.as_tensor(value, dtype=torch.float32).clone().requires_grad_()

        self.v = {
            "rotation": variable(rotations),
            "place": variable(places / self.scale),
            "size": variable(np.log(sizes)),
            "focal": variable(torch.zeros(())),
            "shape": variable(torch.zeros(self.asset.shape_count)),
            "expr": variable(torch.zeros(count, self.asset.expression_count)),
            "jaw": variable(torch.zeros(count, 3)),
            "gaze": variable(torch.zeros(count, 4)),
            "offset": variable(torch.zeros(self.space.count, 3)),
        }

    def focal(self) -> Tensor:
        return self.focal_prior * self.v["focal"].exp()

    def parameters(self, with_offset: bool) -> HeadParameters:
        """The variables as FLAME parameters; translations are relative to a camera at the world's origin."""
        v = self.v
        focal = self.focal()
        depth = focal / v["size"].exp()
        place = (v["place"] * self.scale - self.principal) * (depth / focal)[:, None]
        centre = torch.stack([place[:, 0], -place[:, 1], -depth], -1)
        arm = self.centre - self.root
        turned = (axis_angle_to_matrix(v["rotation"]) @ arm[:, None]).squeeze(-1)
        zero = torch.zeros_like(v["gaze"][:, :1])
        return HeadParameters(
            shape=v["shape"],
            expr=v["expr"],
            rotation=v["rotation"],
            translation=centre - self.root - turned,
            neck=torch.zeros_like(v["jaw"]),
            jaw=v["jaw"],
            eyes=torch.cat([v["gaze"][:, :2], zero, v["gaze"][:, 2:], zero], -1),
            static_offset=self.space.offsets(v["offset"]) if with_offset else None,
        )

    def project(self, points: Tensor) -> Tensor:
        """World points `[N, P, 3]` seen by a camera at the origin that looks along -z: pixels `[N, P, 2]`."""
        depth = (-points[..., 2]).clamp(min=1e-3)
        flat = torch.stack([points[..., 0], -points[..., 1]], -1)
        return self.focal() * flat / depth[..., None] + self.principal

    def energy(self, weights: Tensor, with_offset: bool) -> Tensor:
        v, w = self.v, self.w
        p = self.parameters(with_offset=False)
        points = self.head.landmarks(p, v["offset"] if with_offset else None)
        residual = (self.project(points) - self.detected) / self.unit[:, None, None]
        total = landmark_term(residual, weights, w) + opening_term(residual, self.seen, w)
        total = total + w.shape * v["shape"].square().sum() + (v["focal"] / w.focal).square()
        total = total + self.prior.energy(v["expr"], w) + pose_prior(p.jaw, p.eyes, w)
        pose = torch.cat([v["rotation"], v["place"], v["size"][:, None]], -1)
        total = total + smoothness(pose, self.times, w.smooth_pose)
        face = torch.cat([v["expr"], v["jaw"] / 0.4, v["gaze"]], -1)
        total = total + smoothness(face, self.times, w.smooth_expression)
        if with_offset:
            total = total + w.offset * v["offset"].square().sum()
            total = total + (self.space.orbit @ v["offset"][:, 2] / w.orbit).square().sum()
        return total

    def run(self, progress: Callable[[int, int, str], None] | None) -> None:
        s = self.settings
        stages = (
            (s.rigid_steps, ("rotation", "place", "size", "focal", "shape"), 1.0, 1.0),
            (s.face_steps, ("rotation", "place", "size", "focal", "shape", "expr", "jaw", "gaze"), 1.0, 0.5),
            (s.offset_steps, tuple(self.v), 0.7, 0.05),
        )
        rates = {
            "rotation": 0.01,
            "place": 0.01,
            "size": 0.005,
            "focal": 0.01,
            "shape": 0.05,
            "expr": 0.02,
            "jaw": 0.01,
            "gaze": 0.015,
            "offset": 0.1,
        }
        total, done = sum(stage[0] for stage in stages), 0
        for steps, names, first, last in stages:
            groups = [{"params": [self.v[name]], "lr": rates[name], "base": rates[name]} for name in names]
            adam = torch.optim.Adam(groups, betas=(0.9, 0.99))
            with_offset = "offset" in names
            for step in range(steps):
                if step % 60 == 0:
                    weights = self.landmark_weights(with_offset)
                fall = first * (last / first) ** (step / max(1, steps - 1))
                for group in adam.param_groups:
                    group["lr"] = group["base"] * fall
                adam.zero_grad()
                energy = self.energy(weights, with_offset)
                energy.backward()
                adam.step()
                done += 1
                if progress is not None and done % 20 == 0:
                    progress(done, total, f"energy {float(energy.detach()):.1f}")

    @torch.no_grad()
    def landmark_weights(self, with_offset: bool) -> Tensor:
        """`[N, 478]`: the fixed weights, less where the skin turns away, none in frames without a face."""
        facing = self.facing(self.model(self.parameters(with_offset)).vertices)
        turned = (facing / 0.3).clamp(0.1, 1.0)
        return self.base_weights * turned * self.seen[:, None]

    def facing(self, vertices: Tensor) -> Tensor:
        """Cosine `[N, 478]` between each landmark's triangle normal and the way to the camera at the origin."""
        a, b, c = vertices[:, self.model.mediapipe_corners].unbind(2)
        normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
        return -(normal * torch.nn.functional.normalize(a, dim=-1)).sum(-1)

    @torch.no_grad()
    def result(self) -> TrackResult:
        p = self.parameters(with_offset=True).detach()
        vertices = self.model(p).vertices
        projected = self.project(self.model.landmarks(vertices))
        errors = (projected - self.detected).norm(dim=-1)
        errors[self.seen == 0] = torch.nan
        eyes = torch.as_tensor(inter_ocular_distance(self.detected.numpy()))
        seen = self.seen > 0
        distance = -p.translation[seen, 2].mean()
        pose = np.eye(4)
        pose[:3, :3] = WORLD_FROM_CAMERA_AXES
        pose[2, 3] = float(distance)
        focal = float(self.focal())
        camera = Camera(self.width, self.height, focal, focal, self.width / 2, self.height / 2, pose)
        moved = p.translation + torch.tensor([0.0, 0.0, float(distance)])
        return TrackResult(
            params=replace(p, translation=moved),
            camera=camera,
            projected=projected.numpy().astype(np.float32),
            errors=errors.numpy().astype(np.float32),
            errors_iod=(errors.mean(-1) / eyes).numpy().astype(np.float32),
            facing=(self.facing(vertices) > 0).numpy(),
        )


def _fill_gaps(pixels: np.ndarray, seen: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Frames without a face get landmarks between their neighbours'; they carry no weight in the fit."""
    filled = np.asarray(pixels, np.float64).reshape(len(pixels), -1).copy()
    if not seen.all():
        for column in range(filled.shape[1]):
            filled[~seen, column] = np.interp(times[~seen], times[seen], filled[seen, column])
    return filled.reshape(pixels.shape)


def _pose_by_pnp(
    pixels: np.ndarray, template: np.ndarray, centre: np.ndarray, focal: float, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rigid poses of the template: rotations `[N, 3]` (world), image place `[N, 2]` and pixels per metre `[N]`."""
    import cv2

    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    points = (template - centre).astype(np.float64)
    rotations, places, sizes = [], [], []
    for frame in pixels:
        _, turn, shift = cv2.solvePnP(points, frame, intrinsics, None, flags=cv2.SOLVEPNP_SQPNP)
        _, turn, shift = cv2.solvePnP(points, frame, intrinsics, None, turn, shift, useExtrinsicGuess=True)
        rotations.append(WORLD_FROM_CAMERA_AXES @ cv2.Rodrigues(turn)[0])
        depth = max(float(shift[2, 0]), 0.05)
        places.append(focal * shift[:2, 0] / depth + intrinsics[:2, 2])
        sizes.append(focal / depth)
    turns = matrix_to_axis_angle(torch.as_tensor(np.stack(rotations))).numpy()
    return turns, np.stack(places), np.array(sizes)
