"""Ray march: fixed steps through the box, kept where the inverse warp takes them into occupied cells.

A point x on a ray of frame i goes to y = x + s(h) (T_i x - x), with s a smooth step of the height h above the neck,
then to x' = y - d_i(y), with d_i interpolated from the frame's displacement grids. Samples are the steps whose x' lies
in an occupied cell. `march` takes one Warp kernel; the reference implementation is `reference.march`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avatar.base.errors import ConfigError, InputError
from avatar.kernels.march import reference
from avatar.kernels.march.types import Marched, MarchMotion, MarchSpace
from avatar.kernels.runtime.checks import FLOATS, INTEGERS, LARGEST, check_finite, check_range, check_tensor
from avatar.kernels.runtime.launch import get_warp, launch_chunks, view
from avatar.kernels.volume.types import starts

BACKENDS = ("auto", "warp", "nerfacc", "torch")
MOST_STEPS = 2**20
"""Most steps on one ray; more mean a mistake in near, far or step."""


@torch.no_grad()
def march(
    space: MarchSpace,
    motion: MarchMotion,
    origins: Tensor,
    directions: Tensor,
    frame: Tensor,
    near: Tensor,
    far: Tensor,
    *,
    step: float,
    offset: Tensor,
    dilated: Tensor,
    occupied: Tensor,
    max_samples: int,
    backend: str = "auto",
) -> Marched:
    """The first `max_samples` steps of each ray whose x' is in an occupied cell; without gradient.

    origins, directions: `[R, 3]`, world, metres and unit vectors. frame: `[R]` integer. near, far: `[R]` metres; steps
    lie at near + (k + offset) step < far, with offset `[R]` in [0, 1). dilated, occupied: bool `[X, Y, Z]`; only points
    y in `dilated` are warped further, so it must contain every y whose x' can be occupied.
    backend: "auto" (Warp), "warp", "torch" (the reference), or "nerfacc" (CUDA, without motion only: it cannot bend
    rays).

    Raises InputError for shapes, types, devices, a step or max_samples that do not fit, and on a CPU for values that
    are not finite, a frame out of range or more than 2^20 steps on a ray. Raises ConfigError for an unknown backend and
    for nerfacc with motion. On CUDA, where a check would stall the device, a ray that is not finite gets no samples,
    a frame out of range is clamped and a ray ends after 2^20 steps.
    """
    if backend not in BACKENDS:
        raise ConfigError("unknown backend of the ray march", expected=", ".join(BACKENDS), found=backend)
    _check(space, motion, origins, directions, frame, near, far, step, offset, dilated, occupied, max_samples)
    if backend == "nerfacc":
        if motion.canonical_from_world is not None or motion.grids is not None:
            raise ConfigError(
                "nerfacc's traversal cannot bend rays",
                expected="rays without head motion and displacement",
                fix="march with the backend warp",
            )
        from avatar.kernels.march.nerfacc import traverse

        ray, depth, displacement, count = traverse(
            space, origins, directions, near, far, step, offset, dilated & occupied, max_samples
        )
        return Marched(ray, depth, displacement, starts(count))
    run = reference.march if backend == "torch" else _march_warp
    return run(space, motion, origins, directions, frame, near, far, step, offset, dilated, occupied, max_samples)


def _check(
    space: MarchSpace,
    motion: MarchMotion,
    origins: Tensor,
    directions: Tensor,
    frame: Tensor,
    near: Tensor,
    far: Tensor,
    step: float,
    offset: Tensor,
    dilated: Tensor,
    occupied: Tensor,
    max_samples: int,
) -> None:
    if not (math.isfinite(step) and step > 0):
        raise InputError("the step of a ray march must be finite and above 0", found=step)
    if max_samples < 1:
        raise InputError("max_samples must be at least 1", found=max_samples)
    rays, device = len(origins), origins.device
    check_tensor("the corner of the cells", space.low, (3,), FLOATS, device)
    check_tensor("the size of a cell", space.cell, (3,), FLOATS, device)
    check_tensor("skull_from_canonical", space.skull_from_canonical, (4, 4), FLOATS, device)
    check_tensor("ray origins", origins, ("R", 3), FLOATS, device)
    check_tensor("ray directions", directions, (rays, 3), FLOATS, device)
    check_tensor("frame indices", frame, (rays,), INTEGERS, device)
    for name, tensor in (("near", near), ("far", far), ("offset", offset)):
        check_tensor(f"values of {name}", tensor, (rays,), FLOATS, device)
    for name, cells in (("dilated", dilated), ("occupied", occupied)):
        check_tensor(f"cells of {name}", cells, tuple(space.counts), (torch.bool,), device)
    if rays * max_samples > LARGEST // 3:
        raise InputError("too many samples for one march", expected=f"at most {LARGEST // 3}", found=rays * max_samples)
    frames = _check_motion(motion, device)
    if device.type != "cpu" or rays == 0:
        return
    if not float(space.cell.min()) > 0:
        raise InputError("a cell must have a size above 0", found=space.cell.tolist())
    check_finite(corner_of_the_cells=space.low, skull_from_canonical=space.skull_from_canonical)
    check_finite(ray_origins=origins, ray_directions=directions, near=near, far=far, offset=offset)
    longest = float((far - near).max())
    if longest > MOST_STEPS * step:
        raise InputError(
            "a ray has too many steps", expected=f"at most {MOST_STEPS}", found=f"{longest:g} m in steps of {step:g} m"
        )
    low, high = (float(value) for value in torch.aminmax(offset))
    if low < 0 or high > 1:
        raise InputError("the offset is a part of a step", expected="0 to 1", found=f"{low:g} to {high:g}")
    if frames is not None:
        check_range("the frame index", frame, frames)


def _check_motion(motion: MarchMotion, device: torch.device) -> int | None:
    """Check a motion (InputError); returns the number of frames, None without motion."""
    matrices, height = motion.canonical_from_world, motion.height
    if (matrices is None) != (height is None):
        raise InputError("head motion needs both canonical_from_world and height, or neither")
    frames = None
    if matrices is not None and height is not None:
        frames = len(matrices)
        check_tensor("matrices of canonical_from_world", matrices, (frames, 3, 4), FLOATS, device)
        check_tensor("rows of height", height, (frames, 4), FLOATS, device)
        if device.type == "cpu":
            check_finite(canonical_from_world=matrices, height=height)
    if motion.grids is None:
        return frames
    count = "B" if frames is None else frames
    check_tensor("displacement grids", motion.grids, (count, "nodes", 3), (torch.float16, *FLOATS), device)
    origin, cell, counts, offsets = motion.layout()
    grids = len(cell)
    check_tensor("values of grid_origin", origin, (grids, 3), FLOATS, device)
    check_tensor("values of grid_cell", cell, (grids,), FLOATS, device)
    check_tensor("values of grid_counts", counts, (grids, 3), INTEGERS, device)
    check_tensor("values of grid_offsets", offsets, (grids,), INTEGERS, device)
    if device.type == "cpu":
        last = int((offsets + counts.prod(-1)).max())
        if last > motion.grids.shape[1] or int(counts.min()) < 2 or int(offsets.min()) < 0:
            raise InputError(
                "the layout does not fit the displacement grids",
                expected=f"{last} nodes, 2 or more along each axis",
                found=f"{motion.grids.shape[1]} nodes, counts {counts.tolist()}",
            )
    return len(motion.grids)


def _march_warp(
    space: MarchSpace,
    motion: MarchMotion,
    origins: Tensor,
    directions: Tensor,
    frame: Tensor,
    near: Tensor,
    far: Tensor,
    step: float,
    offset: Tensor,
    dilated: Tensor,
    occupied: Tensor,
    max_samples: int,
) -> Marched:
    from avatar.kernels.march.portable import march_kernel, mat34, pack_kernel

    warp, device, rays = get_warp(), origins.device, len(origins)
    depth = torch.empty(rays, max_samples, device=device)
    displacement = torch.empty(rays, max_samples, 3, device=device)
    count = torch.zeros(rays, dtype=torch.int32, device=device)
    # the tensors are kept until the launch is over, because a view does not own its memory
    kept = [
        near.float().contiguous(),
        far.float().contiguous(),
        offset.float().contiguous(),
        origins.float().contiguous(),
        directions.float().contiguous(),
        frame.to(torch.int32).contiguous(),
    ]
    views = [view(kept[0]), view(kept[1]), view(kept[2]), view(kept[3], warp.vec3), view(kept[4], warp.vec3)]
    views.append(view(kept[5]))
    if motion.canonical_from_world is None or motion.height is None:
        views += [None, None]
    else:
        kept += [motion.canonical_from_world.float().contiguous(), motion.height.float().contiguous()]
        views += [view(kept[-2], mat34), view(kept[-1], warp.vec4)]
    views += [
        view(dilated.contiguous().view(torch.uint8).view(-1)),
        view(occupied.contiguous().view(torch.uint8).view(-1)),
    ]
    if motion.grids is None:
        views += [None] * 5
    else:
        origin, cell, counts, offsets = motion.layout()
        kept += [
            origin.float().contiguous(),
            cell.float().contiguous(),
            counts.to(torch.int32).contiguous(),
            offsets.to(torch.int32).contiguous(),
            motion.grids.half().contiguous(),
        ]
        views += [view(kept[-5], warp.vec3), view(kept[-4]), view(kept[-3]), view(kept[-2]), view(kept[-1], warp.vec3h)]
    outputs = [view(depth), view(displacement, warp.vec3), view(count)]
    launch_chunks(march_kernel, rays, [space.struct, float(step), *views, *outputs], device, smallest=128)
    first = starts(count)
    total = int(first[-1])
    ray = torch.empty(total, dtype=torch.int64, device=device)
    packed_depth, packed_displacement = depth.new_empty(total), depth.new_empty(total, 3)
    packed = [view(ray), view(packed_depth), view(packed_displacement, warp.vec3)]
    launch_chunks(
        pack_kernel, rays, [view(first), view(depth), view(displacement, warp.vec3), *packed], device, smallest=256
    )
    return Marched(ray, packed_depth, packed_displacement, first)
