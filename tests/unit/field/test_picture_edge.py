"""Beyond the captured picture: below it the torso goes on, at the sides it fades, inside nothing changes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar.field.picture_edge import FADE, INSIDE, PictureEdge, row_sums
from avatar.geometry.cameras import Camera, image_rays, look_at, project, turn_camera

SIZE, FOCAL = 100, 220.0


@pytest.fixture
def camera():
    return Camera(SIZE, SIZE, FOCAL, FOCAL, 50.0, 40.0, look_at((0.1, 0.05, 1.1), (0, 0, 0)))


@pytest.fixture
def edge(camera):
    found = PictureEdge.of(camera, torch.device("cpu"))
    assert found is not None
    return found


def cloud() -> torch.Tensor:
    return torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) * 0.9 - 0.45


def test_points_below_the_picture_are_raised_to_its_lower_edge_and_others_stay(camera, edge):
    points = cloud()
    raised = edge.lifted(points)
    before, after = project(points, camera)[0], project(raised, camera)[0]
    cut = SIZE * (1 - INSIDE)
    below = before[:, 1] > cut
    assert 100 < below.sum() < 3900
    torch.testing.assert_close(raised[~below], points[~below], atol=1e-6, rtol=0)
    torch.testing.assert_close(after[below, 1], torch.full((int(below.sum()),), cut), atol=1e-2, rtol=0)
    torch.testing.assert_close(raised[:, [0, 2]], points[:, [0, 2]])


def test_presence_is_one_in_the_picture_and_zero_beyond_its_sides(camera, edge):
    points = cloud()
    column = project(points, camera)[0][:, 0]
    presence = edge.presence(points)
    margin = 2 * FADE * SIZE  # the fade is an angle, seen in perspective
    assert (presence[(column > margin) & (column < SIZE - margin)] == 1).all()
    assert (presence[(column < 0) | (column > SIZE)] == 0).all()
    fading = presence[(column > 1) & (column < FADE * SIZE - 1)]
    assert 0.2 < float(fading.mean()) < 0.8


def test_cells_below_the_picture_are_occupied_as_those_above_its_edge(edge):
    low, cell = torch.tensor([-0.45, -0.45, -0.45]), torch.tensor([0.03, 0.03, 0.03])
    axis = torch.arange(30) + 0.5
    centres = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1) * cell + low
    inside = (edge.lifted(centres) == centres).all(-1)
    column = (centres[..., 0].abs() < 0.06) & (centres[..., 2].abs() < 0.06)
    cells = inside & column
    grown = edge.continued(cells, centres, low, cell)
    assert (grown | ~cells).all()
    assert (grown[column & ~inside]).all(), "the column reaches the floor"
    assert not grown[~column & (centres[..., 0].abs() > 0.12)].any()


def test_a_camera_that_looks_down_has_no_floor():
    steep = Camera(SIZE, SIZE, FOCAL, FOCAL, 50.0, 50.0, look_at((0, 2.0, 0.5), (0, 0, 0)))
    assert PictureEdge.of(steep, torch.device("cpu")) is None
    tilted = look_at((0, 0.5, 1.0), (0, 0, 0))
    assert PictureEdge.of(Camera(SIZE, SIZE, FOCAL, FOCAL, 50.0, 50.0, tilted), torch.device("cpu")) is not None


def test_stripes_below_the_edge_are_blurred_along_rows_and_nothing_else_changes(camera, edge):
    """A striped wall through the person's place, whose outline is ragged, seen from 20 degrees aside and lower."""
    aside = replace(turn_camera(camera, np.zeros(3), math.radians(20), 0.0), cy=10.0)
    origins, directions = (part.reshape(-1, 3) for part in image_rays(aside, device=torch.device("cpu")))
    depth = -origins[:, 2] / directions[:, 2]
    points = origins + depth[:, None] * directions
    opacity = torch.rand(SIZE * SIZE, generator=torch.Generator().manual_seed(1)).round()
    stripes = (points[:, :1] * 60).floor().remainder(2).expand(-1, 3)
    picture = {"colour": stripes * opacity[:, None], "opacity": opacity, "depth": depth}
    soft = edge.softened(picture, origins, directions, aside)
    short = edge.short(points)
    assert 200 < (short > 0.03).sum() < 0.5 * len(short)
    torch.testing.assert_close(soft[short == 0], picture["colour"][short == 0])
    assert (soft[opacity == 0] == 0).all()
    far = (short > 0.05) & (opacity == 1)
    assert picture["colour"][far].std() > 0.45
    assert soft[far].std() < 0.15
    assert soft[far].mean() == pytest.approx(0.5, abs=0.06)


def test_sums_along_rows_take_parts_of_pixels():
    values = torch.rand(3, 9, 2, generator=torch.Generator().manual_seed(2))
    radius = torch.tensor([0.0, 1.0, 0.25]).view(3, 1, 1).expand(3, 9, 1)
    sums = row_sums(values, radius)
    torch.testing.assert_close(sums[0], values[0])
    torch.testing.assert_close(sums[1, 4], values[1, 3:6].sum(0))
    torch.testing.assert_close(sums[1, 0], values[1, :2].sum(0))
    torch.testing.assert_close(sums[2, 4], values[2, 4] + 0.25 * (values[2, 3] + values[2, 5]))
