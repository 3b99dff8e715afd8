"""The albedo of a head: a texture in its UV, averaged over the frames that see each texel best, and completed.

Every texel is a surface point, tracked through two dozen frames spread over the yaw of the head. Its colour over the
light at its normal estimates the albedo in each frame. Oblique, occluded and outlying observations count less. What no
frame shows is the other side of the head, as bright as its surroundings; what neither side shows is filled in smoothly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from avatar.base.files import write_json
from avatar.data.capture_arrays import write_arrays
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.cameras import Camera, project
from avatar.geometry.meshes import face_normals, vertex_normals
from avatar.kernels.harmonics.op import spherical_harmonics
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate
from avatar.kernels.runtime.threads import one_torch_thread
from avatar.media.images import linear_image, to_srgb, to_uint8, write_png
from capture_tools.camera.background import fill_smoothly
from capture_tools.track.photometric import HIDDEN, MASK_INSIDE, look_up

FOLDER, ALBEDO, SEEN, LIGHT = "appearance", "albedo.png", "seen.png", "light.json"
SIZES = ((384, 512), (768, 1024), (4096, 2048))
"""(largest crop size, texture size), pixels."""
FRAMES = 24
RATIOS = (0.7, 1.4)
"""Least and most by which the albedo of one side may be that of the other where it is mirrored."""
ODD = 0.15
"""Relative difference from the mean albedo from which on an observation counts less."""
DARK = 0.02
NO_SKIN = ("eyeballs", "teeth", "tongue", "mouth_interior")
"""Regions whose colour is no skin's: they move on their own, or lie in the dark."""
MINIMAL_SHADE = 0.1
SEEN_FROM, SEEN_WELL = 0.05, 0.4
"""Sums of squared cosines between skin and view over the frames: seen at all from the first, well from the second."""


@dataclass(frozen=True)
class Completion:
    """What completes textures."""

    name: str
    """Which texture space it is."""
    complete: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """A texture `[T, T, 3]` (sRGB in [0, 1]) and how well it was seen `[T, T]` -> the texture with unseen texels filled
    in."""


@dataclass(frozen=True)
class SurfaceSamples:
    """Surface points: those of texels, or the vertices."""

    face: Tensor
    """`[P]`."""
    barycentrics: Tensor
    """`[P, 3]`."""
    place: Tensor
    """`[P]`: row-major index of the texel, or the vertex."""

    def select(self, mask: Tensor) -> SurfaceSamples:
        return SurfaceSamples(self.face[mask], self.barycentrics[mask], self.place[mask])


@dataclass(frozen=True)
class Albedo:
    """Albedo of P surface points."""

    linear: np.ndarray
    """`[P, 3]` float32."""
    seen: np.ndarray
    """`[P]` bool."""
    weight: np.ndarray
    """`[P]` float32: sum over the frames of the squared cosine between skin and view, where it was shown."""


def write_appearance(
    capture: Path,
    asset: HeadAsset,
    params: HeadParameters,
    camera: Camera,
    images: np.ndarray,
    masks: np.ndarray,
    light: np.ndarray,
    completion: Completion | None = None,
) -> dict[str, object]:
    """Write `appearance/`: albedo.png in the head's UV (albedo.npz per vertex for heads without), and light.json.

    `seen.png` says how well the frames show each texel of albedo.png, 255 well and 0 not at all.

    Args:
        params, camera: N frames and the fixed camera they were tracked with.
        images, masks: `[N, S, S, 3]` and `[N, S, S]` uint8 of that camera.
        light: `[9, 3]` coefficients of spherical harmonics (photometric.PhotometricTerm.light_of).
        completion: completes unseen skin and hair; without it they are the other side's, or filled in smoothly.
            Heads without UV have none.

    Returns the entry `appearance` of report.json. Raises OutputError where a file cannot be written.
    """
    folder = Path(capture) / FOLDER
    has_uv = asset.uv is not None and asset.uv_faces is not None
    size = next(size for most, size in SIZES if camera.width <= most)
    everything = texels(asset, size) if has_uv else vertices_as_samples(asset)
    with one_torch_thread():
        samples = everything.select(_ever_facing(asset, params, camera)[everything.face])
        albedo = gather_albedo(asset, samples, params, camera, images, masks, torch.as_tensor(light))
    if has_uv:
        texture, known = np.zeros((size * size, 3), np.float32), np.zeros(size * size, bool)
        texture[samples.place], known[samples.place] = albedo.linear, albedo.seen
        texture, known = texture.reshape(size, size, 3), known.reshape(size, size)
        weight = np.zeros(size * size, np.float32)
        weight[samples.place] = how_well_seen(albedo.weight)
        weight = weight.reshape(size, size)
        filled = completed_plainly(texture, known, has_symmetric_map(asset))
        if completion is not None:  # of skin and hair: eyes differ from person to person, and few show their teeth
            by_space = completion.complete(to_srgb(texture.clip(0, 1)).astype(np.float32), weight)
            filled = np.where(_no_skin(asset, everything, size)[..., None], filled, by_space)
        name = write_png(folder / ALBEDO, to_uint8(filled)).name
        write_png(folder / SEEN, to_uint8(weight))
    else:
        name = "albedo.npz"
        linear, seen = np.zeros((asset.vertex_count, 3), np.float32), np.zeros(asset.vertex_count, bool)
        linear[samples.place], seen[samples.place] = albedo.linear, albedo.seen
        write_arrays(folder / name, {"linear": linear, "seen": seen})
    write_json(
        folder / LIGHT,
        {
            "harmonics": np.asarray(light).tolist(),
            "uv_fingerprint": asset.uv_fingerprint,
            "texture_space": completion.name if completion is not None and has_uv else None,
            "basis": "real spherical harmonics up to degree 2 of the skin's normal in the tracked camera's world (x "
            "right, y up, z towards the camera), in the order of avatar.kernels.harmonics",
            "meaning": "linear colour = albedo * sum over the nine of harmonic * coefficient, one column per channel",
        },
    )
    said: dict[str, object] = {
        "albedo": f"{FOLDER}/{name}",
        "light": f"{FOLDER}/{LIGHT}",
        "seen_share": float(albedo.seen.mean()),
        "uv_fingerprint": asset.uv_fingerprint,
    }
    if has_uv:
        said["seen"] = f"{FOLDER}/{SEEN}"
        said["texture_space"] = None if completion is None else completion.name
    return said


