"""Head models learned from registrations whose model is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from known_model import PEOPLE, Performance, perform, performed, thinned, true_head, write_registrations

from avatar.app.cli import main
from avatar.flame.assets import read_head, save_head
from avatar.flame.library import list_heads, load_head, open_head_model
from avatar.media.images import read_png
from capture_tools.model_learning.linear import principal_directions, subspace_angles
from capture_tools.model_learning.pose_fit import fit_joints, fit_poses, moved_by_expressions
from capture_tools.model_learning.pose_space import Priors, learn_spaces, learn_weights
from capture_tools.model_learning.posing import PARTS
from capture_tools.model_learning.state import ModelState, PoseSpace, Registrations
from capture_tools.model_learning.training import first_state, head_of, with_shapes
from capture_tools.scan.landmarks import ScanLandmarks
from capture_tools.scan.model_fit import ModelFitter


def registrations_of(performance: Performance, poses: torch.Tensor | None = None) -> Registrations:
    people, frames = performance.vertices.shape[:2]
    neutral = torch.zeros(people, frames, dtype=torch.bool)
    neutral[:, 0] = True
    return Registrations(
        tuple(f"{p}/{f}" for p in range(people) for f in range(frames)),
        torch.tensor(performance.vertices).flatten(0, 1).double(),
        poses_of(performance) if poses is None else poses,
        torch.arange(people).repeat_interleave(frames),
        tuple(str(p) for p in range(people)),
        neutral.flatten(),
    )


def poses_of(performance: Performance) -> torch.Tensor:
    return torch.cat([torch.cat([getattr(p, n) for n in PARTS], 1) for p in performance.parameters]).double()


@pytest.fixture(scope="module")
def head():
    """A third of the open head's vertices."""
    return thinned(load_head())


@pytest.fixture(scope="module")
def true(head):
    return true_head(head)


@pytest.fixture(scope="module")
def known(true) -> tuple[Registrations, ModelState]:
    """A few registrations and the state that they come from."""
    performance = perform(true, people=3, frames=30)
    data = registrations_of(performance)
    neutrals = true.template + (true.shapedirs @ performance.shapes.T).transpose(2, 0, 1)
    directions = torch.tensor(true.exprdirs, dtype=torch.float64).permute(2, 0, 1)
    coefficients = torch.cat([p.expr for p in performance.parameters]).double()
    return data, ModelState(PoseSpace.of(true), torch.tensor(neutrals).double(), directions, coefficients, data.poses)


def test_the_known_state_explains_its_registrations(known):
    data, state = known
    assert state.distances(data).max() < 1e-6


def test_poses_come_back_when_the_model_is_held(head, known):
    data, state = known
    generator = torch.Generator().manual_seed(0)
    off = 0.01 * torch.randn(data.poses.shape, generator=generator, dtype=torch.float64)
    off[data.neutral] = 0
    off[:, :6] = 0
    moved = replace(state, poses=state.poses + off)
    for _ in range(2):
        moved = fit_poses(moved, data, data.poses + off, Priors(noise=0.0001), moved_by_expressions(head))
    assert (moved.poses - data.poses).abs().mean() < 0.05 * off.abs().mean()


def test_joints_come_back_when_the_rest_is_held(head, known):
    data, state = known
    start = PoseSpace.of(head)
    wrong = replace(state, space=replace(state.space, regressor=start.regressor))
    joints = fit_joints(wrong, data, start, Priors(noise=0.0001))
    true_joints, first = state.space.regressor @ state.neutrals, start.regressor @ state.neutrals
    before, after = ((at - true_joints)[:, 1:].norm(dim=-1).mean(0) for at in (first, joints))
    assert (before > 0.002).all()
    assert (after < 0.0007).all()


def test_weights_come_back_when_the_rest_is_held(head, known):
    data, state = known
    start = PoseSpace.of(head)
    wrong = replace(state, space=replace(state.space, weights=start.weights))
    for _ in range(2):
        wrong = learn_weights(wrong, data, start, Priors(noise=0.0001))
    before, after = ((w - state.space.weights).abs().mean() for w in (start.weights, wrong.space.weights))
    assert before > 0.01
    assert after < 0.1 * before


def test_spaces_come_back_when_poses_are_known(head, known):
    data, state = known
    generator = torch.Generator().manual_seed(0)
    wrong = torch.randn(state.directions.shape, generator=generator, dtype=torch.float64)
    nothing = replace(state, directions=wrong, coefficients=0 * state.coefficients)
    made = learn_spaces(nothing, data, PoseSpace.of(head), Priors(noise=0.0001), len(state.directions), 1.0)
    made = learn_spaces(made, data, PoseSpace.of(head), Priors(noise=0.0001), len(state.directions), 1.0)
    assert (made.neutrals - state.neutrals).norm(dim=-1).max() < 1e-5
    angles = torch.rad2deg(subspace_angles(made.directions.flatten(1), state.directions.flatten(1)))
    assert angles.max() < 2.0


