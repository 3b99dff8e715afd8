"""The photometric term of tracking: the same skin looks the same in every frame, once the light is accounted for.

Points spread over the face are followed through the clip. Each has one albedo; nine spherical harmonics per colour
give the light (Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", 2001), one gain
per frame the camera's exposure. The albedo is not a variable: for given positions its best value is a weighted mean,
and the gradient goes through it (variable projection), so that shape and poses move together. A single photograph says
nothing by itself; there the two halves of the face share their albedo, as two frames do in a clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.meshes import vertex_normals
from avatar.kernels.harmonics.op import spherical_harmonics
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate
from avatar.media.images import linear_image
from capture_tools.detect.selection import Crop
from capture_tools.track.offset_space import OffsetSpace
from capture_tools.track.surface_points import SurfacePoints

POINTS = 2000
EYE_DISTANCES = (24.0, 48.0)
"""Pixels between the eyes at the coarse and at the fine level of the picture pyramid (at most those of the crop)."""
LEFT_OUT = ("eyeballs", "teeth", "tongue", "mouth_interior", "scalp", "ears", "neck", "eye_sockets")
FACING = 0.25
"""Cosine between skin and view below which a point is too oblique to compare."""
HIDDEN = 0.004
"""Metres by which something must lie before a point to hide it."""
MATTE = 0.9
DEVIATION = 0.08
"""Deviation of a colour from its albedo under the light, as a share of the point's own brightness."""
CUTOFF = 4.0
"""Deviations from which on a point in a frame is something else: a hand, hair, a highlight."""
DARKEST = 0.02
"""Added to a point's brightness, so that dark lashes are not weighed by their noise."""
SKIN = (0.5, 1.8)
"""Brightness over the face's median within which a point counts as plain skin."""
ROUNDS = 3
"""Alternations between albedo, light and gain at a refresh."""
LIGHT_PRIOR = 0.02
"""Share of the evidence that holds the light's harmonics, but for the constant, near zero."""
EVIDENCE = 60.0
"""How many independent measurements the points of a frame are worth."""


@dataclass(frozen=True)
class Pictures:
    """The frames of a clip, cut to one square."""

    images: np.ndarray
    """`[N, S, S, 3]` uint8 sRGB."""
    mattes: np.ndarray
    """`[N, S, S]` uint8."""
    crop: Crop


