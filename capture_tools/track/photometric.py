"""The photometric term of tracking: every point of the skin has one albedo in all frames.

Points spread over the face are tracked through the clip. Nine spherical harmonics per colour model the light
(Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", 2001), one gain per frame the
exposure. The albedo is eliminated (variable projection): for given positions its optimum is a weighted mean, and the
gradient goes through it, so that shape and poses move together. In a single photograph the two halves of the face share
their albedo, as two frames do in a clip.
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
"""Eye distance, pixels, at the coarse and the fine pyramid level (at most that of the crop)."""
LEFT_OUT = ("eyeballs", "teeth", "tongue", "mouth_interior", "scalp", "ears", "neck", "eye_sockets")
FACING = 0.25
"""Cosine between normal and view direction below which a point is too oblique."""
HIDDEN = 0.004
"""Metres by which a surface must lie before a point to occlude it."""
MASK_INSIDE = 0.9
"""Mask value, of 1, above which a pixel shows the person."""
DEVIATION = 0.08
"""Deviation of a colour from the shaded albedo, as a share of the point's brightness."""
CUTOFF = 4.0
"""Deviations from which on an observation is an outlier: a hand, hair, a highlight."""
DARKEST = 0.02
"""Added to a point's brightness, so that noise on dark lashes does not dominate."""
SKIN = (0.5, 1.8)
"""Brightness over the face's median within which a point counts as plain skin."""
ROUNDS = 3
"""Alternations between albedo, light and gain at a refresh."""
LIGHT_PRIOR = 0.02
"""Ridge on the light's harmonics of degree 1 and 2, as a share of the evidence."""
EMPTY = 1e-9
"""Ridge that keeps the light of a picture solvable that shows no plain skin."""
EVIDENCE = 60.0
"""Number of independent measurements that the points of a frame stand for."""


@dataclass(frozen=True)
class Pictures:
    """The crops of a clip and their masks."""

    images: np.ndarray
    """`[N, S, S, 3]` uint8 sRGB."""
    masks: np.ndarray
    """`[N, S, S]` uint8 masks, 255 = person."""
    crop: Crop


