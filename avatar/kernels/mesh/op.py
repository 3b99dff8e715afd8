"""Ray and closest-point queries on a deforming triangle mesh, through Warp's bounding volume hierarchy.

The reference implementations, which test every triangle, are `reference.cast_rays`, `reference.closest_points` and
`reference.spread`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar.base.errors import InputError
from avatar.kernels.mesh.types import ClosestPoints, RayHits
from avatar.kernels.runtime.checks import FLOAT32, check_finite, check_tensor
from avatar.kernels.runtime.launch import get_warp, launch_chunks, view

FAR = 1e9
"""Metres; stands for "no limit" in queries."""


class MeshQuery:
    """A mesh of fixed faces whose vertices may move between queries.

    faces: `[F, 3]` integers, F >= 1. device: that of the vertices and of all queries. portable: take the CUDA kernels
    on a CPU too (slower, the same results), for tests.
    Call `update` with vertices before the first query. Queries have no gradient; differentiate through
    `interpolate(vertices, faces, hits.face, hits.barycentrics)`. All methods raise InputError for shapes, types, values
    or devices that do not fit.
    """

    def __init__(self, faces: Tensor, device: torch.device | str = "cpu", *, portable: bool = False) -> None:
        if faces.dim() != 2 or faces.shape[1] != 3 or len(faces) == 0 or faces.dtype.is_floating_point:
            raise InputError(
                "a mesh needs faces of three vertex indices",
                expected="integers [F, 3] with F >= 1",
                found=f"{faces.dtype} {tuple(faces.shape)}",
            )
        self.device = torch.device(device)
        self._native = self.device.type == "cpu" and not portable
        self.faces = faces.detach().to(self.device, torch.int32).contiguous()
        self._last_vertex = int(self.faces.max())
        if int(self.faces.min()) < 0:
            raise InputError("a face names a vertex below 0", found=int(self.faces.min()))
        self._vertices: Tensor | None = None
        self._mesh: Any = None

    @property
    def vertices(self) -> Tensor:
        """The vertices `[V, 3]` float32 of the last `update`."""
        return self._require_vertices()

    def update(self, vertices: Tensor) -> MeshQuery:
        """Move the mesh to vertices `[V, 3]` (metres) and refit its hierarchy; returns itself."""
        if vertices.dim() != 2 or vertices.shape[1] != 3 or len(vertices) <= self._last_vertex:
            raise InputError(
                "the vertices do not fit the mesh's faces",
                expected=f"[V, 3] with V > {self._last_vertex}",
                found=tuple(vertices.shape),
            )
        _check(vertices, "vertices", self.device)
        warp = get_warp()
        if self._vertices is None or self._vertices.shape != vertices.shape:
            # the mesh keeps its own buffer, so that an update refits the hierarchy instead of building a new one
            self._vertices = vertices.detach().to(torch.float32).clone(memory_format=torch.contiguous_format)
            with self._stream():
                self._mesh = warp.Mesh(
                    points=warp.from_torch(self._vertices, dtype=warp.vec3, requires_grad=False),
                    indices=warp.from_torch(self.faces.reshape(-1), requires_grad=False),
                )
            return self
        self._vertices.copy_(vertices.detach())
        with self._stream():
            self._mesh.refit()
        return self

    def cast_rays(self, origins: Tensor, directions: Tensor, *, max_depth: float = FAR) -> RayHits:
        """First hits of rays with origins `[N, 3]` (metres) and directions `[N, 3]`, which need not be unit vectors.

        max_depth: in lengths of the direction.
        """
        from avatar.kernels.mesh.portable import cast_rays_kernel

        self._require_vertices()
        _check_points(origins, "ray origins", self.device)
        _check_points(directions, "ray directions", self.device)
        if not max_depth > 0:
            raise InputError("max_depth must be above 0", found=max_depth)
        if origins.shape != directions.shape:
            raise InputError(
                "rays need as many directions as origins",
                expected=tuple(origins.shape),
                found=tuple(directions.shape),
            )
        origins, directions = origins.detach().float().contiguous(), directions.detach().float().contiguous()
        face, depth, barycentrics = self._outputs(len(origins))
        vec3 = get_warp().vec3
        launch_chunks(
            cast_rays_kernel,
            len(origins),
            [
                self._mesh.id,
                float(min(max_depth, FAR)),
                view(origins, vec3),
                view(directions, vec3),
                view(face),
                view(depth),
                view(barycentrics, vec3),
            ],
            self.device,
        )
        return RayHits(face, depth, barycentrics)

    def cast_pixels(
        self,
        *,
        rows: tuple[int, int],
        columns: tuple[int, int],
        step: int,
        intrinsics: tuple[float, float, float, float],
        world_from_cam: np.ndarray,
        face: Tensor,
        depth: Tensor,
        barycentrics: Tensor,
    ) -> None:
        """Cast rays through the pixels of a rectangle of an image and write their hits into its arrays.

        rows, columns: first and one past the last of the rectangle. step: image pixel (i, j) is centred at
        (step j + 0.5, step i + 0.5). intrinsics: focal lengths and principal point (fx, fy, cx, cy) in the pixels of
        step 1. world_from_cam: `[4, 4]`, OpenCV. face `[H, W]` int32, depth `[H, W]` (z-depth, metres) and barycentrics
        `[H, W, 3]`: contiguous, on the mesh's device; pixels without a hit are left unchanged.
        """
        from avatar.kernels.mesh.portable import cast_pixels_kernel

        self._require_vertices()
        height, width = _check_image(face, depth, barycentrics, self.vertices.device)
        if not (0 <= rows[0] <= rows[1] <= height and 0 <= columns[0] <= columns[1] <= width):
            raise InputError(
                "the window does not lie in the image",
                expected=f"rows in 0 to {height}, columns in 0 to {width}",
                found=f"{rows}, {columns}",
            )
        if step < 1:
            raise InputError("pixels need a step of at least 1", found=step)
        if world_from_cam.shape != (4, 4):
            raise InputError("the camera's pose has a wrong shape", expected="[4, 4]", found=world_from_cam.shape)
        if not (np.isfinite(world_from_cam).all() and np.isfinite(intrinsics).all() and min(intrinsics[:2]) > 0):
            raise InputError(
                "the camera is not finite, or has no focal length", found=f"{intrinsics}, {world_from_cam.tolist()}"
            )
        warp = get_warp()
        width = columns[1] - columns[0]
        launch_chunks(
            cast_pixels_kernel,
            max(0, rows[1] - rows[0]) * max(0, width),
            [
                self._mesh.id,
                FAR,
                warp.vec3(*world_from_cam[:3, 3].tolist()),
                warp.mat33(*world_from_cam[:3, :3].flatten().tolist()),
                warp.vec2(*intrinsics[:2]),
                warp.vec2(*intrinsics[2:]),
                warp.vec2i(columns[0], rows[0]),
                width,
                step,
                view(face),
                view(depth),
                view(barycentrics, warp.vec3),
            ],
            self.device,
        )

    def closest_points(self, points: Tensor, max_distance: float = FAR) -> ClosestPoints:
        """The closest surface points of `points` `[N, 3]` (metres), where they are nearer than `max_distance` metres.

        Fast where consecutive points are close together (sorted along a space-filling curve) and `max_distance` is
        small.
        """
        self._require_vertices()
        _check_points(points, "points", self.device)
        if not max_distance > 0:
            raise InputError("max_distance must be above 0", found=max_distance)
        points = points.detach().float().contiguous()
        face, distance, barycentrics = self._outputs(len(points))
        vec3 = get_warp().vec3
        self._launch_points(
            "closest_points_kernel",
            points,
            float(min(max_distance, FAR)),
            [view(face), view(distance), view(barycentrics, vec3)],
        )
        return ClosestPoints(face, barycentrics, distance)

    def spread(
        self, points: Tensor, values: Tensor, where: Tensor, output: Tensor, *, fade: float, reach: float
    ) -> None:
        """Extrapolate vertex values off the surface and write them to rows of `output`: closest point, interpolation
        and fading with the distance d in one pass.

        points `[N, 3]` (metres) take the value of `values` `[V, 3]` at the closest surface point, times exp(-d / fade)
        and a smooth step from 1 at 60 % of `reach` to 0 at `reach` (metres); zero beyond. Point i writes to row
        `where[i]` (int32 `[N]`) of `output` (float16 `[K, 3]`, contiguous). Sort the points as for `closest_points`.
        Without gradient.
        """
        vertices = self._require_vertices()
        _check_points(points, "points", self.device)
        _check(values, "values", self.device)
        if values.shape != vertices.shape:
            raise InputError(
                "values do not fit the vertices", expected=tuple(vertices.shape), found=tuple(values.shape)
            )
        if not (fade > 0 and reach > 0):
            raise InputError("fade and reach must be above 0", found=f"{fade} and {reach}")
        if output.device != vertices.device:
            raise InputError("output is on another device than the mesh", expected=self.device, found=output.device)
        if output.dtype != torch.float16 or output.dim() != 2 or output.shape[1] != 3 or not output.is_contiguous():
            raise InputError(
                "output has a wrong form",
                expected="contiguous float16 [K, 3]",
                found=f"{output.dtype} {tuple(output.shape)}",
            )
        if where.dtype != torch.int32 or where.shape != points.shape[:1] or where.device != output.device:
            raise InputError(
                "where does not fit the points",
                expected=f"int32 [{len(points)}] on {output.device}",
                found=f"{where.dtype} {tuple(where.shape)} on {where.device}",
            )
        if self.device.type == "cpu" and len(where):
            low, high = (int(value) for value in torch.aminmax(where))
            if low < 0 or high >= len(output):
                raise InputError(
                    "where names a row that is not there", expected=f"0 to {len(output) - 1}", found=f"{low} to {high}"
                )
        points, values = points.detach().float().contiguous(), values.detach().float().contiguous()
        where = where.contiguous()
        self._launch_points(
            "spread_kernel",
            points,
            float(reach),
            [view(values, get_warp().vec3), float(fade), view(where), view(output.view(-1))],
        )

    def _launch_points(self, name: str, points: Tensor, max_distance: float, arguments: list[Any]) -> None:
        """Launch a kernel over points `[N, 3]`: a thread per point, or on a CPU per packet of points."""
        if self._native:
            from avatar.kernels.mesh import cpu as kernels

            size = kernels.LANES
        else:
            from avatar.kernels.mesh import portable as kernels

            size = 1
        launch_chunks(
            getattr(kernels, name),
            -(-len(points) // size),
            [self._mesh.id, max_distance, view(points, get_warp().vec3), *arguments],
            self.device,
            smallest=256 // size,
        )

    def _require_vertices(self) -> Tensor:
        if self._vertices is None:
            raise InputError("a mesh was asked before it has vertices", fix="call update(vertices) first")
        return self._vertices

    def _outputs(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        face = torch.empty(count, dtype=torch.int32, device=self.device)
        values = torch.empty(count, dtype=torch.float32, device=self.device)
        return face, values, torch.empty(count, 3, dtype=torch.float32, device=self.device)

    def _stream(self) -> Any:
        warp = get_warp()
        if self.device.type != "cuda":
            return warp.ScopedDevice("cpu")
        return warp.ScopedStream(warp.stream_from_torch(torch.cuda.current_stream(self.device)))


def _check(tensor: Tensor, name: str, device: torch.device) -> None:
    """Raise InputError for another device, for integers, and on a CPU for NaN and infinity."""
    if tensor.device.type != device.type or (device.index is not None and tensor.device != device):
        raise InputError(f"{name} are on another device than the mesh", expected=device, found=tensor.device)
    if not tensor.dtype.is_floating_point:
        raise InputError(f"{name} are not floating point", expected="float32", found=tensor.dtype)
    if device.type == "cpu" and len(tensor):
        check_finite(**{name: tensor})


def _check_image(face: Tensor, depth: Tensor, barycentrics: Tensor, device: torch.device) -> tuple[int, int]:
    """Height and width of an image's arrays; raises InputError where a kernel cannot write to them."""
    size = tuple(face.shape)
    check_tensor("faces of the image", face, ("H", "W"), (torch.int32,), device)
    check_tensor("depths of the image", depth, size, FLOAT32, device)
    check_tensor("barycentrics of the image", barycentrics, (*size, 3), FLOAT32, device)
    if not (face.is_contiguous() and depth.is_contiguous() and barycentrics.is_contiguous()):
        raise InputError("the arrays of the image must be contiguous")
    return size[0], size[1]


def _check_points(points: Tensor, name: str, device: torch.device) -> None:
    if points.dim() != 2 or points.shape[1] != 3:
        raise InputError(f"{name} have a wrong shape", expected="[N, 3]", found=tuple(points.shape))
    _check(points, name, device)
