"""The mesh's prior on density: solid behind the neutral head's surface, empty before bare skin, from all around."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from tiny_clip import shrink

from avatar.config import load_preset
from avatar.data.capture import read_capture
from avatar.field.frame_states import Rays
from avatar.field.ray_sampling import field_functions
from avatar.flame.library import load_head
from avatar.geometry.meshes import vertex_normals
from avatar.kernels.mesh.op import MeshQuery
from avatar.rendering.sampling import Samples
from avatar.training import prepare
from avatar.training.hair_height import HIGHEST
from avatar.training.prepare import load_training_data, make_avatar
from avatar.training.step import TrainState, completion_loss, probes_of, train_step
from avatar.training.surface_prior import (
    BEFORE,
    BEHIND,
    CLOTHES,
    GRAZING,
    HAIR_FROM,
    HAIR_TO,
    HAIR_WEIGHT,
    OFF_HAIR,
    OFF_HEAD,
    OFF_HEAD_DRAWN,
    OFF_SKIN,
    RAYS,
    SAMPLES,
    SKIN,
    UNSEEN_POWER,
    UNSEEN_TORSO,
    SurfacePrior,
    emptiness_off_hair,
    shell_loss,
    with_hair,
)
from avatar.training.torso_colours import blended_colours


def make_parts(tiny_capture) -> SimpleNamespace:
    config = shrink(load_preset("cpu"))
    config.training.loss.mouth = config.training.loss.lids = 0.0
    training = load_training_data(read_capture(tiny_capture), load_head(), config, torch.device("cpu"))
    return SimpleNamespace(avatar=make_avatar(config, training), training=training, config=config)


@pytest.fixture(scope="module")
def parts(tiny_capture) -> SimpleNamespace:
    """For tests that change no more than gradients."""
    return make_parts(tiny_capture)


@pytest.fixture
def states(parts):
    """Of four frames, of an avatar without gradients."""
    parts.avatar.scene.zero_grad()
    frame = torch.arange(4)
    return parts.avatar.scene.training_states(parts.training.data.select(frame), frame)


@pytest.fixture(scope="module")
def prior(parts) -> SurfacePrior:
    return SurfacePrior.make(parts.avatar, parts.training, 0)


def neutral_query(avatar) -> MeshQuery:
    scene = avatar.scene
    vertices = avatar.identity.neutral() @ scene.reference[:3, :3].T + scene.reference[:3, 3]
    return MeshQuery(torch.as_tensor(avatar.asset.faces)).update(vertices)


def haired_query(parts) -> MeshQuery:
    scene, identity = parts.avatar.scene, parts.avatar.identity
    vertices = identity.neutral() @ scene.reference[:3, :3].T + scene.reference[:3, 3]
    faces = torch.as_tensor(identity.asset.faces)
    return MeshQuery(faces).update(with_hair(vertices, vertex_normals(vertices, faces), parts.training.hair))


def test_rays_meet_the_neutral_head_and_its_hair_from_many_sides(parts, prior):
    assert len(prior.head.depth) > 3000
    hits = haired_query(parts).cast_rays(prior.head.origins, prior.head.directions)
    torch.testing.assert_close(hits.depth, prior.head.depth, atol=1e-5, rtol=0)
    azimuth = torch.rad2deg(torch.atan2(-prior.head.directions[:, 0], -prior.head.directions[:, 2]))
    assert float(azimuth.min()) < -40
    assert float(azimuth.max()) > 40


def test_no_ray_meets_the_mouth_and_each_knows_what_it_meets(parts, prior):
    asset = parts.avatar.asset
    hits = haired_query(parts).cast_rays(prior.head.origins, prior.head.directions)
    corners = torch.as_tensor(asset.faces).long()[hits.face.long()]
    for name in ("lips", "mouth_interior"):
        assert not torch.as_tensor(asset.region(name))[corners].any(), name
    for name, tolerance in (("face", SKIN), ("neck", CLOTHES), ("scalp", 2 * BEFORE)):
        inside = torch.as_tensor(asset.region(name))[corners].all(1)
        assert inside.any()
        assert (prior.head.tolerance[inside] == torch.tensor(tolerance)).float().mean() > 0.95, name


def profile(low: float, high: float, tolerance: float) -> float:
    """The loss of rays with a density of 20 per centimetre from `low` to `high` metres behind the mesh."""
    offset = ((torch.arange(400) + 0.5) / 400 * (BEFORE + BEHIND) - BEFORE).expand(3, -1)
    density = 20.0 * ((offset > low) & (offset < high)).float()
    return float(shell_loss(density, offset, torch.full((3,), tolerance)))


def test_a_solid_skin_costs_nothing_and_holes_and_clouds_do():
    assert profile(0.0, 1.0, SKIN) < 1e-6
    assert profile(-0.9 * SKIN, -0.5 * SKIN, SKIN) < 1e-3, "tracking is not that good"
    assert profile(1.0, 1.0, SKIN) == pytest.approx(1.0), "a hole"
    assert profile(-0.02, 1.0, SKIN) == pytest.approx(1.0, abs=1e-3), "a cloud before skin"
    assert profile(-0.9 * CLOTHES, 1.0, CLOTHES) < 1e-3, "a collar"
    assert profile(-BEFORE, 1.0, 2 * BEFORE) < 1e-6, "hair"


def test_half_the_light_costs_a_quarter():
    offset = torch.zeros(1, 10)
    density = torch.full((1, 10), float(torch.log(torch.tensor(2.0))) / (100 * (BEFORE + BEHIND)))
    assert float(shell_loss(density, offset, torch.tensor([1.0]))) == pytest.approx(0.25, abs=1e-5)


def test_samples_lie_around_the_mesh(parts, states, prior):
    drawn = prior.draw(4, torch.Generator().manual_seed(1))
    assert set(drawn.frame.tolist()) == {0, 1, 2, 3}
    on_rays = drawn.points[: RAYS * SAMPLES].contiguous()
    assert float(neutral_query(parts.avatar).closest_points(on_rays, 0.1).distance.max()) <= max(BEFORE, BEHIND) + 1e-5
    scene, probes = parts.avatar.scene, probes_of(parts.avatar.scene, drawn, None)
    off = drawn.points[drawn.offset.numel() :]
    assert torch.equal(probes.mask, torch.cat([~drawn.on_torso.repeat_interleave(SAMPLES), scene.at_head(off)]))
    assert 0 < int(probes.mask.sum()) < len(probes.mask)
    rays = Rays(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0]), torch.tensor([True]))
    query_density, _ = field_functions(scene, states, rays, 0.0, probes=probes)
    _, state = query_density(Samples(torch.tensor([0]), torch.tensor([0.5]), torch.tensor([0.005]), 1))
    drawn.loss(state.probes.density).backward()
    assert scene.radiance.table.grad.abs().sum() > 0


def test_points_off_the_head_weigh_by_what_they_stand_before(parts, prior):
    """Before skin and lips all of them, before hair and neck the more the further off; none before open mouths."""
    assert len(prior.around) > OFF_HEAD_DRAWN
    avatar, query = parts.avatar, neutral_query(parts.avatar)
    nearest = query.closest_points(prior.around, 1.0)
    corners = torch.as_tensor(avatar.asset.faces).long()[nearest.face.long()]

    def before(*names: str) -> torch.Tensor:
        parts = [torch.as_tensor(avatar.asset.region(name)) for name in names]
        return torch.stack(parts).any(0)[corners].all(1)

    hairy = before("scalp", "ears", "neck") & ~before("face", "lips")
    skin = before("face", "lips") & ~before("scalp", "ears", "neck")
    assert float((hairy | skin).float().mean()) > 0.98
    assert not before("teeth", "tongue", "eyeballs").any()
    assert float(nearest.distance[skin].min()) > SKIN
    assert float(nearest.distance[skin].max()) <= OFF_SKIN + 1e-5
    assert float(nearest.distance[hairy].max()) <= OFF_HAIR + 1e-5
    assert (prior.emptiness[skin] == 1).float().mean() > 0.98
    expected = emptiness_off_hair(nearest.distance[hairy], torch.tensor(HIGHEST))
    assert float((prior.emptiness[hairy] - expected).min()) > -0.02, (
        "hair that was measured asks for more, not for less"
    )
    upwards = query.cast_rays(prior.around, torch.tensor([[0.0, 1.0, 0.0]]).expand_as(prior.around).contiguous())
    ahead = query.cast_rays(prior.around, torch.tensor([[0.0, 0.0, 1.0]]).expand_as(prior.around).contiguous())
    inside = (upwards.face >= 0) & (ahead.face >= 0)
    assert float(inside.float().mean()) < 0.1, "they are not in the head"


def test_space_beyond_the_hair_is_empty():
    distance = torch.tensor([0.015, 0.02, 0.03, 0.06, 0.03])
    hair = torch.tensor([0.02, HIGHEST, HIGHEST, HIGHEST, 0.02])
    found = emptiness_off_hair(distance, hair)
    share = HAIR_WEIGHT * (0.03 - HAIR_FROM) / (HAIR_TO - HAIR_FROM)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, share, HAIR_WEIGHT, 1.0]), atol=1e-5, rtol=0)


def test_what_floats_off_the_head_costs_and_a_dense_cloud_still_pulls(prior):
    drawn = prior.draw(4, torch.Generator().manual_seed(1))
    solid = 1e3 * (torch.arange(RAYS * SAMPLES) % SAMPLES == SAMPLES - 1)  # behind the mesh
    costs, pulls = [], []
    for cloud in (0.0, 0.1, 50.0):
        off = torch.full((OFF_HEAD,), cloud, requires_grad=True)
        cost = drawn.loss(torch.cat([solid, off]))
        cost.backward()
        costs.append(float(cost.detach()))
        pulls.append(float((off.detach() * off.grad).sum()))  # with respect to the logarithm, which the network gives
    mean = float(drawn.emptiness.mean())
    assert costs[:2] == pytest.approx([0.0, mean * 0.00995], abs=2e-4)
    assert pulls[2] == pytest.approx(2 * mean, rel=0.01)


def test_colours_count_where_the_clip_shows_nothing(prior):
    """By the share of what a ray shows: not behind a solid sample, nor where training frames see the sample."""
    drawn = prior.draw(4, torch.Generator().manual_seed(1))
    right = drawn.colour.repeat_interleave(SAMPLES, 0)
    solid = torch.zeros(RAYS, SAMPLES)
    solid[:, 8] = 1e4
    nowhere = torch.zeros(RAYS * SAMPLES, dtype=torch.bool)
    wrong = right.clone().view(RAYS, SAMPLES, 3)
    wrong[:, 9:] += 0.5
    assert float(drawn.colour_loss(solid.view(-1), wrong.view(-1, 3), nowhere)) == pytest.approx(0.0, abs=1e-6)
    wrong[:, 8] += 0.5
    hair, unseen = drawn.tolerance >= BEFORE, drawn.unseen
    on_torso = torch.arange(len(unseen)) % 3 == 0  # the tiny person has none
    drawn = dataclasses.replace(drawn, on_torso=on_torso)
    for visible, hidden in ((nowhere, 1.0), (~nowhere, 0.0)):
        grazing = unseen * max(hidden, GRAZING)
        expected = torch.where(hair, grazing.clamp_min(hidden), grazing)
        shown = torch.maximum(grazing, UNSEEN_TORSO * unseen**UNSEEN_POWER)
        expected = torch.where(on_torso, shown, expected).mean() * 0.25
        found = drawn.colour_loss(solid.view(-1), wrong.view(-1, 3), visible)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_unseen_surfaces_are_met_more_often_and_have_their_completed_colour(parts, prior):
    avatar = parts.avatar
    surface = blended_colours(avatar.scene.torso, avatar.scene.in_canonical(avatar.identity.neutral()), parts.training)
    drawn = [prior.draw(4, torch.Generator().manual_seed(seed)) for seed in range(5)]
    assert float(torch.cat([d.unseen for d in drawn]).mean()) > float(prior.head.unseen.mean())
    hits = haired_query(parts).cast_rays(prior.head.origins, prior.head.directions)
    corners = torch.as_tensor(parts.avatar.asset.faces).long()[hits.face.long()]
    wanted = (surface.colours[corners] * hits.barycentrics[..., None]).sum(1)
    torch.testing.assert_close(prior.head.colour, wanted, atol=1e-5, rtol=0)


def test_completion_moves_colours_and_leaves_densities_alone(parts, states, prior, monkeypatch):
    drawn = prior.draw(len(states.coefficients), torch.Generator().manual_seed(1))
    probes = probes_of(parts.avatar.scene, drawn, None)
    rays = Rays(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0]), torch.tensor([True]))
    query_density, _ = field_functions(parts.avatar.scene, states, rays, 0.0, probes=probes)
    _, state = query_density(Samples(torch.tensor([0]), torch.tensor([0.5]), torch.tensor([0.005]), 1))
    state.probes.density.retain_grad()
    occupancy = parts.avatar.scene.occupancy
    monkeypatch.setattr(occupancy, "visible", torch.zeros_like(occupancy.visible))
    completion_loss(parts.avatar, states, drawn, state.probes, torch.Generator()).backward()
    assert state.probes.density.grad is None
    network = parts.avatar.scene.radiance.colour_network
    assert max(float(weight.grad.abs().max()) for weight in network.parameters()) > 0


def test_training_closes_what_no_ray_of_the_clip_sees(tiny_capture):
    """Twenty steps lower the prior's loss, and a weight of zero leaves it out."""
    parts = make_parts(tiny_capture)
    state = TrainState.make(parts.avatar, parts.training)
    first, last = (train_step(state, step, 0.0, 1.0, None).losses["surface"].detach() for step in (0, 1)), None
    first = max(float(value) for value in first)
    for step in range(2, 22):
        last = float(train_step(state, step, 0.0, 1.0, None).losses["surface"].detach())
    assert last < 0.7 * first
    parts.config.training.loss.surface = 0.0
    without = TrainState.make(make_avatar(parts.config, parts.training), parts.training)
    assert without.surface is None
    assert "surface" not in train_step(without, 0, 0.0, 1.0, None).losses


