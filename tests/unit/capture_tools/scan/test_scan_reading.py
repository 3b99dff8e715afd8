"""Scans and landmarks from files, good ones and bad ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh
from PIL import Image

from avatar.base.errors import InputError
from capture_tools.scan.landmarks import read_landmarks
from capture_tools.scan.reading import coarser, read_scan, sample_texture
from capture_tools.scan.scan import Scan

BALL = trimesh.creation.icosphere(subdivisions=4, radius=2.0)


def write(path, mesh):
    mesh.export(path)
    return path


@pytest.mark.parametrize("ending", ["obj", "ply", "stl", "glb"])
def test_every_format_is_read(tmp_path, ending):
    scan = read_scan(write(tmp_path / f"ball.{ending}", BALL))
    assert len(scan.faces) == len(BALL.faces)
    assert np.linalg.norm(scan.vertices, axis=1) == pytest.approx(2.0, abs=1e-5)


def test_a_cloud_of_points_has_no_faces(tmp_path):
    scan = read_scan(write(tmp_path / "cloud.ply", trimesh.PointCloud(BALL.vertices)))
    assert scan.faces is None
    assert scan.vertices.shape == BALL.vertices.shape


def test_parts_of_a_scene_are_placed_and_joined_and_mirrors_turn_their_triangles(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(BALL, transform=np.diag([-1.0, 1, 1, 1]))
    scene.add_geometry(BALL.copy(), transform=trimesh.transformations.translation_matrix([10, 0, 0]))
    scan = read_scan(write(tmp_path / "two.glb", scene))
    corners = scan.vertices[scan.faces]
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(2 * BALL.volume, rel=1e-4)  # a part that faces inwards would count as less
    assert scan.vertices[:, 0].max() == pytest.approx(12, abs=1e-4)


def test_colours_and_textures_are_kept(tmp_path):
    colours = np.tile(np.array([[200, 100, 50, 255]], np.uint8), (len(BALL.vertices), 1))
    painted = trimesh.Trimesh(BALL.vertices, BALL.faces, vertex_colors=colours, process=False)
    assert read_scan(write(tmp_path / "painted.ply", painted)).colours[0].tolist() == [200, 100, 50]
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[0, 3] = [9, 8, 7]
    visual = trimesh.visual.TextureVisuals(uv=np.full((len(BALL.vertices), 2), 0.9), image=Image.fromarray(picture))
    textured = trimesh.Trimesh(BALL.vertices, BALL.faces, visual=visual, process=False)
    scan = read_scan(write(tmp_path / "textured.glb", textured))
    assert sample_texture(scan.texture, scan.uv[:1])[0].tolist() == [9, 8, 7]


def test_a_huge_mesh_is_made_coarser_with_a_note():
    fine = Scan("ball", np.asarray(BALL.vertices), np.asarray(BALL.faces))
    made = coarser(fine, 500)
    assert 300 < len(made.faces) < 2500
    assert np.linalg.norm(made.vertices, axis=1) == pytest.approx(2.0, abs=0.1)
    assert "coarser" in made.notes[0]


def test_what_is_no_scan_is_refused(tmp_path):
    text = tmp_path / "text.obj"
    text.write_text("this is a letter\n")
    rubbish = tmp_path / "rubbish.ply"
    rubbish.write_bytes(bytes(range(256)) * 4)
    small = write(tmp_path / "small.ply", trimesh.creation.box())
    holes = trimesh.Trimesh(BALL.vertices.copy(), BALL.faces, process=False)
    holes.vertices[7] = np.nan
    broken = write(tmp_path / "broken.ply", holes)
    cases = {
        text: "cannot be read as a scan",
        rubbish: "cannot be read as a scan",
        small: "too few points",
        broken: "not finite",
        tmp_path / "none.ply": "does not exist",
        tmp_path / "photo.jpg": "format is unknown",
    }
    for path, said in cases.items():
        with pytest.raises(InputError, match=said) as caught:
            read_scan(path)
        assert "what to do" in str(caught.value)


def test_landmarks_are_read_in_three_forms(tmp_path):
    points = np.random.default_rng(0).normal(size=(51, 3))
    np.save(tmp_path / "a.npy", points)
    (tmp_path / "b.json").write_text(json.dumps({"landmarks": [None, *points[1:].tolist()]}))
    np.savetxt(tmp_path / "c.txt", points)
    for name in ("a.npy", "b.json", "c.txt"):
        read = read_landmarks(tmp_path / name)
        assert read.points[20:] == pytest.approx(points[3:])
        assert not read.known[:17].any()
        assert read.known[17] == (name != "b.json")
    np.save(tmp_path / "few.npy", points[:20])
    (tmp_path / "bad.json").write_text("[[1, 2], 3")
    np.save(tmp_path / "unknown.npy", np.full((68, 3), np.nan))
    for name in ("few.npy", "bad.json", "missing.txt", "unknown.npy"):
        with pytest.raises(InputError, match="landmarks") as caught:
            read_landmarks(tmp_path / name)
        assert "what to do" in str(caught.value)