class PhotometricTerm:
    """The photometric energy of one clip."""

    def __init__(
        self, asset: HeadAsset, space: OffsetSpace, pictures: Pictures, eye_distance: float, own_light: bool = False
    ) -> None:
        """eye_distance: median distance between the outer eye corners, source pixels. own_light: every picture has its
        own, as photographs from different places do."""
        self.own_light = own_light
        self.pictures = pictures
        self.symmetric = len(pictures.images) == 1
        self.eye_distance = eye_distance * pictures.crop.scale
        self.faces = torch.as_tensor(asset.faces).long()
        self.face, self.barycentrics = spread_points(asset, POINTS)
        self.surface = SurfacePoints(asset, self.face.numpy(), self.barycentrics.numpy(), space.basis)
        self.head = HeadModel(asset)
        self.query = MeshQuery(torch.as_tensor(asset.faces), "cpu")
        self.colours: Tensor | None = None
        self.light = neutral_light()
        """Harmonics `[9, 3]`, or `[N, 9, 3]` of each picture's own; neutral until the pictures have told."""

    def choose_level(self, level: int) -> None:
        """Resize the pictures to a level of the pyramid, 0 = coarse."""
        import cv2

        side = self.pictures.crop.size
        size = min(side, round(side * EYE_DISTANCES[level] / self.eye_distance))
        levels = np.empty((len(self.pictures.images), size, size, 3), np.float32)
        for row, image in enumerate(self.pictures.images):
            levels[row] = cv2.resize(linear_image(image), (size, size), interpolation=cv2.INTER_AREA)
        self.colours = torch.from_numpy(levels).permute(0, 3, 1, 2)

    def sample(self, pixels: Tensor) -> Tensor:
        """Linear colours `[N, P, 3]` at source pixels `[N, P, 2]`, differentiable."""
        assert self.colours is not None
        crop = self.pictures.crop
        return look_up(self.colours, (pixels - torch.tensor([crop.x0, crop.y0])) / crop.side)

    @torch.no_grad()
    def refresh(self, params: HeadParameters, project: Callable[[Tensor], Tensor]) -> None:
        """Update visibility, robust weights and light from the current fit (camera at the origin)."""
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
        """`[N, P, ...]` unchanged; for a photograph the halves of the face as two frames, `[2 N, P / 2, ...]`."""
        return torch.cat(values.chunk(2, dim=1)) if self.symmetric else values

    def _on_person(self, pixels: Tensor, frame: int) -> Tensor:
        crop = self.pictures.crop
        place = (pixels - torch.tensor([crop.x0, crop.y0])) * crop.scale
        column, row = place.floor().long().unbind(-1)
        inside = (column >= 0) & (row >= 0) & (column < crop.size) & (row < crop.size)
        last = crop.size - 1
        mask = torch.tensor(self.pictures.masks[frame])[row.clamp(0, last), column.clamp(0, last)]
        return inside & (mask > 255 * MASK_INSIDE)

    def _solve(self, colours: Tensor) -> None:
        """Light, gains and robust weights for colours `[N, P, 3]`: alternating least squares.

        Where nothing is visible the light stays as it is, and no point carries weight.
        """
        count = len(colours)
        weights = self.visible
        seen = weights.sum(1) > 0
        if not seen.any():
            self.weights, self.shade = weights, self._shade(self.light, torch.ones(count))
            self.scale = torch.full(colours.shape[1:2], 1 / (DARKEST * DEVIATION))
            return
        brightness = (weights * colours.mean(-1)).sum(0) / weights.sum(0).clamp(min=1)
        scale = 1 / (brightness + DARKEST)
        # Light comes from plain skin only: brows, lashes, nostrils and highlights differ for other reasons.
        level = brightness[weights.sum(0) > 0].median()
        skin = ((brightness > SKIN[0] * level) & (brightness < SKIN[1] * level)).float()
        typical = (weights * skin)[..., None] * colours
        albedo = (typical.sum((0, 1)) / (weights * skin).sum().clamp(min=1)).expand(colours.shape[1], 3)
        gains = torch.ones(count)
        for iteration in range(ROUNDS):
            light = self._solve_lights(colours, albedo, gains, weights * skin)
            shade = self._shade(light, gains)
            lit = albedo * shade
            ratio = (weights[..., None] * scale[:, None] ** 2 * colours * lit).sum((1, 2))
            gains = (
                gains * ratio / (weights[..., None] * scale[:, None] ** 2 * lit.square()).sum((1, 2)).clamp(min=1e-9)
            )
            gains = torch.ones(count) if self.symmetric else torch.where(seen, gains / gains[seen].median(), 1.0)
            shade = self._shade(light, gains)
            albedo = weighted_albedo(colours, shade, weights)
            error = ((colours - albedo * shade) * scale[:, None]).square().mean(-1).sqrt()
            if iteration:
                weights = self.visible * (1 - (error / (CUTOFF * DEVIATION)).square()).clamp(min=0).square()
        self.weights, self.shade = weights, shade
        self.scale = scale / DEVIATION
        self.light = light

    def _shade(self, light: Tensor, gains: Tensor) -> Tensor:
        return (self.harmonics @ light).clamp(min=0.05) * gains[:, None, None]

    def _solve_lights(self, colours: Tensor, albedo: Tensor, gains: Tensor, weights: Tensor) -> Tensor:
        """The light of all pictures, `[9, 3]`, or of each, `[N, 9, 3]` (both halves of a photograph share theirs)."""
        if not self.own_light or self.symmetric:
            return self._solve_light(self.harmonics, colours, albedo, gains, weights)
        each = [slice(i, i + 1) for i in range(len(colours))]
        lights = [self._solve_light(self.harmonics[i], colours[i], albedo, gains[i], weights[i]) for i in each]
        return torch.stack(lights)

    @staticmethod
    def _solve_light(harmonics: Tensor, colours: Tensor, albedo: Tensor, gains: Tensor, weights: Tensor) -> Tensor:
        """Harmonics `[9, 3]` for a known albedo, normalised to a mean shading of one."""
        light = torch.zeros(9, 3)
        for channel in range(3):
            rows = (harmonics * (albedo[:, channel] * gains[:, None])[..., None]).flatten(0, 1)
            weighted = rows * weights.flatten()[:, None]
            normal, right = weighted.T @ rows, weighted.T @ colours[..., channel].flatten()
            hold = LIGHT_PRIOR * normal[0, 0] * torch.ones(9)
            hold[0] = 0
            light[:, channel] = torch.linalg.solve(normal + torch.diag(hold + EMPTY), right)
        mean = (weights[..., None] * (harmonics @ light)).sum((0, 1)) / weights.sum().clamp(min=1e-9)
        return light / mean.clamp(min=1e-9)

    def light_of(self, params: HeadParameters, project: Callable[[Tensor], Tensor]) -> np.ndarray:
        """The light on the finished fit: coefficients `[9, 3]`, of photographs `[N, 9, 3]`, of harmonics of the world
        normal.

        The sum of coefficients times harmonics, times the albedo, is the linear colour of the skin.
        """
        if self.colours is None:
            self.choose_level(len(EYE_DISTANCES) - 1)
        self.refresh(params, project)
        return self.light.numpy()

    def energy(self, params: HeadParameters, latents: Tensor, project: Callable[[Tensor], Tensor]) -> Tensor:
        """Robust mean over frames and points of the squared colour difference, in deviations."""
        colours = self._halves(self.sample(project(self.surface.at(params, latents))))
        albedo = weighted_albedo(colours, self.shade, self.weights)
        error = (colours - albedo * self.shade) * self.scale[:, None]
        return EVIDENCE * (self.weights * error.square().mean(-1)).sum() / self.visible.sum().clamp(min=1)