@pytest.mark.slow
def test_what_a_training_begins_with_is_computed_once(tiny_capture, tiny_config, monkeypatch):
    """The torso's fit serves the bounds, the occupancy and the prior; the surface's colours the prior and the lids."""
    calls = []

    def counted(name: str) -> None:
        compute = getattr(prepare, name)
        monkeypatch.setattr(prepare, name, lambda *given, **named: (calls.append(name), compute(*given, **named))[1])

    counted("fit_torso")
    counted("surface_colours")
    read = read_capture(tiny_capture)
    training = load_training_data(read, load_head(), tiny_config, torch.device("cpu"))
    state = TrainState.make(make_avatar(tiny_config, training), training)
    assert state.surface is not None
    assert "lids" in state.faces
    assert sorted(calls) == ["fit_torso", "surface_colours"]

    scene, anew = state.avatar.scene, load_training_data(read, load_head(), tiny_config, torch.device("cpu"))
    alone = SurfacePrior.make(state.avatar, anew, tiny_config.training.seed)
    for mine, other in ((state.surface, alone), (state.surface.head, alone.head)):
        for field in dataclasses.fields(mine):
            value = getattr(mine, field.name)
            assert not torch.is_tensor(value) or torch.equal(value, getattr(other, field.name)), field.name
    calls.clear()
    with torch.no_grad():
        scene.torso.follow[0, 0] += 0.5
    training.fitted_torso(scene.torso, scene.reference)
    assert calls == ["fit_torso"], "a torso that was taught since moves otherwise"
