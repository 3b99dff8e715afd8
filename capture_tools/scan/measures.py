"""How far a scan lies from a registered head: NoW's crop of the face, the face and the whole head.

The crop is that of the NoW benchmark (Sanyal et al., CVPR 2019): a ball around the nose bottom moved by 0.3 of the
way to the nose bridge, of radius 0.7 (distance of the outer eye corners + length of the nose). Distances are
unsigned, from points of the scan to the head's surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.landmarks import surface_points
from avatar.kernels.mesh.op import MeshQuery
from capture_tools.scan.matching import HeadSurface
from capture_tools.scan.sampling import Samples

NOSE_BRIDGE, NOSE_BOTTOM, OUTER_EYES = 27, 33, (36, 45)
"""Among iBUG's 68."""
HEAD_REACH = 0.03
"""Metres: what lies farther from the head is hair, clothing or another thing."""
WHOLE = ("face_crop", "face", "head")


@dataclass(frozen=True)
class Distances:
    """Distances of samples to a head."""

    millimetres: np.ndarray
    """`[N]`."""
    areas: dict[str, np.ndarray]
    """Which samples belong to each of `face_crop`, `face` and `head`, bool `[N]`."""

    def summary(self) -> dict[str, dict[str, float] | None]:
        """Median, mean and 95th percentile in millimetres of each area, and the number of samples."""
        return {name: summary_of(self.millimetres[chosen]) for name, chosen in self.areas.items()}


def summary_of(millimetres: np.ndarray) -> dict[str, float] | None:
    """Median, mean and 95th percentile of distances; None where there are none."""
    if not len(millimetres):
        return None
    return {
        "median": round(float(np.median(millimetres)), 4),
        "mean": round(float(millimetres.mean()), 4),
        "p95": round(float(np.percentile(millimetres, 95)), 4),
        "points": len(millimetres),
    }


def face_crop(landmarks: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre `[3]` and radius of NoW's crop, from iBUG's 68 landmarks `[68, 3]`, in their unit."""
    bottom, bridge = landmarks[NOSE_BOTTOM], landmarks[NOSE_BRIDGE]
    eyes = np.linalg.norm(landmarks[OUTER_EYES[0]] - landmarks[OUTER_EYES[1]])
    return bottom + 0.3 * (bridge - bottom), float(0.7 * (eyes + np.linalg.norm(bridge - bottom)))


def head_distances(asset: HeadAsset, surface: HeadSurface, vertices: np.ndarray, samples: Samples) -> Distances:
    """Distances of samples to a head with `vertices` `[V, 3]` in the same frame, metres.

    `face`: samples whose closest point is on the region of that name, the forehead included; `head`: those within 30 mm
    of the outer surface and not beyond its border.
    """
    faces = torch.as_tensor(asset.faces)
    query = MeshQuery(faces).update(torch.as_tensor(vertices, dtype=torch.float32))
    closest = query.closest_points(torch.as_tensor(samples.points, dtype=torch.float32))
    ibug = surface_points(vertices, asset.faces, asset.ibug_faces, asset.ibug_barycentrics)
    centre, radius = face_crop(ibug)
    corners = asset.faces[closest.face.numpy()]
    face = asset.region("face")[corners].all(1) & (closest.distance.numpy() < HEAD_REACH)
    matched = np.zeros(len(samples), bool)
    matched[surface.match(vertices, samples, HEAD_REACH).sample] = True
    inside = np.linalg.norm(samples.points - centre, axis=1) < radius
    areas = {"face_crop": inside, "face": face & matched, "head": matched}
    return Distances(1000 * closest.distance.numpy().astype(np.float64), areas)
