"""The parts of a registration by hand-made cases: similarities, crops, faults, weights, triangulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scan_parts import known_head, similarity

from avatar.flame.library import load_head
from capture_tools.scan.defects import crossing_triangles, flipped_triangles
from capture_tools.scan.finding import turned_back
from capture_tools.scan.landmarks import CloseView, ScanLandmarks, close_camera, triangulate
from capture_tools.scan.measures import face_crop, summary_of
from capture_tools.scan.model_fit import ModelFitter
from capture_tools.scan.rendering import close_holes
from capture_tools.scan.sampling import sample_scan, see_out
from capture_tools.scan.scan import Scan, apply, fit_similarity, robust_similarity, scale_of


def box(side: float = 1.0, inwards: bool = False) -> Scan:
    """A cube around the origin, each side of 2 x 20 x 20 triangles."""
    grid = np.linspace(-1, 1, 21) * side / 2
    u, v = np.meshgrid(grid, grid, indexing="ij")
    index = np.arange(441).reshape(21, 21)
    a, b, c, d = index[:-1, :-1].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel(), index[:-1, 1:].ravel()
    quads = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    points, faces = [], []
    for axis in range(3):
        for sign in (-1, 1):
            place = np.zeros((441, 3))
            place[:, axis], place[:, axis - 2], place[:, axis - 1] = sign * side / 2, u.ravel(), v.ravel()
            points.append(place)
            faces.append((quads if sign > 0 else quads[:, ::-1]) + 441 * (len(points) - 1))
    every = np.concatenate(faces)
    return Scan("box", np.concatenate(points), every[:, ::-1] if inwards else every)


def test_a_similarity_is_found_again_and_never_mirrors():
    points = np.random.default_rng(0).normal(size=(40, 3))
    true = similarity(250.0)
    assert np.allclose(fit_similarity(points, apply(true, points)), true)
    mirrored = fit_similarity(points, points * [-1, 1, 1])
    assert np.linalg.det(mirrored[:3, :3]) > 0
    assert scale_of(true) == pytest.approx(250)


def test_outliers_hardly_move_a_robust_similarity():
    points = np.random.default_rng(0).normal(size=(60, 3))
    true = similarity(2.0)
    target = apply(true, points)
    target[:12] += 5.0
    found, residual = robust_similarity(points, target)
    assert np.abs(apply(found, points[12:]) - target[12:]).max() < 0.05
    assert residual[:12].min() > 5


def test_the_crop_of_the_face_by_hand():
    landmarks = np.zeros((68, 3))
    landmarks[27], landmarks[33] = (0, 0, 0), (0, -40, 30)  # nose of length 50
    landmarks[36], landmarks[45] = (-45, 0, 0), (45, 0, 0)
    centre, radius = face_crop(landmarks)
    assert centre == pytest.approx([0, -28, 21])
    assert radius == pytest.approx(0.7 * (90 + 50))


def test_distances_are_summed_up():
    assert summary_of(np.arange(101.0)) == {"median": 50, "mean": 50, "p95": 95, "points": 101}
    assert summary_of(np.zeros(0)) is None


def test_crossing_and_turned_triangles_by_hand():
    flat = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.2, 0.2, -0.5], [0.2, 0.2, 0.5], [2, 2, 0.5]], float)
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    assert crossing_triangles(flat, faces).tolist() == [True, True]
    apart = flat + (np.arange(6) > 2)[:, None] * np.array([0, 0, 0.6])
    assert not crossing_triangles(apart, faces).any()
    neighbours = np.array([[0, 1, 2], [1, 3, 2]])  # with common vertices: not counted
    assert not crossing_triangles(flat, neighbours).any()
    mirrored = flat.copy()
    mirrored[1, 0] = -1
    assert flipped_triangles(mirrored, flat, faces[:1]).tolist() == [True]
    assert not flipped_triangles(flat, flat, faces).any()


@pytest.mark.parametrize("turns", range(4))
def test_pixels_of_a_turned_picture(turns):
    picture = np.zeros((20, 20))
    picture[3, 14] = 1
    row, column = np.argwhere(np.rot90(picture, turns) == 1)[0]
    assert turned_back(np.array([[column + 0.5, row + 0.5]]), turns, 20)[0] == pytest.approx([14.5, 3.5])


def test_triangulation_meets_rays_and_leaves_out_what_is_wrong():
    points = np.random.default_rng(1).uniform(-0.05, 0.05, (478, 3))
    views = []
    for yaw in (-0.5, -0.2, 0.0, 0.2, 0.5):
        camera = close_camera(np.zeros(3), yaw, 0.1)
        seen = apply(camera.cam_from_world, points)
        views.append(CloseView(camera, seen[:, :2] / seen[:, 2:] * camera.fl_x + camera.cx, np.zeros((1, 1, 3))))
    views[1].pixels[:50] += 40  # one view is wrong
    found = triangulate(views)
    assert np.abs(found.points - points).max() < 2e-4
    moved = found.moved(similarity(2.0))
    assert np.trace(moved.information, axis1=1, axis2=2) == pytest.approx(np.trace(found.information, axis1=1, axis2=2))


def test_small_holes_close_and_large_ones_stay():
    depth = np.full((60, 60), 1.0, np.float32)
    depth[20:23, 20:23], depth[35:58, 35:58] = 2.0, 2.0
    closed, _ = close_holes(depth, np.zeros((60, 60, 3), np.float32), 0.1, 7)
    assert np.abs(closed[20:23, 20:23] - 1).max() < 0.01
    assert closed[45:50, 45:50].min() == 2


@pytest.mark.parametrize("inwards", [False, True])
def test_samples_face_outwards_however_triangles_wind(inwards):
    samples, notes = sample_scan(box(0.2, inwards), 2000, (np.zeros(3), 1.0))
    outwards = (samples.points * samples.normals).sum(1)
    assert len(samples) == 2000
    assert outwards.min() == pytest.approx(0.1, abs=1e-6)
    assert bool(notes) == inwards


def test_the_inner_wall_of_a_shell_is_no_surface():
    outer, inner = box(0.2), box(0.19, inwards=True)
    shell = Scan(
        "shell",
        np.concatenate([outer.vertices, inner.vertices]),
        np.concatenate([outer.faces, inner.faces + len(outer.vertices)]),
    )
    samples, _ = sample_scan(shell, 3000, (np.zeros(3), 1.0))
    assert 1000 < len(samples) < 2500
    assert np.abs(samples.points).max(1).min() == pytest.approx(0.1)
    assert see_out(shell, np.array([[0.095, 0.0, 0.0]]), np.array([[-1.0, 0, 0]]))[0] == 0


def test_the_jacobian_is_the_models_slope():
    asset = load_head()
    nothing = ScanLandmarks("mediapipe", np.full((478, 3), np.nan), np.zeros((478, 3, 3)))
    fitter = ModelFitter(asset, nothing)
    rng = np.random.default_rng(0)
    fitter.values = rng.normal(0, 0.1, len(fitter.values))
    slopes, before = fitter.jacobian(), fitter.fit().vertices
    step = rng.normal(0, 2e-3, len(fitter.values))
    fitter.values = fitter.values + step
    change = (fitter.fit().vertices - before).ravel()
    assert np.abs(change - slopes @ step).max() < 0.01 * np.abs(change).max()


def test_known_parameters_are_found_from_vertices():
    asset = load_head()
    params, vertices = known_head(asset)
    nothing = ScanLandmarks("mediapipe", np.full((478, 3), np.nan), np.zeros((478, 3, 3)))
    fitter = ModelFitter(asset, nothing)
    fit = fitter.to_vertices(vertices, np.ones(len(vertices)), rounds=4)
    assert np.abs(fit.vertices - vertices).max() < 0.0012
    assert float((fit.params.shape[:10] - params.shape[:10]).abs().max()) < 0.15
    assert torch.isfinite(fit.params.expr).all()
