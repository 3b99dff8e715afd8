"""The room's own field: composition with the person, sampling from the memory, and what it learns from many views."""

import math

import pytest
import torch

from avatar.config import HashConfig, RoomConfig
from avatar.field.contraction import FARTHEST
from avatar.field.room import CLOSED, NEAREST, RoomField, RoomView, distance_at
from avatar.rendering.sampling import Samples


def make_room(**changes) -> RoomField:
    torch.manual_seed(0)
    grid = HashConfig(levels=6, log2_entries=13, base_resolution=8, finest_resolution=256)
    config = RoomConfig(hash=grid, width=32, samples=24)
    room = RoomField(config, frames=3, dtype=torch.float32, encoding="auto", **changes)
    room.place(torch.zeros(3), 1.0, torch.eye(4).repeat(3, 1, 1))
    return room


def rays(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    origins = 0.2 * torch.randn(count, 3, generator=generator) + torch.tensor([0.0, 0.0, 1.0])
    directions = torch.randn(count, 3, generator=generator) * 0.3 - torch.tensor([0.0, 0.0, 1.0])
    return origins, directions / directions.norm(dim=1, keepdim=True)


def test_a_thin_layer_hides_what_is_behind_and_is_hidden_by_what_is_before():
    generator = torch.Generator().manual_seed(1)
    depth = torch.rand(2, 5, generator=generator).sort(1).values
    alpha = torch.rand(2, 5, generator=generator)
    colours = torch.rand(2, 5, 3, generator=generator)
    person, opacity, distance = (
        torch.rand(2, 3, generator=generator),
        torch.tensor([0.7, 0.2]),
        torch.tensor([0.5, 0.3]),
    )
    weights = torch.zeros(2, 5)
    expected = torch.zeros(2, 3)
    for ray in range(2):
        left, seen, placed = 1.0, 1.0, False
        for sample in range(5):
            weights[ray, sample] = left * alpha[ray, sample]
            left = left * (1 - float(alpha[ray, sample]))
            if not placed and depth[ray, sample] >= distance[ray]:
                expected[ray] += seen * opacity[ray] * person[ray]
                seen, placed = seen * (1 - float(opacity[ray])), True
            expected[ray] += seen * alpha[ray, sample] * colours[ray, sample]
            seen = seen * (1 - float(alpha[ray, sample]))
    index = torch.arange(2).repeat_interleave(5)
    samples = Samples(index, depth.flatten(), torch.zeros(10), 2)
    view = RoomView(
        samples, weights.flatten(), colours.view(-1, 3), torch.zeros(10, 3), torch.zeros(10), torch.ones(10)
    )
    room, share, clear = view.around(opacity, distance)
    torch.testing.assert_close(room + (clear * opacity)[:, None] * person, expected)
    alone = view.around(torch.zeros(2), torch.full((2,), math.inf))
    torch.testing.assert_close(alone[0], view.colour)
    torch.testing.assert_close(alone[1], weights.sum(1))
    assert (share <= alone[1]).all()


def test_distances_grow_from_the_camera_to_the_end():
    places = distance_at(torch.linspace(0, 1, 65))
    assert places[0] == pytest.approx(NEAREST)
    assert places[-1] == pytest.approx(FARTHEST, rel=1e-4)
    assert (torch.diff(torch.diff(places)) > 0).all()


def test_samples_gather_where_the_memory_is_dense():
    room = make_room()
    origins, directions = rays(64)
    before = room.sample(origins, directions, None)
    assert (before.deltas.view(64, -1)[:, -1] == CLOSED).all()
    room.memory[..., 20:24] = 1.0  # a wall across the rays, in contracted space
    points = lambda samples: origins[samples.ray] + samples.depth[:, None] * directions[samples.ray]  # noqa: E731
    from avatar.field.contraction import contract

    def share(samples) -> float:
        z = contract(points(samples), room.middle, float(room.radius))[:, 2] * 96
        return float(((z > 14) & (z < 26)).float().mean())

    after = room.sample(origins, directions, torch.Generator().manual_seed(0))
    assert share(after) > 0.7
    assert share(after) > 3 * share(before)
    assert (after.depth.view(64, -1).diff(dim=1) >= 0).all()


def test_corrections_turn_rays_about_their_cameras_and_have_no_common_part():
    room = make_room()
    common = torch.tensor([0.3, -0.2, 0.1, 0.5, 0.5, 0.5])
    turn = torch.tensor([0.0, 0.1, 0.0, 0.01, 0.0, -0.02])
    with torch.no_grad():
        room.cameras.copy_(torch.stack([common + turn, common, common - turn]))
    origins, directions = torch.zeros(2, 3), torch.tensor([[0.0, 0, -1], [0, 0, -1]])
    moved, turned = room.refined(origins, directions, torch.tensor([1, 0]))
    torch.testing.assert_close(moved, torch.tensor([[0.0, 0, 0], [0.01, 0, -0.02]]))
    torch.testing.assert_close(turned, torch.tensor([[0.0, 0, -1], [-math.sin(0.1), 0, -math.cos(0.1)]]))


def test_any_camera_takes_the_corrections_of_those_close_to_it():
    room = make_room()
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([-1.0, 0.0, 1.0])
    room.place(torch.zeros(3), 1.0, poses)
    with torch.no_grad():
        room.cameras[:, 3] = torch.tensor([0.03, 0.0, -0.03])
    origins, directions = torch.zeros(1, 3), torch.tensor([[0.0, 0, -1]])

    def shift(x: float) -> float:
        pose = torch.eye(4)
        pose[0, 3] = x
        return float(room.refined_near(origins, directions, pose)[0].detach()[0, 0])

    assert shift(-1.0) == pytest.approx(0.03)
    assert shift(0.995) == pytest.approx(-0.03, rel=0.05)
    assert shift(0.5) == pytest.approx(0.0, abs=1e-6)


def test_exposure_is_a_gain_of_each_frame_beside_their_mean():
    room = make_room()
    with torch.no_grad():
        room.gains.copy_(torch.tensor([[0.1] * 3, [0.3] * 3, [0.2] * 3]))
    shown = room.exposed(torch.full((2, 3), 0.5), torch.tensor([1, 2]))
    torch.testing.assert_close(shown, torch.tensor([[0.5 * math.exp(0.1)] * 3, [0.5] * 3]))


def striped(origins: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Colours `[R, 3]` of a wall at z = -1 and of a post before it, at z = -0.2 and |x| < 0.15."""
    at = lambda z: origins + ((z - origins[:, 2]) / directions[:, 2])[:, None] * directions  # noqa: E731
    wall, post = at(-1.0), at(-0.2)
    waves = torch.stack([0.5 + 0.4 * torch.sin(k * wall[:, 0] + wall[:, 1]) for k in (5.0, 9.0, 14.0)], 1)
    stripes = (0.5 + 0.4 * torch.sin(20 * post[:, 1]))[:, None] * torch.tensor([1.0, 0.3, 0.2])
    return torch.where((post[:, 0].abs() < 0.15)[:, None], stripes, waves)


@pytest.mark.slow
def test_depth_is_learned_from_parallax_and_small_camera_errors_are_undone():
    room = make_room()
    optimizer = torch.optim.Adam(
        [
            {"params": [room.table], "lr": 1e-2, "eps": 1e-15},
            {"params": [*room.density_network.parameters(), *room.colour_network.parameters()], "lr": 5e-3},
            {"params": [room.cameras], "lr": 2e-4},
        ]
    )
    generator = torch.Generator().manual_seed(0)
    wrong = torch.tensor([0.0, 0.008, 0.0])
    """Yaw in radians by which the second camera's rays are given wrongly."""
    for step in range(400):
        origins, directions = rays(512, seed=step)
        truth = striped(origins, directions)
        frame = torch.arange(512) % 3
        given = torch.where(
            (frame == 1)[:, None], directions + torch.cross(wrong.expand(512, 3), directions, 1), directions
        )
        view = room.look(*room.refined(origins, given, frame), generator)
        room.remember(view, torch.ones(512))
        loss = (view.colour - truth).square().mean() + 1e-4 * room.cameras.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    origins, directions = rays(2000, seed=9999)
    with torch.no_grad():
        view = room.look(origins, directions)
    error = (view.colour - striped(origins, directions)).square().mean()
    assert -10 * math.log10(float(error)) > 22
    distance = (view.weights * view.samples.depth).view(2000, -1).sum(1)
    post = origins + ((-0.2 - origins[:, 2]) / directions[:, 2])[:, None] * directions
    depth = origins[:, 2] + distance * directions[:, 2]
    expected = torch.where(post[:, 0].abs() < 0.15, -0.2, -1.0)
    assert (depth - expected).abs().median() < 0.1
    yaw = room.cameras.detach()[:, 1]
    assert yaw[1] - (yaw[0] + yaw[2]) / 2 == pytest.approx(-0.008, abs=0.003)
