"""What `march` refuses before any kernel starts, whatever the backend."""

import math
from dataclasses import replace

import pytest
import torch

from avatar.base.errors import ConfigError, InputError
from avatar.kernels.march.op import MOST_STEPS, march
from avatar.kernels.march.types import MarchMotion, MarchSpace

RAYS, FRAMES, COUNTS = 6, 2, (4, 5, 6)
NAN, INF = float("nan"), float("inf")


def make_case():
    space = MarchSpace(torch.zeros(3), torch.full((3,), 0.1), COUNTS, (0.1, 0.0), torch.eye(4))
    motion = MarchMotion(
        torch.eye(4)[:3].repeat(FRAMES, 1, 1),
        torch.tensor([[0.0, 1.0, 0.0, 0.0]]).repeat(FRAMES, 1),
        torch.zeros(FRAMES, 8, 3, dtype=torch.float16),
        torch.zeros(1, 3),
        torch.full((1,), 0.5),
        torch.full((1, 3), 2),
        torch.zeros(1, dtype=torch.int64),
    )
    arguments = {
        "origins": torch.tensor([[0.15, 0.25, -1.0]]).repeat(RAYS, 1),
        "directions": torch.tensor([[0.0, 0.0, 1.0]]).repeat(RAYS, 1),
        "frame": torch.arange(RAYS) % FRAMES,
        "near": torch.full((RAYS,), 0.5),
        "far": torch.full((RAYS,), 2.0),
        "step": 0.1,
        "offset": torch.full((RAYS,), 0.5),
        "dilated": torch.ones(COUNTS, dtype=torch.bool),
        "occupied": torch.ones(COUNTS, dtype=torch.bool),
        "max_samples": 4,
    }
    return space, motion, arguments


def with_value(tensor, value, row=3):
    changed = tensor.clone()
    changed.reshape(len(tensor), -1)[row, 0] = value
    return changed


BAD = {
    "NaN origin": ("origins", lambda t: with_value(t, NAN), "1 of 6 ray origins are not finite"),
    "infinite direction": ("directions", lambda t: with_value(t, INF), "1 of 6 ray directions are not finite"),
    "NaN near": ("near", lambda t: with_value(t, NAN), "near are not finite"),
    "infinite far": ("far", lambda t: with_value(t, INF), "far are not finite"),
    "NaN offset": ("offset", lambda t: with_value(t, NAN), "offset are not finite"),
    "endless far": ("far", lambda t: with_value(t, 1e9), "too many steps"),
    "offset beyond a step": ("offset", lambda t: with_value(t, 1.5), "part of a step"),
    "negative offset": ("offset", lambda t: with_value(t, -0.1), "part of a step"),
    "int origins": ("origins", lambda t: t.long(), "ray origins cannot be used"),
    "half directions": ("directions", lambda t: t.half(), "ray directions cannot be used"),
    "flat origins": ("origins", lambda t: t[:, :2], "ray origins cannot be used"),
    "fewer directions": ("directions", lambda t: t[:-1], "ray directions cannot be used"),
    "near of other length": ("near", lambda t: t[:-1], "values of near cannot be used"),
    "far of other length": ("far", lambda t: torch.cat([t, t]), "values of far cannot be used"),
    "offset of other length": ("offset", lambda t: t[:1], "values of offset cannot be used"),
    "frame of other length": ("frame", lambda t: t[:-1], "frame indices cannot be used"),
    "float frame": ("frame", lambda t: t.float(), "frame indices cannot be used"),
    "frame too large": ("frame", lambda t: with_value(t, FRAMES), "frame index is out of range"),
    "negative frame": ("frame", lambda t: with_value(t, -1), "frame index is out of range"),
    "dilated of wrong shape": ("dilated", lambda t: t[:-1], "cells of dilated cannot be used"),
    "dilated of wrong axes": ("dilated", lambda t: t.permute(2, 1, 0), "cells of dilated cannot be used"),
    "occupied of bytes": ("occupied", lambda t: t.byte(), "cells of occupied cannot be used"),
    "occupied of wrong shape": ("occupied", lambda t: t.flatten(), "cells of occupied cannot be used"),
    "occupied elsewhere": ("occupied", lambda t: t.to("meta"), "another device"),
    "near elsewhere": ("near", lambda t: t.to("meta"), "another device"),
    "negative step": ("step", lambda t: -t, "above 0"),
    "no step": ("step", lambda t: 0.0, "above 0"),
    "NaN step": ("step", lambda t: NAN, "above 0"),
    "infinite step": ("step", lambda t: INF, "above 0"),
    "no samples": ("max_samples", lambda t: 0, "max_samples"),
    "too many samples": ("max_samples", lambda t: 2**31, "too many samples"),
}


