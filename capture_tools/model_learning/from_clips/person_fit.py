"""One clip's person by the present model: one identity, and pose, expression, jaw, gaze and light of every frame.

The energy is the tracker's (docs/tracking.md): landmarks, one albedo for all frames under the light of each, priors.
The identity is what the model's directions say plus a smooth displacement (the tracker's static offset), so that
directions which the model lacks can be seen at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.kernels.runtime.threads import one_torch_thread
from capture_tools.model_learning.from_clips.albedo import SeenAlbedo, see_albedo
from capture_tools.model_learning.from_clips.reading import Clip
from capture_tools.track.clip_fit import ClipFit, TrackSettings
from capture_tools.track.energy import EnergyWeights
from capture_tools.track.photometric import PhotometricTerm

FOCAL_DEVIATION = 0.05
"""Standard deviation of the log focal length around the capture's."""
CARRIED = ("rotation", "place", "size", "focal", "expr", "jaw", "gaze")
"""Variables of a fit that the next one starts from."""


@dataclass(frozen=True)
class PersonFit:
    """What one clip says of its person."""

    name: str
    displaced: Tensor
    """`[V, 3]` float64 metres: neutral head minus the template."""
    shape: Tensor
    """`[S]` identity coefficients in the model of the fit."""
    albedo: SeenAlbedo
    state: Mapping[str, Tensor]
    """Variables for the next fit."""
    landmark_error: float
    """Mean distance between landmarks and the head's, over the eye distance."""
    parameters: HeadParameters
    """Of all frames; the camera is at the origin and looks along -z."""


def fit_person(
    clip: Clip,
    asset: HeadAsset,
    *,
    offset_weight: float | None = None,
    shape_weight: float = 1.0,
    start: Mapping[str, Tensor] | None = None,
    pictures: bool = True,
) -> PersonFit:
    """Fit a model to a clip of one frame or many.

    offset_weight: of the free displacement's squared latents; None for no displacement, the model alone. shape_weight:
    of the squared identity coefficients. start: the state of an earlier fit of the clip. pictures: whether the
    photometric term counts.
    """
    steps = (60, 130, 120, 120) if start is None else (0, 30, 90, 100)
    weights = EnergyWeights(shape=shape_weight, offset=offset_weight or 1.0)
    settings = TrackSettings(
        *steps,
        focal_prior=clip.focal / clip.side,
        focal_deviation=FOCAL_DEVIATION,
        weights=weights,
        static_offset=offset_weight is not None,
    )
    with one_torch_thread():
        fit = ClipFit(clip.landmarks, clip.times, clip.side, clip.side, asset, settings, clip.hidden, clip.dense)
        for name, value in (start or {}).items():
            fit.v[name].data.copy_(value)
        term = PhotometricTerm(asset, fit.space, clip.pictures, fit.scale, own_light=True)
        fit.run(lambda done, note: None, term if pictures else None)
        parameters = fit.parameters(with_offset=True).detach()
        lights = term.light_of(parameters, fit.project)
        lights = lights if lights.ndim == 3 else np.broadcast_to(lights, (len(clip.times), *lights.shape))
        albedo = see_albedo(clip, asset, parameters, float(fit.focal().detach()), lights)
        errors = (fit.project(fit.model.landmarks(fit.model(parameters).vertices)) - fit.detected).norm(dim=-1)
    shape = parameters.shape.double()
    displaced = torch.as_tensor(asset.shapedirs).double() @ shape
    if parameters.static_offset is not None:
        displaced = displaced + parameters.static_offset.double()
    state = {name: fit.v[name].detach().clone() for name in CARRIED}
    error = float((errors.mean(-1) / fit.unit).mean().detach())
    return PersonFit(clip.name, displaced, shape, albedo, state, error, replace(parameters, static_offset=None))
