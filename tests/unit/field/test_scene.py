"""Where samples go and what reaches them: colours as the captured camera sees them, expression on the head only."""

from types import SimpleNamespace

import pytest
import torch
from tiny_clip import shrink

from avatar.config import load_preset
from avatar.field.frame_states import FrameData, Probes, Rays
from avatar.field.identity import Identity
from avatar.field.ray_sampling import canonical_samples, field_functions, march_rays
from avatar.field.scene import Scene
from avatar.field.warp import neck_blend
from avatar.flame.library import load_head
from avatar.flame.model import HeadParameters
from avatar.rendering.sampling import Samples, ray_box


@pytest.fixture
def made():
    """A scene of an untrained avatar before a camera at (0, 0, 1), and states of two frames with turned heads."""
    asset = load_head()
    params = HeadParameters.neutral(asset, 2)
    params.rotation[:] = torch.tensor([[0.0, 0.3, 0.0], [0.1, -0.2, 0.05]])
    params.jaw[1, 0] = 0.2
    config = shrink(load_preset("cpu"))
    identity = Identity.make(asset, params, config.field, torch.device("cpu"))
    data = identity.frame_data(params)
    scene = Scene(
        config.field,
        config.render,
        config.backends,
        frames=2,
        condition_size=data.condition.shape[1],
        expression_size=data.condition.shape[1] - 9,
        low=torch.tensor([-0.25, -0.3, -0.25]),
        high=torch.tensor([0.25, 0.25, 0.25]),
        reference=torch.eye(4),
        blend=neck_blend(asset, identity.neutral(), config.field.warp.neck_fade),
        layout=identity.grids.layout,
    )
    scene.condition.fit(data.condition)
    with torch.no_grad():
        scene.radiance.blended.tables.normal_()
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
        None if seen_from is None else torch.tensor(seen_from).expand(count, 3),
    )
    return rays, Samples(torch.arange(count), depth, torch.full((count,), 0.005), count)


POINTS = torch.tensor([[0.03, 0.02, 0.08], [-0.05, 0.0, 0.05], [0.1, -0.25, 0.0], [0.0, -0.13, 0.04]])
CAPTURED, BESIDE = (0.0, 0.0, 1.0), (0.5, 0.1, 0.8)


@pytest.mark.parametrize("frame", [0, 1])
def test_other_cameras_see_the_colours_of_the_captured_one(made, frame):
    """The same points: placed alike, and looked at from where the clip was filmed."""
    expected = canonical_samples(made.scene, made.states, *rays_to(POINTS, CAPTURED, frame))
    beside = canonical_samples(made.scene, made.states, *rays_to(POINTS, BESIDE, frame, seen_from=CAPTURED))
    torch.testing.assert_close(beside.points, expected.points, atol=1e-6, rtol=0)
    torch.testing.assert_close(beside.directions, expected.directions, atol=1e-5, rtol=0)
    plain = canonical_samples(made.scene, made.states, *rays_to(POINTS, BESIDE, frame))
    assert float((plain.directions - expected.directions).norm(dim=-1).min()) > 0.2


def test_other_cameras_ask_for_the_head_with_the_expression(made):
    """Beside the silhouette too, down to the chin. The captured camera, whose own pixels say, does not, nor do those of
    a field without the FLAME warp, which has no priors."""
    chin = made.scene.blend.top
    points = torch.tensor([[0.12, chin + 0.01, 0.0], [0.0, chin + 0.15, 0.08], [0.12, chin - 0.01, 0.0]])
    cases = ((CAPTURED, True, [True, True, False]), (None, True, [False] * 3), (CAPTURED, False, [False] * 3))
    for seen_from, warped, expected in cases:
        made.scene.field.warp.enabled = warped
        rays, samples = rays_to(points, BESIDE, 0, seen_from)
        rays.mask = torch.zeros(3, dtype=torch.bool)
        made.states.motion.canonical_from_world[:] = torch.eye(4)[:3]
        made.states.motion.height[:] = torch.eye(4)[1]
        answer = field_functions(made.scene, made.states, rays, 0.0)[0](samples)[1]
        assert answer.inputs.mask.tolist() == expected


def test_seen_from_survives_selection():
    rays, _ = rays_to(POINTS, BESIDE, 0)
    rays.seen_from = POINTS
    assert torch.equal(rays.select(torch.tensor([1, 2])).seen_from, POINTS[1:3])


