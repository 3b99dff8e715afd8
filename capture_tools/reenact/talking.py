"""A photograph with another expression: its pixels moved with the surface of the head fitted to it.

Every pixel of the head shows the photograph's pixel of the same point of its surface (image-based rendering with a
proxy: Debevec, Taylor and Malik 1996, "Modeling and rendering architecture from photographs", section 3), times the
ratio of the light at its new and its old normal (Liu, Shan and Zhang 2001, "Expressive expression mapping with ratio
images", eq. 4). What the photograph hides has the completed albedo under the photograph's light; teeth, tongue and
palate are the head's own. Around the face the motion fades out smoothly, so that hair, neck and room do not tear.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.rasterize import MeshImage, rasterize
from avatar.geometry.cameras import Camera, project
from avatar.geometry.meshes import faces_inside, vertex_normals
from avatar.kernels.harmonics.op import spherical_harmonics
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate
from avatar.media.images import linear_image, to_srgb, to_uint8
from capture_tools.camera.background import fill_smoothly
from capture_tools.report.painting import Skin

MOUTH = {"mouth_interior": (0.147, 0.027, 0.027), "tongue": (0.342, 0.095, 0.089), "teeth": (0.71, 0.64, 0.51)}
"""Linear albedo of what photographs of shut mouths do not show; later ones count where regions share a triangle."""
MOUTH_SHADE = 0.8
"""Share of the light that reaches a mouth just behind the lips."""
DARKENING = 0.03
"""Metres behind the lips after which the light has fallen to 1/e."""
LEAST_LIGHT, RATIOS = 0.08, (0.6, 1.6)
"""Least light that is divided by, and least and most by which moved skin changes its brightness."""
NEARER = 0.004
"""Metres by which a surface may lie behind what the photograph shows there and still be seen in it."""
GRAZING = 0.2
"""Cosine to the line of sight below which a photograph shows too little of a surface to be moved."""
LID_FACING = 0.45
"""The same for lids, whose edge is lashes and fold."""
REACH = 0.45
"""Of the head's height in the picture: where the motion around it has faded out."""
COARSE = 4
"""Pixels of the picture to one of the smooth field of motion around the face."""
SEAM = 1.2
"""Pixels over which the photograph's own pixels and painted ones blend, in a face 250 pixels high."""


