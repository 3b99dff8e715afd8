"""What is known of a person from scans that were registered before: template, texture, and where the last one was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from capture_tools.scan.landmarks import ScanLandmarks
from capture_tools.scan.surface_colours import SurfaceColours


@dataclass(frozen=True)
class Person:
    """One person, for further scans."""

    template: np.ndarray
    """`[V, 3]` float64 metres: the person at rest."""
    shape: np.ndarray
    """`[S]` shape coefficients closest to it."""
    colours: SurfaceColours | None = None
    """The registered texture."""

    def head(self, asset: HeadAsset) -> HeadAsset:
        """The head model with the person as its template; fingerprint and all else are those of `asset`."""
        return replace(asset, template=self.template.astype(np.float32))


@dataclass(frozen=True)
class Last:
    """Another scan of the same person: the next one is looked for where it was, and is as large."""

    scan_to_model: np.ndarray
    """`[4, 4]` with scale."""
    params: HeadParameters | None = None
    """One frame, from whose expression and pose the next fit starts."""


@dataclass(frozen=True)
class Hints:
    """What is known of a scan before it is registered."""

    landmarks: ScanLandmarks | None = None
    """In the scan's own frame. They are found on the scan by default."""
    person: Person | None = None
    """From other scans of the same person: the template takes the place of the model's shape, and the vertices are
    aligned with the texture."""
    last: Last | None = None
    """Another scan of the same person, which this one starts from."""


@torch.no_grad()
def personal_template(
    asset: HeadAsset, made: Sequence[tuple[np.ndarray, HeadParameters]]
) -> tuple[np.ndarray, np.ndarray]:
    """The template `[V, 3]` of a person and the shape coefficients `[S]`, from coupled fits of neutral scans.

    made: vertices `[V, 3]` and the parameters of the closest model, of each scan. The vertices' displacements from the
    model are taken back to the rest pose, and their mean is added to the mean shape.
    """
    model = HeadModel(asset)
    shape = torch.stack([params.shape for _, params in made]).mean(0)
    offsets = []
    for vertices, params in made:
        pose = model(params)
        blended = torch.einsum("vj,jab->vab", model.weights, pose.world_from_joint[0, :, :3, :3]).double().numpy()
        off = vertices - pose.vertices[0].double().numpy()
        offsets.append(np.linalg.solve(blended, off[..., None])[..., 0])
    shaped = asset.template + asset.shapedirs @ shape.numpy()
    return shaped.astype(np.float64) + np.mean(offsets, axis=0), shape.double().numpy()
