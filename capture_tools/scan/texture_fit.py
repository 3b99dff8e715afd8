"""Stage 3, texture: vertices slide along the scan until its colours agree with the person's registered texture.

Li et al., ACM TOG 36(6), 2017, section 5. The scan, and the head in the texture of the person's first scan, are drawn
from several sides. Their ratio images are compared from coarse to fine, and the linearised difference (Lucas and Kanade
1981, with the mean slope of both) joins the linear system of the coupled stage: distances keep the vertices on the
scan, ties keep them together, and the pictures move them along it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from avatar.base.progress import Progress
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera
from avatar.geometry.meshes import vertex_normals
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mesh.types import interpolate
from capture_tools.scan.coupled_fit import CoupledFit, CoupledFitter
from capture_tools.scan.landmarks import close_camera
from capture_tools.scan.matching import INSIDE, geman_mcclure
from capture_tools.scan.ratio_images import ratio_image, slopes
from capture_tools.scan.rendering import ScanPainter
from capture_tools.scan.scan import Scan
from capture_tools.scan.surface_colours import SurfaceColours

VIEWS = ((0, 0), (-40, 0), (40, 0), (0, 30), (0, -25))
"""Degrees of yaw and pitch."""
SIZE, SHOWN = 400, 0.26
"""Pixels and metres across the pictures."""
LEVELS = (6.0, 3.0, 1.5)
"""Pixels of the narrow blur, from coarse to fine."""
ROUNDS = 3
"""Of each level."""
STRIDE = 2
"""Every how many pixels each way the pictures are compared."""
STRENGTH = 2e-4
"""Weight of a squared difference of logarithms at one pixel, where a squared metre of a sample weighs one."""
ODD = 3.0
"""Times the median difference from which on a pixel counts little."""
AGREEING = 0.004
"""Metres in depth by which scan and head may differ where they are compared."""
FACING = 0.35
"""Cosine between the skin and the camera."""
BELIEF = 0.1
"""In landmarks, over that of the coupled stage: pictures tell more of where skin is."""
FEWEST = 2000
"""Pixels that must be comparable."""
MOVING = (*INSIDE, "eyeballs")
"""Regions that are not compared: they turn, open and hide."""


@dataclass(frozen=True)
class _View:
    camera: Camera
    depth: np.ndarray
    luminance: np.ndarray


def luminance_of(colours: np.ndarray) -> np.ndarray:
    """Rec. 709's weights on colours `[..., 3]`."""
    return colours @ np.array([0.2126, 0.7152, 0.0722], np.float32)


