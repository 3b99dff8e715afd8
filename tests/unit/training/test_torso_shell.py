"""The torso's shell: shoulders that are solid and have a colour where no frame shows them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_clip import shrink
from torch import Tensor

from avatar.config import load_preset
from avatar.data.capture import read_capture
from avatar.data.checkpoint import HEADER, load_avatar
from avatar.field.frame_states import Probes, Rays
from avatar.field.ray_sampling import field_functions
from avatar.flame.library import load_head
from avatar.flame.rasterize import rasterize
from avatar.flame.torso import load_torso
from avatar.geometry.cameras import Camera, project
from avatar.kernels.mesh.op import MeshQuery
from avatar.rendering.sampling import Samples
from avatar.training.prepare import hull_views, load_training_data, make_avatar
from avatar.training.step import TrainState, train_step
from avatar.training.surface_prior import BEHIND, TORSO_DEPTH, TORSO_RAYS, SurfacePrior
from avatar.training.torso_colours import torso_colours, torso_moves
from avatar.training.torso_shape import fit_torso
from avatar.training.trainer import train

GREEN = (40, 160, 60)


@pytest.fixture(scope="module")
def state(nodding_capture) -> TrainState:
    """A training whose person wears the expected torso, a green one, before grey."""
    config = shrink(load_preset("cpu"))
    config.training.loss.mouth = config.training.loss.lids = 0.0
    training = load_training_data(read_capture(nodding_capture), load_head(), config, torch.device("cpu"))
    avatar = make_avatar(config, training)
    torso = avatar.scene.torso
    assert torso is not None
    vertices, faces = (torch.as_tensor(part) for part in load_torso())
    known = vertices - torch.tensor([0.0, torso.blend.bottom, 0.0]) + torso.pivot
    moves, query = torso_moves(torso, training), MeshQuery(faces)
    for i, camera in enumerate(training.frames.cameras):
        worn = rasterize(query, known @ moves[i, :3, :3].T + moves[i, :3, 3], camera).face >= 0
        worn &= ~training.silhouettes[i]
        training.frames.masks[i] = 255 * (worn | training.silhouettes[i]).to(torch.uint8)
        training.frames.images[i] = 128
        training.frames.images[i][worn] = torch.tensor(GREEN, dtype=torch.uint8)
    return TrainState.make(make_avatar(config, training), training)


def fitted(state: TrainState) -> tuple[Tensor, Tensor]:
    scene = state.avatar.scene
    assert scene.torso is not None
    found = state.training.fitted_torso(scene.torso, scene.reference)
    assert found is not None
    return found


def test_rays_meet_the_torso_a_little_below_its_mesh_and_within_the_picture(state: TrainState) -> None:
    assert state.surface is not None
    shell = state.surface.torso
    assert shell is not None
    assert len(shell) > 2000
    vertices, faces = fitted(state)
    hits = MeshQuery(faces).update(vertices).cast_rays(shell.origins, shell.directions)
    torch.testing.assert_close(hits.depth + TORSO_DEPTH, shell.depth, atol=1e-5, rtol=0)
    edge = state.avatar.edge
    assert edge is not None
    assert edge.inside(shell.points(torch.full((len(shell), 1), -TORSO_DEPTH))[:, 0]).all()
    azimuth = torch.rad2deg(torch.atan2(-shell.directions[:, 0], -shell.directions[:, 2]))
    assert float(azimuth.min()) < -40
    assert float(azimuth.max()) > 40
    drawn = state.surface.draw(4, torch.Generator().manual_seed(0))
    assert len(drawn.unseen) == len(drawn.tolerance) == len(drawn.offset)
    assert len(drawn.offset) - TORSO_RAYS > 0


def test_the_shell_asks_for_nothing_that_the_masks_rule_out(state: TrainState) -> None:
    """The shoulder at the picture's left is missing from the masks, though the expected torso has it."""
    training, before = state.training, state.surface
    assert before is not None
    masks, cut = training.frames.masks.clone(), int(0.35 * training.camera.width)
    training.frames.masks[:, :, :cut] = 0
    after = SurfacePrior.make(state.avatar, training, 0)
    training.frames.masks.copy_(masks)
    assert before.torso is not None
    assert after.torso is not None
    columns = [
        project(shell.points(torch.zeros(len(shell), 1))[:, 0], training.camera)[0][:, 0]
        for shell in (before.torso, after.torso)
    ]
    assert float(columns[0].min()) < cut - 4, "there was a shoulder"
    assert float(columns[1].min()) > cut - 3
    assert int((columns[0] > cut + 3).sum()) == int((columns[1] > cut + 3).sum())


