"""Indices that address memory are refused before a kernel starts."""

import pytest
import torch

from avatar.base.errors import InputError
from avatar.kernels.occupancy.op import remember_largest
from avatar.kernels.volume.op import render_weights, sum_along_rays
from avatar.kernels.warp.op import to_canonical

ORIGINS, DIRECTIONS = torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 1.0]]).repeat(2, 1)
MOTION = {"canonical_from_world": torch.eye(4)[:3].repeat(2, 1, 1), "height": torch.zeros(2, 4)}


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize(
    ("frame", "ray", "named"), [([0, 2], [0, 1], "frame"), ([-1, 0], [0, 1], "frame"), ([0, 1], [0, 2], "ray")]
)
def test_rays_and_frames_of_samples(backend, frame, ray, named):
    with pytest.raises(InputError, match=f"{named} indices is out of range"):
        to_canonical(
            ORIGINS, DIRECTIONS, torch.tensor(frame), torch.tensor(ray), torch.ones(2), backend=backend, **MOTION
        )


@pytest.mark.parametrize("cells", [[0, 8], [-2, 0]])
def test_cells_of_the_occupancy(cells):
    with pytest.raises(InputError, match="cells is out of range"):
        remember_largest(torch.zeros(8), torch.tensor(cells).int(), torch.ones(2), decay=0.9, unseen=1e4)


@pytest.mark.parametrize("first", [[1, 2, 4], [0, 5, 4], [0, -1, 4]])
def test_where_the_samples_of_rays_begin(first):
    for run in (render_weights, sum_along_rays):
        with pytest.raises(InputError, match="one after another"):
            run(torch.ones(4), torch.tensor(first))
