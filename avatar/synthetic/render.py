"""Rendering of synthetic frames: ray casting, gaps between strands of hair, anti-aliasing, true landmarks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from queue import SimpleQueue

import numpy as np
import torch
from torch import Tensor

from avatar.geometry.cameras import Camera, image_rays, project
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate
from avatar.kernels.runtime.threads import one_torch_thread
from avatar.media.images import to_srgb, to_uint8
from avatar.synthetic import shading
from avatar.synthetic.lids import LASH_LENGTH
from avatar.synthetic.materials import sample, shade
from avatar.synthetic.person import HAIR, LASH, STRAND_LENGTH, Person, Posed, pose_person
from avatar.synthetic.room import Room

SUPERSAMPLING = 2
"""Rays per pixel along each axis."""
WORKERS = 2
"""Frames that `render_frames` renders in parallel."""


@dataclass
class SyntheticScene:
    """Everything needed to render any frame of a synthetic clip."""

    person: Person
    camera: Camera
    """The camera; where it moves, its lens."""
    background: np.ndarray | None
    """`[H, W, 3]` float32, linear: the room as the fixed camera sees it; None where the camera moves."""
    light: shading.Light
    fps: float
    room: Room | None = None
    """The room in three dimensions, where the camera moves."""
    path: np.ndarray | None = None
    """Trajectory of a moving camera: `world_from_cam` `[N, 4, 4]`, OpenCV axes, metres."""

    @property
    def frame_count(self) -> int:
        return len(self.person.parameters)

    @property
    def background_picture(self) -> np.ndarray | None:
        """The empty room, `[H, W, 3]` uint8 sRGB; None where the camera moves."""
        return None if self.background is None else to_uint8(to_srgb(self.background))

    def camera_at(self, index: int) -> Camera:
        """The camera of frame `index`."""
        return self.camera if self.path is None else self.camera.moved(self.path[index])


@dataclass(frozen=True)
class SyntheticFrame:
    """One rendered frame and its truth."""

    image: np.ndarray
    """`[H, W, 3]` uint8 sRGB."""
    mask: np.ndarray
    """`[H, W]` uint8: the person's share of each pixel, 255 = all."""
    landmarks: np.ndarray
    """`[478, 2]` float32 pixels: where the head's landmark embedding lies."""
    visible: np.ndarray
    """`[478]` bool: nothing hides the landmark from the camera."""
    materials: np.ndarray
    """`[H, W]` int8: material seen by the pixel's middle sample (synthetic.person), -1 for the background."""


def render_frames(scene: SyntheticScene, workers: int = WORKERS) -> Iterator[SyntheticFrame]:
    """All frames of a scene in order, `workers` at a time, each on one PyTorch thread."""
    copies: SimpleQueue[SyntheticScene] = SimpleQueue()
    for _ in range(workers):  # a ray query holds one pose at a time; the room's never moves
        query = MeshQuery(scene.person.faces)
        copies.put(replace(scene, person=replace(scene.person, query=query)))

    def render(index: int) -> SyntheticFrame:
        own = copies.get()
        try:
            return _render(own, index)
        finally:
            copies.put(own)

    with one_torch_thread(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        indices = iter(range(scene.frame_count))
        waiting: list[Future[SyntheticFrame]] = [pool.submit(render, index) for index in islice(indices, workers + 1)]
        try:
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(render, index) for index in islice(indices, 1)]
        finally:
            for future in waiting:
                future.cancel()


def render_synthetic_frame(scene: SyntheticScene, index: int) -> SyntheticFrame:
    """Render frame `index` of a scene; the result depends on the scene and the index only."""
    with one_torch_thread():
        return _render(scene, index)


def _render(scene: SyntheticScene, index: int) -> SyntheticFrame:
    posed = pose_person(scene.person, index)
    camera = scene.camera_at(index)
    big = camera.scaled(SUPERSAMPLING * camera.width, SUPERSAMPLING * camera.height)
    origins, directions = (rays.reshape(-1, 3) for rays in image_rays(big))
    hits = cast_with_strands(scene.person, posed.normals, origins, directions)
    seen = hits.face >= 0
    colours = torch.zeros(len(seen), 3)
    view = -directions[seen]
    points = origins[seen] - view * hits.depth[seen][:, None]
    face, weights = hits.face[seen], hits.barycentrics[seen]
    colours[seen] = shade(scene.person, scene.light, posed, face, weights, points, view)

    material = torch.full((len(seen),), -1)
    material[seen] = scene.person.materials[hits.face[seen].long()]
    fine = (big.height, big.width)
    coverage = pool(seen.float().reshape(*fine, 1))[..., 0]
    foreground = pool(shading.tone(colours).reshape(*fine, 3))  # already weighted by coverage
    background = scene.background
    if scene.room is not None:
        background = pool(scene.room.colours(origins, directions).reshape(*fine, 3))
    linear = foreground + (1 - coverage)[..., None] * background
    offset = SUPERSAMPLING // 2
    landmarks, visible = true_landmarks(scene.person, camera, posed)
    return SyntheticFrame(
        image=to_uint8(to_srgb(linear)),
        mask=to_uint8(coverage),
        landmarks=landmarks,
        visible=visible,
        materials=material.reshape(fine)[offset::SUPERSAMPLING, offset::SUPERSAMPLING].numpy().astype(np.int8),
    )


