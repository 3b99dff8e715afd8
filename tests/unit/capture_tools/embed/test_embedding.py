"""The embedding finds points it is told of, and lands on real heads where the licensed embedding does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar.base.errors import HeadModelError
from avatar.flame.assets import GEOMETRY, make_head
from avatar.flame.landmarks import surface_points
from avatar.flame.library import load_head, open_head_model
from avatar.flame.model import HeadModel
from avatar.geometry.cameras import project
from capture_tools.embed import embedding

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data" / "heads" / "flame2023_open"


def test_the_barycentric_grid_covers_a_triangle_evenly():
    grid = embedding.barycentric_grid(4)
    assert grid.shape == (10, 3)
    assert torch.allclose(grid.sum(1), torch.ones(10))
    assert torch.allclose(grid.mean(0), torch.full((3,), 1 / 3))
    assert grid.min() > 0


@pytest.mark.slow
def test_fit_recovers_known_points_from_noisy_detections():
    """Detections made by projecting the shipped embedding, with noise, 15 % outliers and no rendering."""
    asset = load_head()
    rng = np.random.default_rng(0)
    model = HeadModel(asset)
    outside = np.isin(np.arange(asset.vertex_count), np.flatnonzero(asset.region("mouth_interior")), invert=True)
    everything = outside[asset.faces].any(1)
    observations = []
    for _ in range(24):
        with torch.no_grad():
            params = embedding.random_parameters(asset, rng, 0.6)
            vertices = model(params).vertices
            points = model.landmarks(vertices)[0]
        yaw, pitch = rng.normal(0, 0.3), rng.normal(0, 0.15)
        camera = embedding.random_camera(np.array([0, 0, 0.03]), yaw, pitch, 0.0, 512, rng)
        pixels = project(points, camera)[0].numpy() + rng.normal(0, 0.7, (478, 2))
        wrong = rng.random(478) < 0.15
        pixels[wrong] += rng.normal(0, 25, (wrong.sum(), 2))
        observations.append(embedding.Observation(params, vertices[0], camera, pixels, everything))
    faces, barycentrics = embedding.fit_embedding(asset, observations)
    found = surface_points(asset.template, asset.faces, faces, barycentrics)
    known = surface_points(asset.template, asset.faces, asset.mediapipe_faces, asset.mediapipe_barycentrics)
    distance = np.linalg.norm(found - known, axis=1)
    assert np.median(distance) < 0.0006
    assert distance.max() < 0.004
    # each lip's inner points stay on their own lip: they part when the jaw opens
    opened = embedding._signatures(asset)[:, 3:].numpy()
    gap = [surface_points(opened, asset.faces, faces, barycentrics)[i, 1] for i in (13, 14, 82, 87, 312, 317)]
    assert min(gap[0] - gap[1], gap[2] - gap[3], gap[4] - gap[5]) > 0.01


@pytest.mark.slow
def test_the_shipped_embedding_agrees_with_fresh_detections():
    """Renders with another seed than the embedding's: mean error under 5 % of the inter-ocular distance."""
    asset = load_head()
    observations = embedding.observe(asset, embedding.EmbeddingSettings(renders=16, size=320, seed=1234))
    assert len(observations) >= 15
    error = embedding.embedding_error(asset, observations)
    points = surface_points(asset.template, asset.faces, asset.mediapipe_faces, asset.mediapipe_barycentrics)
    assert np.median(error.mean(1)) / np.linalg.norm(points[33] - points[263]) < 0.03


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/heads/flame2023_open")
def test_landmarks_land_on_flame_where_its_own_embedding_has_them():
    hull = pytest.importorskip("scipy.spatial").ConvexHull
    data = np.load(SHARED / "flame2023_open_template_head.npz")
    template, faces = data["v_template"], [data["faces_head"]]
    weights = np.zeros((len(template), 5))
    weights[:, 1] = 1
    regressor = np.zeros((5, len(template)))
    regressor[:3, 0] = 1
    for joint, (start, end) in ((3, (3931, 4477)), (4, (4477, 5023))):  # the file lacks the eyeballs' faces
        ball = hull(template[start:end])
        outward = (
            np.einsum("fd,fd->f", np.cross(*_edges(template[start:end], ball.simplices)), ball.equations[:, :3]) > 0
        )
        faces.append(np.where(outward[:, None], ball.simplices, ball.simplices[:, ::-1]) + start)
        weights[start:end] = np.eye(5)[joint]
        regressor[joint, start:end] = 1 / (end - start)
    asset = make_head(
        "flame-2023-open",
        {
            "template": template,
            "faces": np.concatenate(faces),
            "shapedirs": np.zeros((len(template), 3, 1)),
            "exprdirs": np.zeros((len(template), 3, 0)),
            "posedirs": np.zeros((len(template), 3, 36)),
            "joint_regressor": regressor,
            "weights": weights,
        },
    )
    asset = embedding.embed_landmarks(asset, embedding.EmbeddingSettings(renders=36, size=320))
    ours = surface_points(asset.template, asset.faces, asset.ibug_faces, asset.ibug_barycentrics)
    static = np.load(SHARED / "flame_static_embedding_51.npz")
    place = {int(full): index for index, full in enumerate(data["face_index_in_full_list"])}
    theirs = surface_points(
        template, asset.faces, np.array([place[int(f)] for f in static["lmk_face_idx"]]), static["lmk_b_coords"]
    )
    distance = np.linalg.norm(ours[17:] - theirs, axis=1)
    assert distance.mean() < 0.004
    assert distance.max() < 0.012
    irises = surface_points(template, asset.faces, asset.mediapipe_faces, asset.mediapipe_barycentrics)[[468, 473]]
    assert np.abs(irises[:, 0] - [-0.0314, 0.0317]).max() < 0.003


def _edges(points, triangles):
    return points[triangles[:, 1]] - points[triangles[:, 0]], points[triangles[:, 2]] - points[triangles[:, 0]]


def test_a_name_that_cannot_be_is_refused_before_anything_is_read_or_computed(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATAR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(embedding, "read_flame", never)
    monkeypatch.setattr(embedding, "embed_landmarks", never)
    for name in ("bad_name", "open-head", "../up"):
        with pytest.raises(HeadModelError, match="cannot have this name"):
            embedding.import_head(tmp_path / "flame.pkl", name)


def test_a_name_that_another_model_has_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATAR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(embedding, "embed_landmarks", never)
    head = replace(load_head(), name="mine")
    assert embedding.ready_head(head) is head  # it has its landmarks, so it is kept at once
    other = make_head("mine", {key: getattr(head, key) for key in GEOMETRY} | {"template": head.template + 0.01})
    with pytest.raises(HeadModelError, match="another head model is called mine"):
        embedding.ready_head(other)
    (tmp_path / "Bad_Name.npz").write_bytes((tmp_path / "home" / "models" / "mine.npz").read_bytes())
    assert open_head_model(tmp_path / "Bad_Name.npz").name == "bad-name"
    (tmp_path / "open-head.npz").write_bytes((tmp_path / "home" / "models" / "mine.npz").read_bytes())
    with pytest.raises(HeadModelError, match="cannot have this name"):
        open_head_model(tmp_path / "open-head.npz")


def test_the_long_computation_shows_how_far_it_is(capsys):
    found = embedding.observe(load_head(), embedding.EmbeddingSettings(renders=2, size=160))
    assert len(found) <= 2
    assert "landmarks of the head, pictures: 2/2 pictures" in capsys.readouterr().err


def never(*_arguments, **_options):
    raise AssertionError("too early")