class PhotometricTerm:
    """Compares pictures with themselves through the tracked surface. Made for one clip."""

    def __init__(self, asset: HeadAsset, space: OffsetSpace, pictures: Pictures, eye_distance: float) -> None:
        """eye_distance: pixels of the source between the outer eye corners, of the clip."""
        self.pictures = pictures
        self.symmetric = len(pictures.images) == 1
        self.eye_distance = eye_distance * pictures.crop.scale
        self.faces = torch.as_tensor(asset.faces).long()
        self.face, self.barycentrics = spread_points(asset, POINTS)
        self.surface = SurfacePoints(asset, self.face.numpy(), self.barycentrics.numpy(), space.basis)
        self.head = HeadModel(asset)
        self.query = MeshQuery(torch.as_tensor(asset.faces), "cpu")
        self.colours: Tensor | None = None

    def choose_level(self, level: int) -> None:
        """Take the pictures at one level of the pyramid, coarse first."""
        import cv2

        side = self.pictures.crop.size
        size = min(side, round(side * EYE_DISTANCES[level] / self.eye_distance))
        levels = np.empty((len(self.pictures.images), size, size, 3), np.float32)
        for row, image in enumerate(self.pictures.images):
            levels[row] = cv2.resize(linear_image(image), (size, size), interpolation=cv2.INTER_AREA)
        self.colours = torch.from_numpy(levels).permute(0, 3, 1, 2)

    def sample(self, pixels: Tensor) -> Tensor:
        """Linear colours `[N, P, 3]` at source pixels `[N, P, 2]`, with their gradient."""
        assert self.colours is not None
        crop = self.pictures.crop
        return look_up(self.colours, (pixels - torch.tensor([crop.x0, crop.y0])) / crop.side)

    @torch.no_grad()
    def refresh(self, params: HeadParameters, project: Callable[[Tensor], Tensor]) -> None:
        """Find what each frame sees of the points, and the light, from the present fit (camera at the origin)."""
        visible, harmonics, pixels = [], [], []
        for i in range(len(params)):
            vertices = self.head(params.frame(i)).vertices[0]
            points = interpolate(vertices, self.faces, self.face, self.barycentrics)
            normals = interpolate(vertex_normals(vertices, self.faces), self.faces, self.face, self.barycentrics)
            normals = torch.nn.functional.normalize(normals, dim=-1)
            distance = points.norm(dim=-1)
            hits = self.query.update(vertices).cast_rays(torch.zeros_like(points), points / distance[:, None])
            clear = hits.depth > distance - HIDDEN
            facing = -(normals * points).sum(-1) / distance > FACING
            place = project(points[None])[0]
            visible.append(clear & facing & self._on_person(place, i))
            harmonics.append(spherical_harmonics(normals))
            pixels.append(place)
        self.harmonics = self._halves(torch.stack(harmonics))
        self.visible = self._halves(torch.stack(visible).float())
        self._solve(self._halves(self.sample(torch.stack(pixels))))

    def _halves(self, values: Tensor) -> Tensor:
        """`[N, P, ...]`; of a photograph the halves of the face, mirrored, as frames: `[2 N, P / 2, ...]`."""
        return torch.cat(values.chunk(2, dim=1)) if self.symmetric else values

    def _on_person(self, pixels: Tensor, frame: int) -> Tensor:
        crop = self.pictures.crop
        place = (pixels - torch.tensor([crop.x0, crop.y0])) * crop.scale
        column, row = place.floor().long().unbind(-1)
        inside = (column >= 0) & (row >= 0) & (column < crop.size) & (row < crop.size)
        last = crop.size - 1
        matte = torch.tensor(self.pictures.mattes[frame])[row.clamp(0, last), column.clamp(0, last)]
        return inside & (matte > 255 * MATTE)

    def _solve(self, colours: Tensor) -> None:
        """Light, gains and robust weights for colours `[N, P, 3]`: alternating least squares."""
        count = len(colours)
        weights = self.visible
        brightness = (weights * colours.mean(-1)).sum(0) / weights.sum(0).clamp(min=1)
        scale = 1 / (brightness + DARKEST)
        # Plain skin tells the light: brows, lashes, nostrils and highlights have other reasons to be dark or bright.
        level = brightness[weights.sum(0) > 0].median()
        skin = ((brightness > SKIN[0] * level) & (brightness < SKIN[1] * level)).float()
        typical = (weights * skin)[..., None] * colours
        albedo = (typical.sum((0, 1)) / (weights * skin).sum().clamp(min=1)).expand(colours.shape[1], 3)
        gains = torch.ones(count)
        for turn in range(ROUNDS):
            light = self._solve_light(colours, albedo, gains, weights * skin)
            shade = self._shade(light, gains)
            lit = albedo * shade
            ratio = (weights[..., None] * scale[:, None] ** 2 * colours * lit).sum((1, 2))
            gains = (
                gains * ratio / (weights[..., None] * scale[:, None] ** 2 * lit.square()).sum((1, 2)).clamp(min=1e-9)
            )
            gains = torch.ones(count) if self.symmetric else gains / gains.median()
            shade = self._shade(light, gains)
            albedo = weighted_albedo(colours, shade, weights)
            error = ((colours - albedo * shade) * scale[:, None]).square().mean(-1).sqrt()
            if turn:
                weights = self.visible * (1 - (error / (CUTOFF * DEVIATION)).square()).clamp(min=0).square()
        self.weights, self.shade = weights, shade
        self.scale = scale / DEVIATION
        self.light = light

    def _shade(self, light: Tensor, gains: Tensor) -> Tensor:
        return (self.harmonics @ light).clamp(min=0.05) * gains[:, None, None]

    def _solve_light(self, colours: Tensor, albedo: Tensor, gains: Tensor, weights: Tensor) -> Tensor:
        """Harmonics `[9, 3]` for known albedo, with a mean of one, the higher ones held near zero."""
        light = torch.zeros(9, 3)
        for channel in range(3):
            rows = (self.harmonics * (albedo[:, channel] * gains[:, None])[..., None]).flatten(0, 1)
            weighted = rows * weights.flatten()[:, None]
            normal, right = weighted.T @ rows, weighted.T @ colours[..., channel].flatten()
            hold = LIGHT_PRIOR * normal[0, 0] * torch.ones(9)
            hold[0] = 0
            light[:, channel] = torch.linalg.solve(normal + torch.diag(hold), right)
        mean = (weights[..., None] * (self.harmonics @ light)).sum((0, 1)) / weights.sum().clamp(min=1e-9)
        return light / mean

    def light_of(self, params: HeadParameters, project: Callable[[Tensor], Tensor]) -> np.ndarray:
        """The light on the finished fit: `[9, 3]` harmonics of the world's normals, whose sum times the albedo is the
        linear colour of the skin."""
        if self.colours is None:
            self.choose_level(len(EYE_DISTANCES) - 1)
        self.refresh(params, project)
        return self.light.numpy()

    def energy(self, params: HeadParameters, latents: Tensor, project: Callable[[Tensor], Tensor]) -> Tensor:
        """Robust mean over frames and points of the squared difference in deviations."""
        colours = self._halves(self.sample(project(self.surface.at(params, latents))))
        albedo = weighted_albedo(colours, self.shade, self.weights)
        error = (colours - albedo * self.shade) * self.scale[:, None]
        return EVIDENCE * (self.weights * error.square().mean(-1)).sum() / self.visible.sum().clamp(min=1)