def pool(values: Tensor) -> np.ndarray:
    """Mean over the samples of each pixel: `[sH, sW, C]` to `[H, W, C]`."""
    height, width, channels = values.shape
    s = SUPERSAMPLING
    return values.reshape(height // s, s, width // s, s, channels).mean((1, 3)).numpy()


@dataclass
class Hits:
    """First opaque surface of each ray."""

    face: Tensor
    depth: Tensor
    barycentrics: Tensor


def cast_with_strands(person: Person, normals: Tensor, origins: Tensor, directions: Tensor, layers: int = 4) -> Hits:
    """First hits of rays, looking through gaps between strands at the edges of the hair."""
    first = person.query.cast_rays(origins, directions)
    hits = Hits(first.face, first.depth, first.barycentrics)
    for _ in range(layers):
        candidates = torch.nonzero(hits.face >= 0).squeeze(1)
        material = person.materials[hits.face[candidates].long()]
        hairy = (material == HAIR) | (material == LASH)
        candidates, material = candidates[hairy], material[hairy]
        face, weights = hits.face[candidates], hits.barycentrics[candidates]
        carried = interpolate(torch.cat([person.canonical, normals], 1), person.faces, face, weights)
        normal = torch.nn.functional.normalize(carried[:, 3:], dim=-1)
        slant = (normal * directions[candidates]).sum(-1).abs()
        hair_gaps, lash_gaps = strand_gaps(person, carried[:, :3], slant), lash_gap(person, carried[:, :3])
        through = candidates[torch.where(material == LASH, lash_gaps, hair_gaps)]
        if len(through) == 0:
            break
        depth = hits.depth[through] + 2e-4
        again = person.query.cast_rays(origins[through] + directions[through] * depth[:, None], directions[through])
        hits.face[through], hits.barycentrics[through] = again.face, again.barycentrics
        hits.depth[through] = again.depth + depth
    return hits


def strand_gaps(person: Person, at: Tensor, slant: Tensor) -> Tensor:
    """Where hair surface points (across, along, edge) lie between strands: bool `[P]`.

    Hair thins out towards its ends and where it is seen from the side (`slant` `[P]`, 0 edge-on to 1 face-on).
    """
    grain = sample(person.strands, at[:, 0] * 3.0, at[:, 1] / STRAND_LENGTH)
    thinning = {"short": 0.013, "parted": 0.013, "long": 0.010}[person.looks.hair_style]
    thin_end = (at[:, 2] < thinning) & (grain < 1.5 - 2.9 * at[:, 2] / thinning)
    if person.looks.hair_style == "long":
        return thin_end
    return thin_end | (grain < 0.1 - 8.0 * slant)


def lash_gap(person: Person, at: Tensor) -> Tensor:
    """Where lash surface points (across, along, edge) lie between lashes: bool `[P]`, more towards the tips."""
    grain = sample(person.strands, at[:, 0] * 0.33, torch.full_like(at[:, 1], 0.5))
    return grain < 2.4 * at[:, 1] / LASH_LENGTH - 0.5


def true_landmarks(person: Person, camera: Camera, posed: Posed) -> tuple[np.ndarray, np.ndarray]:
    """Projected landmarks `[478, 2]` and which of them the camera sees `[478]` bool."""
    pixels, _ = project(posed.landmarks, camera)
    eye = torch.tensor(camera.position, dtype=torch.float32)
    towards = posed.landmarks - eye
    hits = person.query.cast_rays(eye.expand_as(towards).contiguous(), towards.contiguous())
    visible = hits.depth > 1 - 0.0012  # in lengths of the ray: 1 is the landmark itself
    return pixels.numpy().astype(np.float32), visible.numpy()