def density_at(made, points, coefficients: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    made.states.coefficients = coefficients
    rays, samples = rays_to(points, CAPTURED, 0)
    rays.mask = rays.mask if mask is None else mask
    query_density, _ = field_functions(made.scene, made.states, rays, 0.0)
    with torch.no_grad():
        return query_density(samples)[0]


def test_the_gate_keeps_the_expression_out(made):
    """Rays outside the silhouette see none of it."""
    calm = torch.zeros_like(made.states.coefficients)
    points = torch.tensor([[0.01, -0.05, 0.0], [0.01, 0.0, 0.0]])
    assert ((density_at(made, points, calm + 1.0) - density_at(made, points, calm)).abs() > 1e-7).all()
    closed = torch.zeros(2, dtype=torch.bool)
    assert torch.equal(density_at(made, points, calm + 1.0, closed), density_at(made, points, calm, closed))


def test_without_gate_the_expression_reaches_everything(made):
    made.scene.field.gate = False
    calm = torch.zeros_like(made.states.coefficients)
    points, closed = torch.tensor([[0.01, -0.28, 0.0], [0.01, 0.0, 0.0]]), torch.zeros(2, dtype=torch.bool)
    changed = density_at(made, points, calm + 1.0, closed) - density_at(made, points, calm, closed)
    assert (changed.abs() > 1e-7).all()


def test_probes_are_answered_as_alone(made):
    """What is asked beside the samples, in one call: the same densities and translations, and gradients to both."""
    scene, states = made.scene, made.states
    with torch.no_grad():
        scene.deformation.network.layers[-1].weight.normal_()
    rays, samples = rays_to(POINTS, CAPTURED, 1)
    frame = torch.tensor([0, 1, 1])
    mask = torch.tensor([True, False, True])
    probes = Probes(POINTS[:3] + 0.01, frame, mask)
    density, colour = field_functions(scene, states, rays, 2.0, probes=probes)
    values, state = density(samples)
    alone, _ = field_functions(scene, states, rays, 2.0)
    torch.testing.assert_close(values, alone(samples)[0])
    assert colour(samples, state, None).shape == (4, 3)
    answers = state.probes
    torch.testing.assert_close(answers.density, scene.query(probes.points, states, frame, mask, 2.0).density)
    resting = scene.normalise(probes.points)
    moved = scene.deform(resting, states.deform, frame, 2.0)
    assert float(answers.translation.detach().abs().min()) > 0
    torch.testing.assert_close(answers.translation, (moved - resting) * scene.extent)
    by_probe = torch.autograd.grad(answers.density.sum(), scene.radiance.table, retain_graph=True)[0]
    by_sample = torch.autograd.grad(values.sum(), scene.radiance.table)[0]
    assert by_probe.abs().sum() > 0
    assert by_sample.abs().sum() > 0


@pytest.fixture
def leaning(made):
    """The scene with a torso that goes along with the head in full, and the two frames half a metre further away."""
    with torch.no_grad():
        made.scene.torso.follow[3:, 3:] = torch.eye(3)
    moved = made.data.world_from_skull.clone()
    moved[:, :3, 3] += torch.tensor([0.02, 0.0, -0.5])
    made.far = FrameData(moved, made.data.grids, made.data.condition)
    return made


def canonical(made, states, origin, seen_from=None):
    rays, samples = rays_to(POINTS + torch.tensor(origin) - torch.tensor(CAPTURED), origin, 1, seen_from)
    return canonical_samples(made.scene, states, states.carry(rays), samples)


def test_a_torso_that_leans_back_stays_what_it_is(leaning):
    """Points on shoulders, neck and face of a head that only shifts, seen by a camera that shifts along."""
    scene, both = leaning.scene, torch.arange(2)
    away = tuple(torch.tensor(CAPTURED) + torch.tensor([0.02, 0.0, -0.5]))
    twist = scene.torso.torso_transforms(leaning.data.world_from_skull)[1, 3:]  # that of the pose it leans back from
    for make in (lambda d: scene.training_states(d, both), scene.mean_states):
        near, far = make(leaning.data), make(leaning.far)
        one, two = (canonical(leaning, states, where) for states, where in ((near, CAPTURED), (far, away)))
        torch.testing.assert_close(two.points, one.points, atol=1e-5, rtol=0)
        torch.testing.assert_close(two.directions, one.directions, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.points[2], POINTS[2] - twist, atol=1e-5, rtol=0)
        beside = canonical(leaning, far, away, seen_from=BESIDE)
        rays, samples = rays_to(POINTS, CAPTURED, 1, tuple(torch.tensor(BESIDE) - torch.tensor([0.02, 0.0, -0.5])))
        expected = canonical_samples(scene, near, near.carry(rays), samples)
        torch.testing.assert_close(beside.directions, expected.directions, atol=1e-5, rtol=0)


def test_rays_find_a_torso_that_leans_far_out_of_the_box(leaning):
    """The box and its occupancy are those of the torso that stands still."""
    scene = leaning.scene
    scene.start_occupancy(torch.ones(scene.occupancy.counts, dtype=torch.bool), None)
    states = scene.mean_states(leaning.far)
    assert (states.high - states.low).amax() < 0.8, "no box around both poses"
    shoulder = torch.tensor([[0.1, -0.25, -0.5]])
    rays = states.carry(rays_to(shoulder, CAPTURED, 1)[0])
    near, far = ray_box(rays.origins, rays.directions, states.low[rays.frame], states.high[rays.frame])
    samples, where = march_rays(scene, states, rays, near, far, offset=torch.full((1,), 0.5), max_samples=200)
    assert len(samples.depth) > 20
    assert ((where.points >= scene.low) & (where.points <= scene.high)).all()
    twist = scene.torso.torso_transforms(leaning.far.world_from_skull)[1, 3:]
    assert float((where.points - (shoulder - twist)).detach().norm(dim=-1).min()) < 0.005


def test_the_torsos_matrix_learns_through_the_samples(leaning):
    states = leaning.scene.training_states(leaning.far, torch.arange(2))
    canonical(leaning, states, CAPTURED).points[2].sum().backward()
    assert leaning.scene.torso.follow.grad[3:, 3:].abs().min() > 0