class TextureFitter:
    """Aligns a coupled fit with a texture.

    scan: with colours, in the fit's frame. colours: of the same person, on the same topology.
    """

    def __init__(self, coupled: CoupledFitter, scan: Scan, colours: SurfaceColours, centre: np.ndarray) -> None:
        self.coupled, self.colours = coupled, colours
        asset = coupled.asset
        self.faces = torch.as_tensor(asset.faces).long()
        self.query = MeshQuery(self.faces)
        still = np.ones(asset.vertex_count, bool)
        for name in MOVING:
            still &= ~asset.regions.get(name, np.zeros(asset.vertex_count, bool))
        self.compared = np.asarray(still[asset.faces].all(1))
        painter = ScanPainter(scan)
        self.views = []
        for yaw, pitch in np.radians(VIEWS):
            camera = close_camera(centre, float(yaw), float(pitch), SIZE, SHOWN)
            depth, albedo = painter.surface(camera)
            self.views.append(_View(camera, depth, luminance_of(albedo)))

    def run(self, fit: CoupledFit) -> tuple[CoupledFit, dict[str, float]] | None:
        """The fit after the alignment, and differences before and after; None where too little can be compared."""
        before = self.difference(fit.vertices)
        if before is None:
            return None
        vertices, model = fit.vertices, fit.model
        self.coupled.trust = self.coupled.trust * BELIEF
        with Progress("texture fit", len(LEVELS) * ROUNDS, "round") as bar:
            for number, level in enumerate(LEVELS):
                for done in range(ROUNDS):
                    vertices = self.coupled.solve(model, vertices, 1.0, lambda v, at=level: self.equations(v, at))
                    bar.update(number * ROUNDS + done + 1)
                model = self.coupled.follow(vertices)
        made = self.coupled.repaired(vertices, lambda v: self.equations(v, LEVELS[-1]))
        after = self.difference(made.vertices)
        return made, {"before": before, "after": before if after is None else after}

    def difference(self, vertices: np.ndarray) -> float | None:
        """Median over pixels of the difference of the ratio images' logarithms, at the finest level."""
        rows = [self._compare(view, vertices, LEVELS[-1]) for view in self.views]
        values = np.concatenate([np.abs(row.off) for row in rows])
        return float(np.median(values)) if len(values) >= FEWEST else None

    def equations(self, vertices: np.ndarray, level: float) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Normal matrix `[3 V, 3 V]` and right side `[3 V]` of the vertices' coordinates."""
        rows = [self._compare(view, vertices, level) for view in self.views]
        off = np.concatenate([row.off for row in rows])
        corners = np.concatenate([row.corners for row in rows])
        values = np.concatenate([row.slopes for row in rows])
        size = 3 * len(vertices)
        if not len(off):
            return sparse.csr_matrix((size, size)), np.zeros(size)
        column = 3 * corners[:, :, None] + np.arange(3)
        row = np.repeat(np.arange(len(off)), 9)
        matrix = sparse.csr_matrix((values.ravel(), (row, column.ravel())), shape=(len(off), size))
        weights = geman_mcclure(off, ODD * float(np.median(np.abs(off))) + 1e-9) * STRENGTH
        weighted = matrix.T.multiply(weights).tocsr()
        return (weighted @ matrix).tocsr(), weighted @ (off + matrix @ vertices.ravel())

    def _compare(self, view: _View, vertices: np.ndarray, level: float) -> _Rows:
        """What pixels of one view say."""
        camera = view.camera
        moved = torch.as_tensor(vertices, dtype=torch.float32)
        image = rasterize(self.query, moved, camera)
        face, barycentrics = image.face[image.mask].long(), image.barycentrics[image.mask]
        colours, known = self.colours.at(face.numpy(), barycentrics.numpy())
        normals = interpolate(vertex_normals(moved, self.faces), self.faces, face, barycentrics).numpy()
        points = interpolate(moved, self.faces, face, barycentrics).numpy()
        towards = camera.position - points
        facing = (normals * towards).sum(1) / np.linalg.norm(towards, axis=1)
        depth = image.depth[image.mask].numpy()
        at = image.mask.numpy()
        agree = np.abs(view.depth[at] - depth) < AGREEING
        both = np.zeros(at.shape, bool)
        both[at] = known & self.compared[face.numpy()] & (facing > FACING) & agree
        head = np.zeros(at.shape, np.float32)
        head[at] = luminance_of(colours)
        ours, good = ratio_image(head, both, level)
        theirs, _ = ratio_image(view.luminance, both, level)
        slope, inside = slopes((ours + theirs) / 2, good)
        chosen = np.zeros_like(inside)
        chosen[::STRIDE, ::STRIDE] = inside[::STRIDE, ::STRIDE]
        index = np.zeros(at.shape, np.int64)
        index[at] = np.arange(len(depth))
        index = index[chosen]
        seen = points[index] @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
        x, y, z = seen.T
        g = slope[chosen]
        in_camera = np.stack([g[:, 0], g[:, 1], -(g[:, 0] * x + g[:, 1] * y) / z], 1) * (camera.fl_x / z)[:, None]
        in_world = in_camera @ camera.cam_from_world[:3, :3]
        corners = self.faces[face[index]].numpy()
        weights = barycentrics[index].numpy().astype(np.float64)
        return _Rows((ours - theirs)[chosen], corners, weights[:, :, None] * in_world[:, None])


@dataclass(frozen=True)
class _Rows:
    off: np.ndarray
    """`[M]` what the head's picture has more than the scan's."""
    corners: np.ndarray
    """`[M, 3]` vertices."""
    slopes: np.ndarray
    """`[M, 3, 3]` derivatives by the corners' coordinates."""