def neutral_light() -> Tensor:
    """Harmonics `[9, 3]` of light that is the same from everywhere and shades skin by one."""
    light = torch.zeros(9, 3)
    light[0] = 1 / float(spherical_harmonics(torch.tensor([[0.0, 0.0, 1.0]]))[0, 0])
    return light


def look_up(pictures: Tensor, places: Tensor) -> Tensor:
    """Bilinear values `[N, P, C]` of pictures `[N, C, H, W]` at places `[N, P, 2]` in [0, 1] from edge to edge."""
    found = torch.nn.functional.grid_sample(
        pictures, 2 * places[:, None] - 1, mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[:, :, 0].transpose(1, 2)


def weighted_albedo(colours: Tensor, shade: Tensor, weights: Tensor) -> Tensor:
    """Albedo `[P, 3]`: least squares of colours `[N, P, 3]` = albedo times shade `[N, P, 3]`, weights `[N, P]`."""
    w = weights[..., None]
    return (w * colours * shade).sum(0) / ((w * shade.square()).sum(0) + 1e-6)


def spread_points(asset: HeadAsset, count: int) -> tuple[Tensor, Tensor]:
    """Faces `[P]` and barycentrics `[P, 3]` of points spread evenly over the skin of the face; deterministic.

    The first half lies on the head's left, the second holds their mirror images, in the same order; P is about `count`.
    """
    excluded = np.zeros(asset.vertex_count, bool)
    for name in LEFT_OUT:
        excluded |= asset.regions.get(name, np.zeros(asset.vertex_count, bool))
    chosen = np.flatnonzero((asset.region("face") & ~excluded)[asset.faces].all(1))
    a, b, c = (asset.template[asset.faces[chosen][:, corner]] for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    # Systematic sampling along the cumulated area of the faces.
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