def _no_skin(asset: HeadAsset, samples: SurfaceSamples, size: int) -> np.ndarray:
    """`[T, T]` bool: texels of NO_SKIN, with their islands' edges, of all texels that the map covers."""
    inner = np.zeros(asset.vertex_count, bool)
    for name in NO_SKIN:
        inner |= asset.regions.get(name, inner)
    mask = np.zeros(size * size, np.uint8)
    mask[samples.place.numpy()] = np.where(np.all(inner[asset.faces], axis=1)[samples.face.numpy()], 2, 1)
    islands = cv2.dilate((mask.reshape(size, size) == 2).astype(np.uint8), np.ones((5, 5), np.uint8))
    return (islands > 0) & (mask.reshape(size, size) != 1)


def how_well_seen(weight: np.ndarray) -> np.ndarray:
    """Weights of an Albedo as shares `[P]`: 0 up to SEEN_FROM, 1 from SEEN_WELL on."""
    return ((weight - SEEN_FROM) / (SEEN_WELL - SEEN_FROM)).clip(0, 1).astype(np.float32)


def has_symmetric_map(asset: HeadAsset) -> bool:
    """Whether flipping a texture about u = 1/2 mirrors the head."""
    if asset.uv is None or asset.uv_faces is None or "mirror" not in asset.extras:
        return False
    place = np.zeros((asset.vertex_count, 2))
    place[asset.faces.ravel()] = asset.uv[asset.uv_faces.ravel()]
    flipped = place[asset.extras["mirror"]] * [-1, 1] + [1, 0]
    return bool((np.abs(flipped - place).max(1) < 1e-4).mean() > 0.9)  # vertices on a seam have several places


def completed_plainly(texture: np.ndarray, known: np.ndarray, symmetric: bool) -> np.ndarray:
    """A texture `[T, T, 3]` (linear) as sRGB in [0, 1], its texels that are not `known` `[T, T]` filled in.

    By the other side where the map is `symmetric`, then smoothly.
    """
    if symmetric:
        texture, known = with_other_side(texture, known)
    return fill_smoothly(255 * to_srgb(texture.clip(0, 1)).astype(np.float32), known) / 255