def look_up(pictures: Tensor, places: Tensor) -> Tensor:
    """Bilinear values `[N, P, C]` of pictures `[N, C, H, W]` at places `[N, P, 2]`: 0 is one edge, 1 the other."""
    found = torch.nn.functional.grid_sample(
        pictures, 2 * places[:, None] - 1, mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[:, :, 0].transpose(1, 2)


def weighted_albedo(colours: Tensor, shade: Tensor, weights: Tensor) -> Tensor:
    """`[P, 3]`: least squares of colours `[N, P, 3]` = albedo times shade `[N, P, 3]`, weights `[N, P]`."""
    w = weights[..., None]
    return (w * colours * shade).sum(0) / ((w * shade.square()).sum(0) + 1e-6)


def spread_points(asset: HeadAsset, count: int) -> tuple[Tensor, Tensor]:
    """Faces `[P]` and barycentrics `[P, 3]` of points spread evenly over the skin of the face; always the same.

    The first half lies on the head's left, the second holds their mirror images, in the same order; P is about `count`.
    """
    excluded = np.zeros(asset.vertex_count, bool)
    for name in LEFT_OUT:
        excluded |= asset.regions.get(name, np.zeros(asset.vertex_count, bool))
    chosen = np.flatnonzero((asset.region("face") & ~excluded)[asset.faces].all(1))
    a, b, c = (asset.template[asset.faces[chosen][:, corner]] for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    # Systematic sampling along the faces' areas: no face gets two points before its neighbours have one.
    place = (np.arange(count) + 0.5) / count * area.sum()
    face = torch.as_tensor(chosen[np.searchsorted(np.cumsum(area), place).clip(max=len(chosen) - 1)])
    rng = np.random.default_rng(0)
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    barycentrics = torch.as_tensor(np.stack([1 - u, u * (1 - v), u * v], 1), dtype=torch.float32)
    template, faces = torch.as_tensor(asset.template), torch.as_tensor(asset.faces)
    points = interpolate(template, faces, face, barycentrics)
    left = points[:, 0] > 0
    mirrored = MeshQuery(faces).update(template).closest_points(points[left] * torch.tensor([-1.0, 1.0, 1.0]))
    return torch.cat([face[left], mirrored.face.long()]), torch.cat([barycentrics[left], mirrored.barycentrics])
