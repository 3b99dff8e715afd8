"""One head from several photographs: landmarks of all views together, then their pictures.

One identity and one expression, a pose, a gaze and a light per photograph. The fit is the tracker's (docs/tracking.md):
its photometric term carries the colours of the skin from every photograph to every other in which the same skin is
seen, and asks for one albedo. Landmarks are dense (`dense_landmarks/`) where the head model has them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from avatar.base.errors import InputError
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera, project
from avatar.geometry.meshes import vertex_normals
from avatar.geometry.rotations import yaw_of
from avatar.kernels.mesh.op import MeshQuery
from capture_tools.dense_landmarks.placing import place_dense_landmarks
from capture_tools.detect.landmark_detector import inside_picture
from capture_tools.detect.segmentation import PersonSegmenter, fill_holes, refine_mask
from capture_tools.detect.selection import Crop
from capture_tools.multiview.common_frame import SIDE, CommonFrame, common_frame, face_crop
from capture_tools.multiview.settings import ReconstructSettings
from capture_tools.photo import Photograph
from capture_tools.stages.tracking import track_with_progress
from capture_tools.track.clip_fit import UNKNOWN_LENS, TrackSettings
from capture_tools.track.clip_tracking import TrackResult
from capture_tools.track.energy import EnergyWeights
from capture_tools.track.photometric import Pictures

APART = 1000.0
"""Seconds between photographs, so that nothing is asked to be smooth from one to the next."""
KNOWN_LENS = 0.05
"""Standard deviation of the log focal length where the files tell it."""
PROFILE = np.deg2rad(55)
"""Yaw from which on a photograph shows one side of the face only."""
FACING, HIDDEN = 0.2, 0.004
"""Cosine to the viewer, and metres behind another surface, from which on a vertex is not seen."""
PHOTOGRAPH_WEIGHTS = EnergyWeights(offset=1.0)
"""A few photographs tell less of what the identity coefficients cannot say than a clip."""
COMMON = 0.15
"""Share of the smaller part of the face that two photographs must both show to be of use to each other."""


@dataclass(frozen=True)
class Reconstruction:
    """A head from N photographs."""

    track: TrackResult
    """The fit; one frame a photograph, in the pixels of the common frame."""
    vertices: np.ndarray
    """`[V, 3]` metres: the head with its expression, neither turned nor moved."""
    frame: CommonFrame
    crop: Crop
    images: np.ndarray
    """`[N, S, S, 3]` uint8: the crop of the common frame in each photograph."""
    landmarks: np.ndarray
    """`[N, 478, 2]` detected, pixels of the common frame."""
    dense: bool
    """Whether dense landmarks were fitted, or the detector's own."""
    seen: np.ndarray
    """`[N, V]` bool: vertices that each photograph shows."""


def reconstruct(
    photographs: list[Photograph],
    landmarks: list[np.ndarray],
    asset: HeadAsset,
    settings: ReconstructSettings | None = None,
    weights: EnergyWeights = PHOTOGRAPH_WEIGHTS,
) -> Reconstruction:
    """Fit one head to photographs of one person with detected landmarks, `[478, 2]` in the pixels of each.

    Raises InputError for a single profile, and for photographs that show no part of the face in common.
    """
    settings = settings or ReconstructSettings()
    frame = common_frame(photographs)
    placed = frame.to_frame(landmarks)
    hidden = np.stack([~inside_picture(m, *p.image.shape[1::-1]) for m, p in zip(landmarks, photographs, strict=True)])
    crop = face_crop(placed, frame.scales)
    images = frame.cut([p.image for p in photographs], crop)
    tracker = TrackSettings.of_photographs(
        focal_prior=frame.focal_prior,
        focal_deviation=KNOWN_LENS if frame.known else UNKNOWN_LENS,
        weights=weights,
    )
    pictures = Pictures(images, masks_of(images), crop) if settings.refine else None
    times = APART * np.arange(len(photographs))
    dense = place_dense_landmarks(asset, images, crop, placed)
    result = track_with_progress(
        *(placed, times, SIDE, SIDE, asset, tracker), occluded=hidden, pictures=pictures, dense=dense
    )
    seen = seen_vertices(asset, result)
    require_common_view(asset, result, seen)
    model = HeadModel(asset)
    with torch.no_grad():
        vertices = model(upright(result.params)).vertices[0].numpy()
    return Reconstruction(result, vertices, frame, crop, images, placed, dense is not None, seen)