@pytest.mark.parametrize("backend", ["warp", "torch"])
@pytest.mark.parametrize("case", BAD)
def test_bad_rays_are_refused(case, backend):
    name, change, message = BAD[case]
    space, motion, arguments = make_case()
    arguments[name] = change(arguments[name])
    with pytest.raises(InputError, match=message):
        march(space, motion, **arguments, backend=backend)


BAD_MOTION = {
    "half of the head motion": ({"height": None}, "or neither"),
    "matrices of wrong shape": ({"canonical_from_world": torch.zeros(FRAMES, 4, 4)}, "canonical_from_world"),
    "other number of heights": ({"height": torch.zeros(FRAMES + 1, 4)}, "rows of height"),
    "other number of grids": ({"grids": torch.zeros(FRAMES + 1, 8, 3).half()}, "displacement grids"),
    "integer grids": ({"grids": torch.zeros(FRAMES, 8, 3).long()}, "displacement grids"),
    "grids without layout": ({"grid_cell": None}, "need their layout"),
    "layout of other length": ({"grid_offsets": torch.zeros(2, dtype=torch.int64)}, "grid_offsets"),
    "too few nodes": ({"grid_counts": torch.full((1, 3), 3)}, "does not fit the displacement grids"),
    "flat grids": ({"grid_counts": torch.tensor([[1, 2, 2]])}, "does not fit the displacement grids"),
    "negative offset": ({"grid_offsets": torch.tensor([-8])}, "does not fit the displacement grids"),
    "NaN matrix": ({"canonical_from_world": torch.full((FRAMES, 3, 4), NAN)}, "canonical from world are not finite"),
    "motion elsewhere": ({"height": torch.zeros(FRAMES, 4, device="meta")}, "another device"),
}


@pytest.mark.parametrize("case", BAD_MOTION)
def test_bad_motion_is_refused(case):
    change, message = BAD_MOTION[case]
    space, motion, arguments = make_case()
    with pytest.raises(InputError, match=message):
        march(space, replace(motion, **change), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": torch.tensor([0.1, 0.0, 0.1])}, "size above 0"),
        ({"cell": torch.tensor([0.1, NAN, 0.1])}, "size above 0"),
        ({"low": torch.tensor([0.0, INF, 0.0])}, "not finite"),
        ({"low": torch.zeros(2)}, "corner of the cells"),
        ({"skull_from_canonical": torch.eye(3)}, "skull_from_canonical"),
        ({"counts": (4, 5, 7)}, "cells of dilated"),
    ],
)
def test_a_bad_space_is_refused(change, message):
    space, motion, arguments = make_case()
    with pytest.raises(InputError, match=message):
        march(replace(space, **change), motion, **arguments)


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_no_rays_give_no_samples(backend):
    space, motion, arguments = make_case()
    for name in ("origins", "directions", "frame", "near", "far", "offset"):
        arguments[name] = arguments[name][:0]
    found = march(space, motion, **arguments, backend=backend)
    assert (found.ray.shape, found.depth.shape, found.displacement.shape, found.count.shape) == (
        (0,),
        (0,),
        (0, 3),
        (0,),
    )


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_the_good_case_is_good(backend):
    """The case all of the above are variants of marches, and a ray that is behind its end gets nothing."""
    space, motion, arguments = make_case()
    arguments["far"] = with_value(arguments["far"], 0.1)
    found = march(space, motion, **arguments, backend=backend)
    assert found.count.tolist() == [4, 4, 4, 0, 4, 4]
    assert torch.allclose(found.depth[:4], torch.tensor([1.05, 1.15, 1.25, 1.35]))


def test_the_longest_ray_is_still_marched():
    space, motion, arguments = make_case()
    arguments["far"] = arguments["near"] + MOST_STEPS * 1e-6
    found = march(space, motion, **{**arguments, "step": 1e-6, "max_samples": 1})
    assert (found.count == 1).all()
    assert math.isclose(float(found.depth[0]), 1.0, abs_tol=1e-5)


def test_nerfacc_refuses_to_bend_rays():
    space, motion, arguments = make_case()
    with pytest.raises(ConfigError, match="cannot bend rays"):
        march(space, motion, **arguments, backend="nerfacc")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_on_cuda_bad_values_end_and_do_not_crash():
    space, motion, arguments = make_case()

    def there(value):
        return value.cuda() if isinstance(value, torch.Tensor) else value

    space = replace(space, **{name: there(value) for name, value in vars(space).items()})
    motion = replace(motion, **{name: there(value) for name, value in vars(motion).items()})
    arguments["origins"] = with_value(arguments["origins"], NAN, 0)
    arguments["far"] = with_value(arguments["far"], INF, 1)
    arguments["frame"] = with_value(arguments["frame"], 10**6, 2)
    found = march(space, motion, **{name: there(value) for name, value in arguments.items()})
    assert found.count.tolist() == [0, 4, 4, 4, 4, 4]
