"""Whole registrations of scans whose answer is known, and of what cannot be registered."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh
from scan_parts import apply, ibug_of, known_head, scan_of, similarity

from avatar.app.cli import main
from avatar.base.errors import ConfigError, InputError
from avatar.base.npz import read_npz
from capture_tools.scan.folder import folder_names, landmark_files, register_files
from capture_tools.scan.landmarks import ScanLandmarks
from capture_tools.scan.matching import HeadSurface
from capture_tools.scan.measures import head_distances
from capture_tools.scan.person import Hints
from capture_tools.scan.placing import place_scan
from capture_tools.scan.registering import register_scan
from capture_tools.scan.sampling import sample_scan
from capture_tools.scan.scan import Scan
from capture_tools.scan.settings import RegisterSettings


def given_landmarks(head, vertices, transform):
    return ScanLandmarks("ibug", apply(transform, ibug_of(head, vertices)), np.tile(np.eye(3), (68, 1, 1)))


def test_the_unit_and_the_pupils_set_the_scale(head):
    _, vertices = known_head(head)
    scan = scan_of(head, vertices)
    in_mm = scan.moved(similarity(1000.0))
    landmarks = given_landmarks(head, vertices, similarity(1000.0))
    pupils = landmarks.pupils()
    apart = float(np.linalg.norm(pupils[0] - pupils[1]))
    exact = place_scan(in_mm, head, RegisterSettings(unit="mm"), Hints(landmarks))
    assert np.cbrt(np.linalg.det(exact.scan_to_model[:3, :3])) == pytest.approx(0.001)
    assert exact.warnings == []
    told = place_scan(in_mm, head, RegisterSettings(pupil_distance=60), Hints(landmarks))
    assert np.cbrt(np.linalg.det(told.scan_to_model[:3, :3])) == pytest.approx(0.060 / apart)
    guessed = place_scan(in_mm, head, RegisterSettings(), Hints(landmarks))
    assert "scale guessed" in guessed.warnings[0]
    wrong = place_scan(in_mm, head, RegisterSettings(unit="cm"), Hints(landmarks))
    assert "is the unit right" in wrong.warnings[0]


def test_landmarks_in_another_order_are_refused(head):
    _, vertices = known_head(head)
    landmarks = given_landmarks(head, vertices, np.eye(4))
    mixed = ScanLandmarks("ibug", np.random.default_rng(0).permutation(landmarks.points), landmarks.information)
    with pytest.raises(InputError, match="shape of a face"):
        place_scan(scan_of(head, vertices), head, RegisterSettings(), Hints(mixed))


def shell_of(scan):
    """A scan with an inner wall, 3 mm below its surface."""
    normals = np.cross(*(scan.vertices[scan.faces[:, i]] - scan.vertices[scan.faces[:, 0]] for i in (1, 2)))
    _, place = np.unique(np.round(scan.vertices, 6), axis=0, return_inverse=True)
    at = place[scan.faces].ravel()
    total = np.stack([np.bincount(at, np.repeat(normals[:, i], 3)) for i in range(3)], 1)[place]
    inner = scan.vertices - 0.003 * total / np.linalg.norm(total, axis=1, keepdims=True)
    faces = np.concatenate([scan.faces, scan.faces[:, ::-1] + len(inner)])
    return Scan("shell", np.concatenate([scan.vertices, inner]), faces)


@pytest.mark.slow
def test_a_hollow_scan_with_a_hole_is_met_outside_and_the_head_kept_in_the_hole(head):
    _, vertices = known_head(head)
    scan = scan_of(head, vertices)
    shell = shell_of(scan)
    cheek = vertices[head.region("face")].mean(0) + np.array([0.04, -0.02, 0])
    hole = np.linalg.norm(shell.vertices[shell.faces].mean(1) - cheek, axis=1) < 0.025
    pierced = Scan("pierced", shell.vertices, shell.faces[~hole])
    hints = Hints(given_landmarks(head, vertices, np.eye(4)))
    made = register_scan(pierced, head, RegisterSettings(unit="m"), hints)
    whole, _ = sample_scan(scan.moved(made.scan_to_model), 12_000, (made.vertices.mean(0), 0.2), seed=1)
    for stage, most in (("model", 0.5), ("coupled", 0.1)):
        assert head_distances(head, HeadSurface(head), made.stages[stage], whole).summary()["face"]["median"] < most
    assert (made.flipped, made.crossing) == (0, 0)
    back = apply(np.linalg.inv(made.scan_to_model), made.vertices)
    off = 1000 * np.linalg.norm(back - vertices, axis=1)
    inside = head.region("face") & (np.linalg.norm(vertices - cheek, axis=1) < 0.02)
    assert np.median(off[head.region("face")]) < 0.8  # the inner wall is 3 mm off
    assert inside.sum() > 10
    assert np.median(off[inside]) < 1.5  # without data the vertices follow the model


@pytest.mark.slow
def test_the_command_finds_a_turned_head_in_millimetres(head, tmp_path, capsys):
    _, vertices = known_head(head)
    transform = similarity(1000.0, seed=5)
    scan = scan_of(head, vertices).moved(transform)
    trimesh.Trimesh(scan.vertices, scan.faces, process=False).export(tmp_path / "head.ply")
    out = tmp_path / "out"
    command = ["register", str(tmp_path / "head.ply"), "--out", str(out), "--unit", "mm"]
    assert main(command) == 0
    report = json.loads((out / "report.json").read_text())
    made = read_npz(out / "registration.npz")
    for stage, most in (("model", 1.0), ("coupled", 0.15)):
        assert report["scan_to_mesh_mm"][stage]["face_crop"]["median"] < most
        assert set(report["scan_to_mesh_mm"][stage]["head"]) >= {"median", "mean", "p95"}
    assert str(made["head_fingerprint"]) == head.fingerprint
    assert made["vertices"].shape == (head.vertex_count, 3)
    assert {k: made[k].shape for k in ("rotation", "translation", "neck", "jaw", "eyes")} == {
        "rotation": (3,), "translation": (3,), "neck": (3,), "jaw": (3,), "eyes": (6,)
    }  # fmt: skip
    placed = apply(made["scan_to_model"] @ transform, vertices)
    face = head.region("face")
    assert np.median(1000 * np.linalg.norm(placed - made["vertices"], axis=1)[face]) < 2.5
    for name in ("heatmap.png", "overlay.png"):
        assert (out / name).stat().st_size > 10_000
    assert len(trimesh.load(out / "registration.glb", force="mesh").faces) == len(head.faces)
    before = (out / "registration.npz").stat().st_mtime_ns
    assert main(command) == 0  # what is finished stays
    assert (out / "registration.npz").stat().st_mtime_ns == before
    capsys.readouterr()
    assert main([*command[:-1], "cm"]) == 1
    assert "made by another registration" in capsys.readouterr().err


@pytest.mark.slow
def test_two_heads_and_none_are_refused(head, tmp_path):
    _, vertices = known_head(head)
    scan = scan_of(head, vertices)
    one = trimesh.Trimesh(scan.vertices, scan.faces, process=False)
    two = one.copy().apply_translation([0.3, 0.02, 0.01])
    trimesh.util.concatenate([one, two]).export(tmp_path / "two.ply")
    trimesh.creation.icosphere(subdivisions=5).export(tmp_path / "ball.ply")
    for name, said in (("two", "two heads"), ("ball", "no face was found")):
        with pytest.raises(InputError, match=said):
            register_files([tmp_path / f"{name}.ply"], tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_each_of_several_scans_has_a_folder(tmp_path):
    paths = [tmp_path / "a" / "scan.ply", tmp_path / "b" / "scan.ply", tmp_path / "b" / "face.obj"]
    assert folder_names(paths) == ["a_scan", "b_scan", "b_face"]
    assert folder_names([paths[0], paths[2]]) == ["scan", "face"]
    assert folder_names([paths[0], paths[0]]) == ["a_scan_1", "a_scan_2"]


def test_several_scans_have_their_landmarks_in_a_folder(tmp_path):
    for name in ("a.npy", "b.txt", "b.json"):
        (tmp_path / name).touch()
    assert landmark_files(["a"], tmp_path) == [tmp_path / "a.npy"]
    assert landmark_files(["a"], tmp_path / "a.npy") == [tmp_path / "a.npy"]
    assert landmark_files(["a", "c"], None) == [None, None]
    for names, found in ((["a", "b"], "b.json, b.txt"), (["a", "c"], "none of them")):
        with pytest.raises(InputError, match=found):
            landmark_files(names, tmp_path)


def test_wrong_options_are_refused_before_any_work(tmp_path, capsys):
    scan = tmp_path / "scan.ply"
    trimesh.creation.icosphere().export(scan)
    with pytest.raises(InputError, match="given twice"):
        RegisterSettings(unit="mm", pupil_distance=62).check()
    with pytest.raises((InputError, ConfigError), match="pupil-distance is out of range"):
        RegisterSettings(pupil_distance=6.2).check()
    with pytest.raises(InputError, match="belongs to one scan"):
        register_files([scan, scan], tmp_path / "out", RegisterSettings(landmarks=scan))
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("keep")
    assert main(["register", str(scan), "--out", str(other)]) == 1
    assert "already holds something else" in capsys.readouterr().err
    assert main(["register", str(tmp_path / "none.ply"), "--out", str(tmp_path / "out")]) == 1
    assert "the scan does not exist" in capsys.readouterr().err
    assert main(["register", str(other), "--out", str(tmp_path / "out")]) == 1
    assert "this is a folder, not a scan" in capsys.readouterr().err
    assert main(["register", "--out", str(tmp_path / "out")]) == 1
    assert "what to do: avatar register SCAN" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