def with_other_side(texture: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unknown texels of `[T, T, 3]` (linear) taken from the flipped texture, and `[T, T]` which are known then.

    One side may be lighter than the other, as the light is not known well: what is taken is scaled by the ratio of the
    two sides, which is measured where both are known and continued smoothly.
    """
    other, other_known = texture[:, ::-1], known[:, ::-1]
    both = known & other_known
    if not both.any():
        return np.where(known[..., None], texture, other), known | other_known
    ratio = ((texture + DARK) / (other + DARK)).clip(*RATIOS)
    ratio = fill_smoothly(np.where(both[..., None], ratio, 1.0).astype(np.float32), both)
    return np.where(known[..., None], texture, other * ratio), known | other_known


def texels(asset: HeadAsset, size: int) -> SurfaceSamples:
    """The texels of a square UV map that a triangle covers; the first row is the top (v = 1)."""
    assert asset.uv is not None
    assert asset.uv_faces is not None
    flat = torch.cat([torch.as_tensor(asset.uv, dtype=torch.float32), torch.zeros(len(asset.uv), 1)], 1)
    centres = (torch.arange(size) + 0.5) / size
    v, u = torch.meshgrid(1 - centres, centres, indexing="ij")
    origins = torch.stack([u, v, torch.ones_like(u)], -1).reshape(-1, 3).contiguous()
    down = torch.tensor([0.0, 0.0, -1.0]).expand_as(origins).contiguous()
    hits = MeshQuery(torch.as_tensor(asset.uv_faces)).update(flat).cast_rays(origins, down)
    on = hits.face >= 0
    return SurfaceSamples(hits.face[on].long(), hits.barycentrics[on], on.nonzero()[:, 0])


def vertices_as_samples(asset: HeadAsset) -> SurfaceSamples:
    """The vertices, each as a corner of one of its triangles."""
    face, corner = np.zeros(asset.vertex_count, np.int64), np.zeros(asset.vertex_count, np.int64)
    for k in range(3):
        face[asset.faces[:, k]], corner[asset.faces[:, k]] = np.arange(len(asset.faces)), k
    return SurfaceSamples(torch.as_tensor(face), torch.eye(3)[torch.as_tensor(corner)], torch.arange(len(face)))


@torch.no_grad()
def _ever_facing(asset: HeadAsset, params: HeadParameters, camera: Camera) -> Tensor:
    """`[F]` bool: triangles that face the camera in at least one of the frames used."""
    head, faces = HeadModel(asset), torch.as_tensor(asset.faces).long()
    centre = torch.tensor(camera.position, dtype=torch.float32)
    facing = torch.zeros(len(faces), dtype=torch.bool)
    for i in frames_by_turn(params.rotation.numpy(), FRAMES):
        vertices = head(params.frame(i)).vertices[0]
        facing |= (face_normals(vertices, faces) * (centre - vertices[faces[:, 0]])).sum(-1) > 0
    return facing


def frames_by_turn(rotation: np.ndarray, count: int) -> list[int]:
    """Up to `count` frames spread evenly over the order of the head's yaw; `rotation` `[N, 3]` axis-angle."""
    order = np.argsort(rotation[:, 1], kind="stable")
    chosen = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    return sorted(int(i) for i in order[chosen])


@torch.no_grad()
def gather_albedo(
    asset: HeadAsset,
    samples: SurfaceSamples,
    params: HeadParameters,
    camera: Camera,
    images: np.ndarray,
    masks: np.ndarray,
    light: Tensor,
) -> Albedo:
    """The albedo of surface points: a weighted mean over frames, reweighted once to suppress outliers.

    light: `[9, 3]`, or `[N, 9, 3]` of each frame.
    """
    head, faces = HeadModel(asset), torch.as_tensor(asset.faces)
    query = MeshQuery(faces)
    centre = torch.tensor(camera.position, dtype=torch.float32)
    colours, weights = [], []
    for i in frames_by_turn(params.rotation.numpy(), FRAMES):
        vertices = head(params.frame(i)).vertices[0]
        points = interpolate(vertices, faces, samples.face, samples.barycentrics)
        normals = interpolate(vertex_normals(vertices, faces.long()), faces, samples.face, samples.barycentrics)
        normals = torch.nn.functional.normalize(normals, dim=-1)
        ray = points - centre
        distance = ray.norm(dim=-1)
        ray = ray / distance[:, None]
        hits = query.update(vertices).cast_rays(centre.expand_as(ray).contiguous(), ray)
        picture = np.concatenate([linear_image(images[i]), np.asarray(masks[i])[..., None] / np.float32(255)], -1)
        places = project(points, camera)[0] / torch.tensor([camera.width, camera.height])
        looked, mask = look_up(torch.from_numpy(picture).permute(2, 0, 1)[None], places[None])[0].split([3, 1], -1)
        facing = -(normals * ray).sum(-1).clamp(max=0)
        shown = (hits.depth > distance - HIDDEN) & (mask[:, 0] > MASK_INSIDE)
        own = light if light.dim() == 2 else light[i]
        shade = (spherical_harmonics(normals) @ own).clamp(min=MINIMAL_SHADE)
        colours.append(looked / shade)
        weights.append(shown * facing.square())
    colour, weight = torch.stack(colours), torch.stack(weights)
    for _ in range(2):
        mean = (weight[..., None] * colour).sum(0) / weight.sum(0).clamp(min=1e-6)[:, None]
        odd = (colour - mean).abs().mean(-1) / (ODD * (mean.mean(-1) + DARK))
        weight = torch.stack(weights) / (1 + odd.square())
    total = torch.stack(weights).sum(0)
    return Albedo(mean.numpy(), (total > SEEN_FROM).numpy(), total.numpy())