def upright(params: HeadParameters) -> HeadParameters:
    """The first frame (N = 1) with the head neither turned nor moved, its eyes straight ahead."""
    first = params.frame(0)
    return replace(
        first, **{name: torch.zeros_like(getattr(first, name)) for name in ("rotation", "translation", "eyes")}
    )


def masks_of(images: np.ndarray) -> np.ndarray:
    """Masks `[N, S, S]` uint8 of the person in pictures `[N, S, S, 3]`."""
    with PersonSegmenter() as segmenter:
        return np.stack([fill_holes(refine_mask(segmenter.confidence(image), image)) for image in images])


def yaws(result: TrackResult) -> np.ndarray:
    """`[N]` radians by which each photograph sees the head from its left (positive) or right side."""
    return yaw_of(result.params.rotation).numpy()


@torch.no_grad()
def seen_vertices(asset: HeadAsset, result: TrackResult) -> np.ndarray:
    """`[N, V]` bool: vertices that face the camera of each frame and that nothing hides."""
    model, faces = HeadModel(asset), torch.as_tensor(asset.faces)
    query, camera = MeshQuery(faces), torch.tensor(result.camera.position).float()
    rows = []
    for i in range(len(result.params)):
        vertices = model(result.params.frame(i)).vertices[0]
        towards = vertices - camera
        distance = towards.norm(dim=-1)
        directions = towards / distance[:, None]
        hits = query.update(vertices).cast_rays(camera.expand_as(directions).contiguous(), directions)
        facing = -(vertex_normals(vertices, faces.long()) * directions).sum(-1)
        rows.append((facing > FACING) & (hits.depth > distance - HIDDEN))
    return torch.stack(rows).numpy()


def require_common_view(asset: HeadAsset, result: TrackResult, seen: np.ndarray) -> None:
    """Raise InputError where all photographs show one profile, or some share no part of the face with the others."""
    sides = yaws(result)
    if (np.abs(sides) > PROFILE).all() and len(set(np.sign(sides))) == 1:
        raise InputError(
            "the photographs show one side of the face only",
            expected=f"one photograph at least from less than {np.rad2deg(PROFILE):.0f} degrees aside",
            found=", ".join(f"{np.rad2deg(side):.0f}" for side in sides) + " degrees",
            fix="add a photograph from the front",
        )
    on_face = seen[:, asset.region("face") & ~asset.region("mouth_interior")]
    reached, left = {0}, set(range(1, len(on_face)))
    while joined := {b for b in left if any(common_share(on_face[a], on_face[b]) > COMMON for a in reached)}:
        reached, left = reached | joined, left - joined
    if left:
        raise InputError(
            "some photographs share no part of the face with the others",
            expected="each to show skin that another one shows too",
            found=f"number {', '.join(str(i + 1) for i in sorted(left))} apart from the first",
            fix="add a photograph from between them, such as one from the front",
        )


def common_share(first: np.ndarray, second: np.ndarray) -> float:
    """What two photographs with vertices `[V]` bool both show, as a share of what the one shows that shows less."""
    return float((first & second).sum() / max(min(first.sum(), second.sum()), 1))


def photograph_camera(made: Reconstruction, index: int, width: int, height: int) -> Camera:
    """The camera of photograph `index`, of `width` x `height` pixels, in the head's world."""
    camera, scale = made.track.camera, made.frame.scales[index]
    middle = made.frame.middles[index]
    return replace(
        camera,
        width=width,
        height=height,
        fl_x=camera.fl_x / scale,
        fl_y=camera.fl_y / scale,
        cx=float(middle[0]),
        cy=float(middle[1]),
    )


def landmarks_in_photograph(made: Reconstruction, asset: HeadAsset, index: int, camera: Camera) -> np.ndarray:
    """Projected landmarks `[478, 2]` of the head in photograph `index`, its pixels."""
    model = HeadModel(asset)
    with torch.no_grad():
        points = model.landmarks(model(made.track.params.frame(index)).vertices)[0]
    return project(points, camera)[0].numpy()
