"""Where samples go and what reaches them: colours as the captured camera sees them, expression on the head only."""

from types import SimpleNamespace

import pytest
import torch
from tiny_clip import shrink

from avatar.config import load_preset
from avatar.field.flame_warp import neck_blend
from avatar.field.frames import FrameData, Rays
from avatar.field.scene import Scene
from avatar.field.subject import Subject
from avatar.flame.assets import load_head
from avatar.flame.model import HeadParameters
from avatar.render.sampling import Samples


@pytest.fixture
def made():
    """A scene of an untrained avatar before a camera at (0, 0, 1), and states of two frames with turned heads."""
    asset = load_head()
    params = HeadParameters.neutral(asset, 2)
    params.rotation[:] = torch.tensor([[0.0, 0.3, 0.0], [0.1, -0.2, 0.05]])
    params.jaw[1, 0] = 0.2
    config = shrink(load_preset("cpu"))
    subject = Subject.make(asset, params, config.field, torch.device("cpu"))
    data = subject.frame_data(params)
    scene = Scene(
        config,
        frames=2,
        condition_size=data.condition.shape[1],
        expression_size=data.condition.shape[1] - 9,
        low=torch.tensor([-0.25, -0.3, -0.25]),
        high=torch.tensor([0.25, 0.25, 0.25]),
        reference=torch.eye(4),
        blend=neck_blend(asset, subject.neutral(), config.field.warp.neck_fade),
        layout=subject.grids.layout,
    )
    scene.condition.fit(data.condition)
    with torch.no_grad():
        scene.radiance.bank.tables.normal_()
    return SimpleNamespace(scene=scene, data=data, states=scene.training_states(data, torch.arange(2)))


def rays_to(points: torch.Tensor, origin, frame: int, seen_from=None) -> tuple[Rays, Samples]:
    """One ray from `origin` to each of the points `[M, 3]`, and a sample there."""
    origin = torch.tensor(origin)
    away = points - origin
    depth = away.norm(dim=-1)
    count = len(points)
    rays = Rays(
        origin.expand(count, 3).contiguous(),
        away / depth[:, None],
        torch.full((count,), frame),
        torch.ones(count, dtype=torch.bool),
        None if seen_from is None else torch.tensor(seen_from),
    )
    return rays, Samples(torch.arange(count), depth, torch.full((count,), 0.005), count)


POINTS = torch.tensor([[0.03, 0.02, 0.08], [-0.05, 0.0, 0.05], [0.1, -0.25, 0.0], [0.0, -0.13, 0.04]])
CAPTURED, BESIDE = (0.0, 0.0, 1.0), (0.5, 0.1, 0.8)


@pytest.mark.parametrize("frame", [0, 1])
def test_other_cameras_see_the_colours_of_the_captured_one(made, frame):
    """The same points: placed alike, and looked at from where the clip was filmed."""
    expected = made.scene.place(made.states, *rays_to(POINTS, CAPTURED, frame))
    beside = made.scene.place(made.states, *rays_to(POINTS, BESIDE, frame, seen_from=CAPTURED))
    torch.testing.assert_close(beside.points, expected.points, atol=1e-6, rtol=0)
    torch.testing.assert_close(beside.directions, expected.directions, atol=1e-5, rtol=0)
    plain = made.scene.place(made.states, *rays_to(POINTS, BESIDE, frame))
    assert float((plain.directions - expected.directions).norm(dim=-1).min()) > 0.2


def test_seen_from_survives_selection():
    rays, _ = rays_to(POINTS, BESIDE, 0, seen_from=CAPTURED)
    assert rays.select(torch.tensor([1, 2])).seen_from is rays.seen_from


def density_at(made, points, coefficients: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
    made.states.coefficients = coefficients
    rays, samples = rays_to(points, CAPTURED, 0)
    rays.gate = rays.gate if gate is None else gate
    density, _ = made.scene.functions(made.states, rays, 0.0)
    with torch.no_grad():
        return density(samples)[0]


def test_the_gate_keeps_the_expression_out(made):
    """Rays outside the silhouette see none of it."""
    calm = torch.zeros_like(made.states.coefficients)
    points = torch.tensor([[0.01, -0.05, 0.0], [0.01, 0.0, 0.0]])
    assert ((density_at(made, points, calm + 1.0) - density_at(made, points, calm)).abs() > 1e-7).all()
    closed = torch.zeros(2, dtype=torch.bool)
    assert torch.equal(density_at(made, points, calm + 1.0, closed), density_at(made, points, calm, closed))


def test_without_gate_the_expression_reaches_everything(made):
    made.scene.config.field.gate = False
    calm = torch.zeros_like(made.states.coefficients)
    points, closed = torch.tensor([[0.01, -0.28, 0.0], [0.01, 0.0, 0.0]]), torch.zeros(2, dtype=torch.bool)
    changed = density_at(made, points, calm + 1.0, closed) - density_at(made, points, calm, closed)
    assert (changed.abs() > 1e-7).all()


def test_the_torso_follows_in_training_and_in_new_poses(made):
    with torch.no_grad():
        made.scene.torso.follow[3, 3] = 1.0
    moved = made.data.world_from_skull.clone()
    moved[:, 0, 3] += 0.02
    data = FrameData(moved, made.data.grids, made.data.condition)
    frame = torch.zeros(1, dtype=torch.int64)
    point = torch.tensor([[0.1, -0.28, 0.0]])
    both = torch.arange(2)
    for make in (lambda d: made.scene.training_states(d, both), made.scene.mean_states):
        still, along = make(made.data), make(data)
        still.deform = along.deform = None
        moved_by = made.scene.canonical(point, still, frame, 0.0) - made.scene.canonical(point, along, frame, 0.0)
        expected = torch.tensor([0.02, 0.0, 0.0])
        torch.testing.assert_close(moved_by[0] * made.scene.extent, expected, atol=1e-5, rtol=0)
