"""The autograd function of the inverse warp on Warp's kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar.kernels.runtime.launch import get_warp, launch_chunks, launch_on_cpu, launch_shares, view, worker_count

SMALLEST_CHUNK = 1024
"""Fewest samples for which another CPU thread pays."""


class InverseWarp(torch.autograd.Function):
    """Forward and backward of `op.to_canonical`; `rays` are origins, directions, frames, ray indices and depths."""

    @staticmethod
    def forward(
        ctx: Any,
        rays: list[Tensor],
        neck: tuple[float, float],
        displacement: Tensor | None,
        matrix: Tensor | None,
        height: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        from avatar.kernels.warp.portable import inverse_warp_kernel

        displacement = None if displacement is None else displacement.detach().contiguous()
        motion = (
            [] if matrix is None or height is None else [matrix.detach().contiguous(), height.detach().contiguous()]
        )
        depth = rays[4]
        points, views = depth.new_empty(len(depth), 3), depth.new_empty(len(depth), 3)
        vec3 = get_warp().vec3
        arrays = [*_views(rays), None if displacement is None else view(displacement, vec3), *_motion(motion)]
        arrays += [view(points, vec3), view(views, vec3)]
        launch_chunks(
            inverse_warp_kernel, len(depth), [*neck, *arrays], depth.device, smallest=SMALLEST_CHUNK, even=True
        )
        ctx.neck = neck
        ctx.save_for_backward(*rays, *motion)
        ctx.mark_non_differentiable(views)
        return points, views

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        from avatar.kernels.warp.portable import inverse_warp_gradient_kernel

        *rays, matrix, height = ctx.saved_tensors
        depth, incoming, warp = rays[4], incoming.contiguous(), get_warp()
        count, device = len(depth), depth.device
        # on a CPU each worker has its own sums: additions are not atomic there, and the result is reproducible
        workers = 1 if device.type == "cuda" else worker_count(count, SMALLEST_CHUNK)
        grad_matrix = matrix.new_zeros(workers, *matrix.shape)
        grad_height = height.new_zeros(workers, *height.shape)
        arrays = [*_views(rays), *_motion([matrix, height]), view(incoming, warp.vec3)]
        arrays += [view(grad_matrix, warp.vec4), view(grad_height, warp.vec4)]
        if device.type == "cuda":
            launch_chunks(inverse_warp_gradient_kernel, count, [0, *ctx.neck, *arrays], device)
        else:

            def launch(worker: int, first: int, last: int) -> None:
                launch_on_cpu(inverse_warp_gradient_kernel, last - first, [first, worker, *ctx.neck, *arrays])

            launch_shares(launch, count, workers)
        return None, None, None, grad_matrix.sum(0), grad_height.sum(0)


def _views(rays: list[Tensor]) -> list[Any]:
    vec3 = get_warp().vec3
    origins, directions, frame, ray, depth = rays
    return [view(origins, vec3), view(directions, vec3), view(frame), view(ray), view(depth)]


def _motion(motion: list[Tensor]) -> list[Any]:
    if not motion:
        return [None, None]
    from avatar.kernels.warp.portable import mat34

    return [view(motion[0], mat34), view(motion[1], get_warp().vec4)]
