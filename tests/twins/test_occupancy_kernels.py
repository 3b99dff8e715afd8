"""Cells of points and what a grid remembers of them, against their twins."""

import pytest
import torch

from avatar.kernels.occupancy import reference
from avatar.kernels.occupancy.op import locate_cells, remember_largest

GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")])
COUNTS = (7, 5, 6)


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("count", [0, 1, 9001])
def test_points_are_located_as_the_twin_does(count, device):
    generator = torch.Generator().manual_seed(count)
    low, cell = torch.tensor([-0.5, 0.25, 1.0], device=device), torch.tensor([0.125, 0.25, 0.5], device=device)
    place = torch.rand(count, 3, generator=generator) * 10 - 1.5
    place[::3] = place[::3].round()  # cell borders; powers of two keep them exact
    points = place.to(device) * cell + low
    if count > 3:
        points[1, 0], points[2, 2] = torch.nan, torch.inf
    found = locate_cells(points, low, cell, COUNTS)
    assert found.dtype == torch.int32
    assert torch.equal(found, reference.locate_cells(points, low, cell, COUNTS))
    if count > 3:
        assert found[1] == found[2] == -1
        assert len(found.unique()) == 7 * 5 * 6 + 1


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_memories_are_what_the_twin_makes_them(count, device):
    generator = torch.Generator().manual_seed(count)
    start = torch.rand(300, generator=generator) * 4
    start[::7] = 1e4
    ours, twin = start.clone().to(device), start.clone().to(device)
    for _ in range(3):
        cells = torch.randint(-1, 200, (count,), generator=generator, dtype=torch.int32).to(device)
        values = torch.rand(count, generator=generator).to(device) * 4
        values[::5] = 0.0
        remember_largest(ours, cells, values, decay=0.9, unseen=1e4)
        reference.remember_largest(twin, cells, values, decay=0.9, unseen=1e4)
    torch.testing.assert_close(ours, twin, atol=0, rtol=1e-6)
    assert torch.equal(ours[200:].cpu(), start[200:])
