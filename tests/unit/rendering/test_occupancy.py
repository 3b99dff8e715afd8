"""The occupancy grid: what it keeps, what it forgets, and that it never drops what is there."""

import pytest
import torch

from avatar.rendering.occupancy import DECAY, Occupancy, dilate


def make(counts=(6, 5, 4)):
    grid = Occupancy(torch.tensor([-0.3, 0.0, 0.1]), torch.tensor([0.3, 0.5, 0.5]), counts)
    grid.start(torch.ones(counts, dtype=torch.bool))
    return grid


def cell_list(*cells):
    return torch.tensor(cells, dtype=torch.int32)


def test_centres_and_lookup_agree():
    grid = make()
    torch.testing.assert_close(grid.cell, torch.tensor([0.1, 0.1, 0.1]))
    flat, inside = grid.index(grid.centres().reshape(-1, 3))
    assert inside.all()
    assert flat.tolist() == list(range(6 * 5 * 4))


def test_outside_the_box_is_empty():
    grid = make()
    outside = torch.tensor([[-0.31, 0.2, 0.2], [0.0, 0.51, 0.2], [0.0, 0.2, 0.0999], [1.0, 1.0, 1.0]])
    assert not grid.query(outside).any()
    assert grid.query(torch.tensor([[0.0, 0.2, 0.2]])).all()


def test_an_empty_cell_goes_and_a_full_one_stays():
    grid = make()
    cells = torch.arange(6 * 5 * 4, dtype=torch.int32)
    density = torch.zeros(len(cells))
    density[7] = 3.0
    for _ in range(3):
        grid.update(cells, density, threshold=0.02)
    assert grid.occupied.view(-1).nonzero().flatten().tolist() == [7]


def test_an_unseen_cell_stays():
    grid = make()
    grid.update(cell_list(3), torch.tensor([0.0]), threshold=0.02)
    assert not grid.occupied.view(-1)[3]
    assert int(grid.occupied.sum()) == 6 * 5 * 4 - 1


def test_what_is_there_at_some_times_is_remembered():
    """A mouth that opens in one frame of twenty keeps its cells."""
    grid = make()
    for step in range(100):
        grid.update(cell_list(11, 12), torch.tensor([2.0 if step % 20 == 0 else 0.0, 0.0]), threshold=0.02)
        assert grid.occupied.view(-1)[11]
    assert not grid.occupied.view(-1)[12]
    assert float(grid.density.view(-1)[11]) == pytest.approx(2.0 * DECAY**19, rel=1e-4)


def test_the_largest_of_several_looks_counts():
    grid = make()
    grid.update(cell_list(5, 5, 5), torch.tensor([0.0, 1.5, 0.2]), threshold=0.02)
    assert float(grid.density.view(-1)[5]) == pytest.approx(1.5)


def test_cells_outside_the_start_never_come():
    grid = make()
    allowed = torch.zeros(6, 5, 4, dtype=torch.bool)
    allowed[2, 2, 2] = True
    grid.start(allowed)
    grid.update(torch.arange(6 * 5 * 4, dtype=torch.int32), torch.full((120,), 9.0), threshold=0.02)
    assert grid.occupied.nonzero().tolist() == [[2, 2, 2]]


def test_hidden_cells_are_occupied_but_not_visible_until_light_comes():
    grid = make()
    cells = cell_list(3, 4)
    for _ in range(100):
        grid.update(cells, torch.tensor([5.0, 5.0]), 0.02, transmittance=torch.tensor([1.0, 1e-5]))
    assert grid.occupied.view(-1)[cells].tolist() == [True, True]
    assert grid.visible.view(-1)[cells].tolist() == [True, False]
    grid.update(cells[1:], torch.tensor([5.0]), 0.02, transmittance=torch.tensor([0.5]))
    assert grid.visible.view(-1)[4]


def test_candidates_lie_in_their_cells():
    grid = make()
    allowed = torch.zeros(6, 5, 4, dtype=torch.bool)
    allowed[1:3, 2, 1:] = True
    grid.start(allowed)
    points, cells = grid.candidates(500, torch.Generator().manual_seed(0))
    found, inside = grid.index(points)
    assert inside.all()
    assert (found == cells).float().mean() > 0.99  # a point on a border may round either way
    assert allowed.view(-1)[cells].all()
    assert len(cells.unique()) == int(allowed.sum())


def test_dilate_grows_by_a_cell_in_all_directions():
    grid = torch.zeros(5, 5, 5, dtype=torch.bool)
    grid[2, 2, 2] = True
    grown = dilate(grid, 1)
    assert int(grown.sum()) == 27
    assert grown[1:4, 1:4, 1:4].all()
    assert torch.equal(dilate(grid, 0), grid)
