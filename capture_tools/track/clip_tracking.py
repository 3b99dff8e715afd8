"""Whole-clip FLAME tracking: one joint fit of person, focal length and every frame, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from avatar.base.errors import InputError
from avatar.flame.assets import HeadAsset
from avatar.flame.landmark_sets import inter_ocular_distance
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from avatar.kernels.runtime.threads import one_torch_thread
from capture_tools.dense_landmarks.placing import DenseLandmarks
from capture_tools.track.clip_fit import WORLD_FROM_CAMERA_AXES, ClipFit, TrackSettings
from capture_tools.track.photometric import PhotometricTerm, Pictures

__all__ = ["TrackResult", "TrackSettings", "step_count", "track"]

PER_FRAME = ("projected", "errors", "errors_iod", "facing")
"""Arrays of a TrackResult with one row per frame."""


@dataclass
class TrackResult:
    """The fit of N frames. Pixels are those of the source frames."""

    params: HeadParameters
    camera: Camera
    """Fixed at (0, 0, d), looking at the origin; d makes the mean head translation zero in z."""
    projected: np.ndarray
    """`[N, 478, 2]` float32 projected landmarks of the fitted heads, pixels."""
    errors: np.ndarray
    """`[N, 478]` float32 distance of projected to detected landmark, pixels; NaN in frames without a face."""
    errors_iod: np.ndarray
    """`[N]` mean of the errors over the frame's eye distance; NaN in frames without a face."""
    facing: np.ndarray
    """`[N, 478]` bool: the landmark's skin faces the camera."""
    light: np.ndarray | None = None
    """`[9, 3]` light on the face (photometric.PhotometricTerm.light_of), of photographs `[N, 9, 3]`; None without
    pictures."""

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a file."""
        p, c = self.params, self.camera
        arrays = {f"params.{f.name}": getattr(p, f.name) for f in fields(p) if getattr(p, f.name) is not None}
        lens = np.array([c.width, c.height, c.fl_x, c.fl_y, c.cx, c.cy])
        own = {name: getattr(self, name) for name in (*PER_FRAME, "light") if getattr(self, name) is not None}
        return (
            {key: np.asarray(value) for key, value in arrays.items()} | own | {"lens": lens, "pose": c.world_from_cam}
        )

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray]) -> TrackResult:
        """The inverse of `to_arrays`."""
        held = {key[7:]: torch.as_tensor(value) for key, value in arrays.items() if key.startswith("params.")}
        width, height, fl_x, fl_y, cx, cy = (float(v) for v in arrays["lens"])
        camera = Camera(int(width), int(height), fl_x, fl_y, cx, cy, arrays["pose"])
        per_frame = {key: arrays[key] for key in PER_FRAME}
        return TrackResult(HeadParameters(**held), camera, **per_frame, light=arrays.get("light"))

    @property
    def landmark_error_px(self) -> float:
        """Mean landmark distance, pixels."""
        return float(np.nanmean(self.errors))

    @property
    def landmark_error_iod(self) -> float:
        """Mean landmark distance over the eye distance."""
        return float(np.nanmean(self.errors_iod))


def track(
    pixels: np.ndarray,
    times: np.ndarray,
    width: int,
    height: int,
    asset: HeadAsset,
    settings: TrackSettings | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    occluded: np.ndarray | None = None,
    pictures: Pictures | None = None,
    dense: DenseLandmarks | None = None,
) -> TrackResult:
    """Fit a head model to a clip.

    Args:
        pixels: `[N, 478, 2]` landmarks (pixel centres at 0.5), NaN in frames without a face; those frames get an
            interpolated pose.
        times: `[N]` seconds, increasing.
        width, height: size of the frames; the principal point is their centre.
        asset: a head with a landmark embedding.
        progress: called with (steps done, total steps, a note).
        occluded: `[N, 478]` bool: hidden landmarks; they carry no weight.
        pictures: the N frames, for the photometric stage, which is skipped without them.
        dense: dense landmarks of the N frames, fitted in place of the detected ones.

    Raises HeadModelError for a head without landmarks, InputError when no frame has a face.
    """
    settings = settings or TrackSettings()
    asset.require_landmarks()
    if not np.isfinite(pixels).all(axis=(1, 2)).any():
        raise InputError(
            "no frame shows a face", expected="a face in at least one frame", found=f"{len(pixels)} frames"
        )
    total = step_count(settings, pictures is not None)
    with one_torch_thread():
        fit = ClipFit(pixels, times, width, height, asset, settings, occluded, dense)
        photometric = None
        if pictures is not None:
            photometric = PhotometricTerm(asset, fit.space, pictures, fit.scale, settings.photographs)
        fit.run(lambda done, note: progress and progress(done, total, note), photometric)
        result = result_of(fit)
        if photometric is None:
            return result
        return replace(result, light=photometric.light_of(fit.parameters(with_offset=True).detach(), fit.project))


def step_count(settings: TrackSettings, with_pictures: bool) -> int:
    """Number of steps of `track`."""
    plain = settings.rigid_steps + settings.face_steps + settings.offset_steps
    return plain + (settings.photometric_steps // 2 * 2 if with_pictures else 0)


@torch.no_grad()
def result_of(fit: ClipFit) -> TrackResult:
    """The result of a finished fit, in the world whose camera lies on the z axis."""
    p = fit.parameters(with_offset=True).detach()
    vertices = fit.model(p).vertices
    projected = fit.project(fit.model.landmarks(vertices))
    errors = (projected - fit.detected).norm(dim=-1)
    errors[fit.seen == 0] = torch.nan
    eyes = torch.as_tensor(inter_ocular_distance(fit.detected.numpy()))
    seen = fit.seen > 0
    distance = -p.translation[seen, 2].mean()
    pose = np.eye(4)
    pose[:3, :3] = WORLD_FROM_CAMERA_AXES
    pose[2, 3] = float(distance)
    focal = float(fit.focal())
    camera = Camera(fit.width, fit.height, focal, focal, fit.width / 2, fit.height / 2, pose)
    moved = p.translation + torch.tensor([0.0, 0.0, float(distance)])
    return TrackResult(
        params=replace(p, translation=moved),
        camera=camera,
        projected=projected.numpy().astype(np.float32),
        errors=errors.numpy().astype(np.float32),
        errors_iod=(errors.mean(-1) / eyes).numpy().astype(np.float32),
        facing=(fit.facing(vertices) > 0).numpy(),
    )