@pytest.fixture(scope="module")
def trained(head, true, tmp_path_factory):
    """The command run on 10 people in 12 poses and expressions: the model's file."""
    folder = tmp_path_factory.mktemp("known")
    write_registrations(folder / "registered", perform(true), head)
    out, start = folder / "learned.npz", folder / "thinned.npz"
    save_head(start, head)
    asked = ["--expression-components", str(true.expression_count), "--head-model", str(start)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVATAR_HOME", str(folder / "home"))  # where the starting head is kept
        assert main(["model", "train", str(folder / "registered"), "--out", str(out), *asked]) == 0
    return out


@pytest.mark.slow
def test_a_known_model_is_learned(head, true, trained):
    learned, performance = read_head(trained), perform(true)
    people = true.template + (true.shapedirs @ performance.shapes.T).transpose(2, 0, 1)

    def rows(directions):
        return torch.tensor(directions.transpose(2, 0, 1).reshape(directions.shape[2], -1)).double()

    expressions = torch.rad2deg(subspace_angles(rows(true.exprdirs), rows(learned.exprdirs)))
    assert len(expressions) == true.expression_count >= 10
    assert expressions.max() < 5
    # ten people span nine directions about their mean: those, and each of them within the true space
    spread = torch.tensor((people - people.mean(0)).reshape(PEOPLE, -1)).double()
    sampled = principal_directions(spread, PEOPLE - 1)[0]
    assert learned.shape_count == PEOPLE - 1
    assert torch.rad2deg(subspace_angles(sampled, rows(learned.shapedirs))).max() < 5
    assert torch.rad2deg(subspace_angles(rows(true.shapedirs), rows(learned.shapedirs))).max() < 5
    before, after = (np.abs(one.weights - true.weights).mean() for one in (head, learned))
    assert before > 0.01
    assert after < 0.3 * before
    joints = np.linalg.norm((learned.joint_regressor - true.joint_regressor) @ people, axis=-1).mean(0)
    before = np.linalg.norm((head.joint_regressor - true.joint_regressor) @ people, axis=-1).mean(0)
    assert (1000 * joints < 1).all(), joints
    assert (1000 * before[1:] > 2).all()


@pytest.mark.slow
def test_people_in_poses_that_were_held_out_are_rebuilt(true, trained):
    """The same people in other poses and expressions, by the learned model and by least squares."""
    learned = read_head(trained)
    held_out = performed(true, perform(true).shapes[:5], 3, seed=77)
    fitter = ModelFitter(learned, ScanLandmarks("ibug", np.full((68, 3), np.nan), np.zeros((68, 3, 3))))
    distances = []
    for vertices in held_out.vertices[:, 1:].reshape(-1, learned.vertex_count, 3):
        fitter.values[:] = 0
        fit = fitter.to_vertices(vertices.astype(np.float64), np.ones(len(vertices)), rounds=8, deviation=0.0001)
        distances.append(1000 * np.linalg.norm(fit.vertices - vertices, axis=1).mean())
    assert np.mean(distances) < 0.3, distances


@pytest.mark.slow
def test_the_file_is_a_head_as_the_open_one_is(head, trained, monkeypatch, tmp_path):
    monkeypatch.setenv("AVATAR_HOME", str(tmp_path))
    learned = open_head_model(trained)
    assert learned.name == "learned"
    assert learned.fingerprint != head.fingerprint
    assert learned.has_landmarks()
    assert learned.regions.keys() == head.regions.keys()
    assert learned.extras.keys() == head.extras.keys()
    assert learned.uv_fingerprint == head.uv_fingerprint
    assert main(["model", "import", str(trained)]) == 0
    assert "learned" in list_heads()


@pytest.mark.slow
def test_the_report_says_how_good_it_is(trained):
    report = json.loads(trained.with_suffix(".report.json").read_text())
    assert report["registrations"] == 120
    assert report["subjects"]["p03"] == {"registrations": 12, "neutral": "p03/p03_neutral"}
    assert report["distance_mm"]["mean"] < 0.1
    for space, most in (("shape", 9), ("expression", 12)):
        curves = report["spaces"][space]
        assert curves["directions"][-1] == most == report["directions"][space]
        assert np.diff(curves["explained_variance"]).min() > 0
        assert curves["explained_variance"][-1] > 0.99
        assert curves["generalisation_mm"][-1] < curves["generalisation_mm"][0]
    assert read_png(trained.with_suffix(".curves.png")).std() > 10


def test_the_head_that_is_made_holds_the_model(head, true):
    performance = perform(true, people=2, frames=3)
    data, start = registrations_of(performance), PoseSpace.of(head)
    state = learn_spaces(first_state(data, head), data, start, Priors(), 2, 1.0)
    made = head_of(with_shapes(state, [], None), head, "made")
    assert (made.shape_count, made.expression_count) == (1, 2)
    assert np.array_equal(made.faces, head.faces)
    assert np.array_equal(made.mediapipe_faces, head.mediapipe_faces)
    people = performance.vertices[:, 0]
    off = people - people.mean(0)
    along = made.shapedirs[..., 0] / np.linalg.norm(made.shapedirs)
    assert np.allclose(made.template, people.mean(0), atol=1e-5)
    assert np.allclose((off * along).sum((1, 2))[:, None, None] * along, off, atol=1e-5)