class TalkingPhotograph:
    """Draws one photograph with its head's expression changed."""

    def __init__(self, image: np.ndarray, params: HeadParameters, camera: Camera, asset: HeadAsset, skin: Skin) -> None:
        """image: uint8 `[H, W, 3]` sRGB. params: the one frame fitted to it. camera: of the picture's size, world of
        the fit. skin: its albedo and light."""
        self.camera, self.asset, self.skin = camera, asset, skin
        self.image = linear_image(image)
        self.model, self.faces = HeadModel(asset), torch.as_tensor(asset.faces, dtype=torch.int64)
        self.query = MeshQuery(self.faces, "cpu")
        self.part = self._parts()
        self.opens = self._of("lips") | self._of("eyelids") | self._of("eyeballs") | self._of("eye_sockets")
        self.lids = self._of("eyelids")
        self.in_face = self._of("face") | self.opens
        self.moves = ~self._of("neck")
        with torch.no_grad():
            self.vertices = self.model(params).vertices[0]
        self.normals = vertex_normals(self.vertices, self.faces)
        seen = rasterize(self.query, self.vertices, camera)
        self.depth = torch.where(seen.mask, seen.depth, torch.inf)
        inside = np.zeros(seen.mask.shape, np.uint8)
        inside[seen.mask.numpy()] = self.part[seen.face[seen.mask].long()].numpy() >= 0
        rows = np.flatnonzero(seen.mask.numpy().any(1))
        self.height = float(rows[-1] - rows[0] + 1) if len(rows) else float(camera.height)
        self.soft = max(0.6, SEAM * self.height / 250)
        reach = 2 * round(self.soft) + 1
        kernel = np.ones((reach, reach), np.uint8)
        self.mouth_shown = torch.from_numpy(cv2.erode(inside, kernel) > 0)
        self.skin_shown = torch.from_numpy(cv2.dilate(inside, kernel) == 0)
        away = cv2.distanceTransform((~seen.mask.numpy()).astype(np.uint8), cv2.DIST_L2, 5)
        self.still = away > REACH * self.height

    def _of(self, region: str) -> Tensor:
        """`[F]` bool: triangles of a region, none where the head has no such."""
        if region not in self.asset.regions:
            return torch.zeros(len(self.faces), dtype=torch.bool)
        return faces_inside(self.faces, torch.as_tensor(self.asset.region(region)))

    def _parts(self) -> Tensor:
        """`[F]`: the index in MOUTH of each triangle, -1 elsewhere."""
        part = torch.full((len(self.faces),), -1)
        for index, name in enumerate(MOUTH):
            part[self._of(name)] = index
        return part

    @torch.no_grad()
    def draw(self, params: HeadParameters) -> np.ndarray:
        """The photograph with the head of `params` (one frame): uint8 `[H, W, 3]` sRGB."""
        vertices = self.model(params).vertices[0]
        seen = rasterize(self.query, vertices, self.camera)
        mask = seen.mask.numpy()
        face, corners = seen.face[seen.mask].long(), seen.barycentrics[seen.mask]
        places, shown, facing = self._in_photograph(face, corners)
        normals = torch.nn.functional.normalize(
            interpolate(vertex_normals(vertices, self.faces), self.faces, face, corners), dim=-1
        )
        light = (spherical_harmonics(normals) @ self.skin.light).clamp(min=LEAST_LIGHT)
        old = torch.nn.functional.normalize(interpolate(self.normals, self.faces, face, corners), dim=-1)
        before = (spherical_harmonics(old) @ self.skin.light).clamp(min=LEAST_LIGHT)
        ratio = (light / before).clamp(*RATIOS)

        part = self._parts_wide_enough(mask, face)
        moved = self._motion(seen, places, shown & (part < 0) & (facing > GRAZING))
        copied = self._look_up(moved)
        ratios = np.ones_like(self.image)
        ratios[mask] = torch.where((facing > GRAZING)[:, None] & (part < 0)[:, None], ratio, 1.0).numpy()
        copied *= cv2.GaussianBlur(ratios, (0, 0), self.soft)

        albedo = self.skin.colours(self.asset, face, corners)
        inside = part >= 0
        narrow = (~inside & (self.part[face] >= 0)).numpy()[:, None]
        albedo[inside] = torch.tensor(list(MOUTH.values()))[part[inside]] * self._mouth_shade(seen, vertices)[inside]
        light[inside] = light[inside].mean(1, keepdim=True)  # a tint of the fitted light belongs to the fitted albedo
        painted = copied.copy()
        painted[mask] = (albedo * light).numpy()
        painted[mask] = np.where(narrow, copied[mask], painted[mask])
        mouth = np.zeros((*mask.shape, 1), np.float32)
        mouth[mask, 0] = inside.numpy()
        spread = cv2.GaussianBlur(np.concatenate([painted * mouth, mouth], -1), (0, 0), self.soft)
        painted = np.where(mouth > 0, spread[..., :3] / np.maximum(spread[..., 3:], 1e-6), painted)
        lids = np.zeros(mask.shape, bool)
        lids[mask] = (self.lids[face] & ~shown).numpy()
        if lids.any():  # a texture holds the dark of the eye there: the skin around the eyes is nearer to it
            skin = np.zeros(mask.shape, bool)
            skin[mask] = (shown & self.in_face[face] & ~self.opens[face] & ~inside).numpy()
            painted[lids] = fill_smoothly(copied, skin)[lids]
        share = np.zeros(mask.shape, np.float32)
        hidden = ~shown & (self.opens[face] | inside)
        share[mask] = hidden.float().numpy()
        share = cv2.GaussianBlur(share, (0, 0), self.soft)[..., None]
        return to_uint8(to_srgb((copied * (1 - share) + painted * share).clip(0, 1)))

    def _parts_wide_enough(self, mask: np.ndarray, face: Tensor) -> Tensor:
        """`[P]`: the index in MOUTH at each pixel of the head, -1 elsewhere and in gaps too narrow to be painted.

        Shut lips of the mesh leave single pixels between them.
        """
        part = self.part[face]
        gap = np.zeros(mask.shape, np.uint8)
        gap[mask] = part.numpy() >= 0
        side = max(2, round(2 * self.soft))
        square = np.ones((side, side), np.uint8)
        core = cv2.erode(gap, square, anchor=(0, 0))
        wide = cv2.dilate(core, square, anchor=(side - 1, side - 1)) > 0  # an opening; cv2's own shifts even squares
        return torch.where(torch.from_numpy(wide[mask]), part, -1)

    def _mouth_shade(self, seen: MeshImage, vertices: Tensor) -> Tensor:
        """`[P, 1]`: share of the light that reaches each visible point if it lies in the mouth, by its depth in it."""
        lips = project(vertices[torch.as_tensor(self.asset.region("lips"))], self.camera)[1].median()
        return (MOUTH_SHADE * torch.exp(-(seen.depth[seen.mask] - lips).clamp(min=0) / DARKENING))[:, None]

    def _in_photograph(self, face: Tensor, corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the photograph shows surface points `[P, 2]`, whether it does `[P]`, and the cosine `[P]` at which."""
        points = interpolate(self.vertices, self.faces, face, corners)
        places, depth = project(points, self.camera)
        normals = torch.nn.functional.normalize(interpolate(self.normals, self.faces, face, corners), dim=-1)
        eye = torch.tensor(self.camera.position.tolist(), dtype=points.dtype)
        ray = torch.nn.functional.normalize(eye - points, dim=-1)
        facing = (normals * ray).sum(-1)
        column = places[:, 0].floor().long().clamp(0, self.camera.width - 1)
        row = places[:, 1].floor().long().clamp(0, self.camera.height - 1)
        shown = (depth < self.depth[row, column] + NEARER) & (facing > 0)
        shown &= (facing > LID_FACING) | ~self.lids[face]
        of_mouth = self.part[face] >= 0
        return (
            places,
            shown & torch.where(of_mouth, self.mouth_shown[row, column], self.skin_shown[row, column]),
            facing,
        )

    def _motion(self, seen: MeshImage, places: Tensor, shown: Tensor) -> np.ndarray:
        """`[H, W, 2]` float32: where each pixel's colour lies in the photograph."""
        height, width = seen.mask.shape
        rows, columns = np.mgrid[:height, :width].astype(np.float32) + 0.5
        own = np.stack([columns, rows], -1)
        shift, known = np.zeros((height, width, 3), np.float32), np.zeros((height, width), bool)
        mask = seen.mask.numpy()
        shift[mask, :2] = places.numpy() - own[mask]
        known[mask] = (shown & self.moves[seen.face[seen.mask].long()]).numpy()
        shift[~known] = 0
        small = (-(-width // COARSE), -(-height // COARSE))
        weight = cv2.resize(known.astype(np.float32), small, interpolation=cv2.INTER_AREA)
        coarse = cv2.resize(shift, small, interpolation=cv2.INTER_AREA) / np.maximum(weight, 1e-6)[..., None]
        still = cv2.resize(self.still.astype(np.uint8), small, interpolation=cv2.INTER_NEAREST) > 0
        still &= weight == 0
        coarse[still] = 0
        around = fill_smoothly(coarse.astype(np.float32), (weight > 0) | still)
        around = cv2.resize(around, (width, height), interpolation=cv2.INTER_LINEAR)
        exact = known.copy()  # ears and scalp hide each other: there the smooth field does not tear
        exact[mask] &= self.in_face[seen.face[seen.mask].long()].numpy()
        near = cv2.GaussianBlur(exact.astype(np.float32), (0, 0), self.soft)[..., None] * exact[..., None]
        return own + (near * shift + (1 - near) * around)[..., :2]

    def _look_up(self, places: np.ndarray) -> np.ndarray:
        """Linear colours of the photograph at `places` `[H, W, 2]`; beyond its edge the edge's."""
        across, down = np.ascontiguousarray((places - 0.5).astype(np.float32).transpose(2, 0, 1))
        return cv2.remap(self.image, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).clip(0, None)