def test_the_torso_has_its_colour_all_around(state: TrainState) -> None:
    """Also where no frame sees it: no grey of the wall."""
    torso, (vertices, _) = state.avatar.scene.torso, fitted(state)
    assert torso is not None
    painted = torso_colours(torso, vertices, state.training)
    assert 0.03 < float((painted.confidence > 0.9).float().mean()) < 0.9
    wanted = torch.tensor(GREEN) / 255
    wrong = (painted.colours - wanted).abs().amax(1)
    assert float(wrong.max()) < 0.03


def test_other_cameras_are_shown_the_shell(state: TrainState) -> None:
    avatar, grid = state.avatar, state.avatar.scene.occupancy
    occupied, visible = grid.occupied.clone(), grid.visible.clone()
    grid.occupied.fill_(True)
    grid.visible.fill_(False)
    avatar.__dict__.pop("known_cells", None)
    below = grid.centres()[..., 1] < avatar.reference_vertices[:, 1].amin() - 0.1
    assert grid.completed[below].any()
    assert torch.equal(avatar.known_cells[below], grid.completed[below])
    grid.occupied.copy_(occupied)
    grid.visible.copy_(visible)
    avatar.__dict__.pop("known_cells", None)


def test_runs_from_before_the_shell_have_none(tiny_capture, tmp_path: Path) -> None:
    config = shrink(load_preset("cpu"))
    config.training.steps = 1
    config.training.loss.mouth = config.training.loss.lids = 0.0
    run = tmp_path / "run"
    train(tiny_capture, run, config, progress=False)
    saved = run / "checkpoints" / "step_000001.safetensors"
    with safe_open(saved, "pt") as file:
        header = {key: value for key, value in file.metadata().items() if key == HEADER}
    tensors = load_file(saved)
    del tensors["scene.occupancy.completed"]
    save_file(tensors, saved, header)
    assert not load_avatar(run).scene.occupancy.completed.any()


def test_shoulders_alone_are_enough_to_place_the_torso(state: TrainState) -> None:
    """A picture that ends above the base of the neck: the torso is as wide as the true one, not left out."""
    training, scene = state.training, state.avatar.scene
    assert scene.torso is not None
    views = hull_views(training)
    whole = fit_torso(scene.torso, scene.reference, views)
    assert whole is not None
    base = [project_row(scene.torso.pivot, camera) for camera in views.cameras]
    cut = [camera.cropped(0, 0, camera.width, math.ceil(row)) for camera, row in zip(views.cameras, base, strict=True)]
    height = min(camera.height for camera in cut)
    cut = [camera.cropped(0, 0, camera.width, height) for camera in views.cameras]
    short = type(views)(views.world_from_skull, cut, views.masks[:, :height], views.silhouettes[:, :height])
    found = fit_torso(scene.torso, scene.reference, short)
    assert found is not None
    widths = [float(vertices[:, 0].amax() - vertices[:, 0].amin()) for vertices, _ in (whole, found)]
    assert widths[1] == pytest.approx(widths[0], rel=0.2)


def test_training_makes_the_torso_solid(state: TrainState) -> None:
    """After some steps rays that no frame has, from the side, are stopped by the shoulders."""
    assert state.surface is not None
    shell = state.surface.torso
    assert shell is not None
    shell = shell.select(torch.arange(0, len(shell), len(shell) // 300))
    offset = torch.linspace(-0.03, BEHIND, 8).expand(len(shell), -1)
    points = shell.points(offset).reshape(-1, 3)

    def solid() -> float:
        with torch.no_grad():
            density = density_at(state, points).view(offset.shape)
        return float((1 - torch.exp(-density.sum(1) * 100 * (0.03 + BEHIND) / 8)).mean())

    before = solid()
    for step in range(30):
        train_step(state, step, step / 30, 1.0, Path())
    assert before < 0.4
    assert solid() > 0.7


def project_row(point: Tensor, camera: Camera) -> float:
    return float(project(point[None], camera)[0][0, 1])


def density_at(state: TrainState, points: Tensor) -> Tensor:
    """`[P]` per centimetre at canonical points, in the first frame."""
    frame = torch.arange(1)
    states = state.avatar.scene.training_states(state.training.data.select(frame), frame)
    rays = Rays(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0]), torch.tensor([True]))
    nowhere = torch.zeros(len(points), dtype=torch.bool)
    probes = Probes(points, nowhere.long(), nowhere)
    query_density, _ = field_functions(state.avatar.scene, states, rays, 1.0, probes=probes)
    _, found = query_density(Samples(torch.tensor([0]), torch.tensor([0.5]), torch.tensor([0.005]), 1))
    return found.probes.density
