"""Mesh rasterisation: mask, depth, face and barycentrics of every pixel.

Backends: `warp` casts one ray through each pixel centre (any device, always there), `pytorch3d` rasterises where that
package is installed. Both give the same images, but for pixels whose centre lies on an edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar.base.errors import InputError
from avatar.base.optional import require
from avatar.geometry.cameras import Camera, project
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.runtime.backends import resolve

NEAR = 1e-3
"""Metres in front of the camera from which a vertex can be projected."""


@dataclass(frozen=True)
class MeshImage:
    """A mesh seen through a camera, on the device of its vertices."""

    mask: Tensor
    """`[H, W]` bool: the pixel's centre sees the mesh."""
    depth: Tensor
    """`[H, W]` float32 z-depth in metres, infinite where nothing is seen."""
    face: Tensor
    """`[H, W]` int32, -1 where nothing is seen."""
    barycentrics: Tensor
    """`[H, W, 3]` float32 in the order of the face's vertices, zero where nothing is seen."""


def rasterize(
    mesh: MeshQuery | Tensor, vertices: Tensor, camera: Camera, *, subsample: int = 1, backend: str = "auto"
) -> MeshImage:
    """Render a mesh; front and back faces are seen alike (the head is open at the neck).

    mesh: a `MeshQuery`, which is moved to `vertices` and should be reused from frame to frame, or faces `[F, 3]`.
    vertices: `[V, 3]` metres, world. subsample: every n-th pixel each way; the image is `ceil(H / n)` by `ceil(W / n)`
    and pixel (i, j) is the full image's pixel (n i, n j). backend: "auto" and "warp" are the same, or "pytorch3d".
    Raises InputError for vertices that do not fit or are not finite, ConfigError for an unknown backend,
    MissingDependencyError where pytorch3d is requested and not installed.
    """
    if subsample < 1:
        raise InputError("subsample must be at least 1", found=subsample)
    faces = mesh.faces if isinstance(mesh, MeshQuery) else mesh
    if resolve("rasterising", backend, vertices.device).name == "pytorch3d":
        return _rasterize_pytorch3d(faces, vertices, camera, subsample)
    query = mesh if isinstance(mesh, MeshQuery) else MeshQuery(faces, vertices.device)
    return _cast_pixels(query.update(vertices), camera, subsample)


def silhouette(mesh: MeshQuery | Tensor, vertices: Tensor, camera: Camera, *, backend: str = "auto") -> Tensor:
    """The mask `[H, W]` bool of the pixels whose centre sees the mesh; see `rasterize`."""
    return rasterize(mesh, vertices, camera, backend=backend).mask


def _cast_pixels(query: MeshQuery, camera: Camera, subsample: int) -> MeshImage:
    device = query.device
    rows, columns = -(-camera.height // subsample), -(-camera.width // subsample)
    depth = torch.full((rows, columns), float("inf"), device=device)
    face = torch.full((rows, columns), -1, dtype=torch.int32, device=device)
    barycentrics = torch.zeros(rows, columns, 3, device=device)
    x0, y0, x1, y1 = _bounds(query.vertices, camera)
    query.cast_pixels(
        rows=(-(-y0 // subsample), -(-y1 // subsample)),
        columns=(-(-x0 // subsample), -(-x1 // subsample)),
        step=subsample,
        intrinsics=(camera.fl_x, camera.fl_y, camera.cx, camera.cy),
        world_from_cam=camera.world_from_cam,
        face=face,
        depth=depth,
        barycentrics=barycentrics,
    )
    return MeshImage(face >= 0, depth, face, barycentrics)


def _bounds(vertices: Tensor, camera: Camera) -> tuple[int, int, int, int]:
    """The pixel rectangle (x0, y0, x1, y1), ends excluded, that holds the mesh; all of it where a part is behind."""
    pixels, depth = project(vertices.double(), camera)
    if float(depth.max()) < NEAR:
        return 0, 0, 0, 0
    if float(depth.min()) < NEAR:
        return 0, 0, camera.width, camera.height
    low, high = pixels.amin(0).tolist(), pixels.amax(0).tolist()
    margin = 1.0  # ray and projection round differently
    return (
        int(min(max(low[0] - margin, 0), camera.width)),
        int(min(max(low[1] - margin, 0), camera.height)),
        int(min(max(high[0] + margin + 1, 0), camera.width)),
        int(min(max(high[1] + margin + 1, 0), camera.height)),
    )


def _rasterize_pytorch3d(faces: Tensor, vertices: Tensor, camera: Camera, subsample: int) -> MeshImage:
    """Naive rasterisation by pytorch3d, whose camera axes are x left, y up; coordinates are NDC."""
    if vertices.dim() != 2 or vertices.shape[1] != 3 or len(vertices) <= int(faces.max()):
        raise InputError(
            "the vertices do not fit the mesh's faces",
            expected=f"[V, 3] with V > {int(faces.max())}",
            found=tuple(vertices.shape),
        )
    if not bool(torch.isfinite(vertices).all()):
        raise InputError("the vertices are not finite")
    require("pytorch3d", "the rasteriser pytorch3d")
    from pytorch3d.renderer.mesh import rasterize_meshes  # pyright: ignore[reportMissingImports]
    from pytorch3d.structures import Meshes  # pyright: ignore[reportMissingImports]

    pixels, depth = project(vertices.float(), camera)
    height, width = camera.height, camera.width
    # pytorch3d's NDC: +x left, +y up, the shorter side spans [-1, 1] and pixel (0, 0) is the top left
    half = min(height, width) / 2
    ndc = torch.stack([(width / 2 - pixels[:, 0]) / half, (height / 2 - pixels[:, 1]) / half, depth], dim=-1)
    found, z, barycentrics, _ = rasterize_meshes(
        Meshes([ndc], [faces.to(vertices.device).long()]),
        image_size=(height, width),
        blur_radius=0.0,
        faces_per_pixel=1,
        bin_size=0,
        perspective_correct=True,
        cull_backfaces=False,
        z_clip_value=NEAR,
    )
    step = (slice(None, None, subsample), slice(None, None, subsample))
    face = found[0, ..., 0][step].int()
    mask = face >= 0
    infinite = torch.full_like(z[0, ..., 0][step], float("inf"))
    return MeshImage(
        mask,
        torch.where(mask, z[0, ..., 0][step], infinite),
        face,
        torch.where(mask[..., None], barycentrics[0, ..., 0, :][step], torch.zeros_like(infinite)[..., None]),
    )
