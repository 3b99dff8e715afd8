"""Whole registrations of scans that are odd: huge, hollow, mirrored, damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import trimesh
from scan_parts import ibug_of, known_head, scan_of

from avatar.app.cli import main
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera, look_at
from capture_tools.scan.handedness import winding
from capture_tools.scan.landmarks import ScanLandmarks
from capture_tools.scan.person import Hints
from capture_tools.scan.registering import register_scan
from capture_tools.scan.scan import Scan, apply
from capture_tools.scan.settings import RegisterSettings

METRES = RegisterSettings(unit="m")
MOST_MEMORY = 5e9
"""Bytes: a process with a scan of five million triangles takes 3 GB at most."""


def given(head, vertices):
    return Hints(ScanLandmarks("ibug", ibug_of(head, vertices), np.tile(np.eye(3), (68, 1, 1))))


def written(path, scan):
    trimesh.Trimesh(scan.vertices, scan.faces, process=False).export(path)
    return str(path)


def depth_scan(head, vertices, size):
    """The front of a head as a depth camera of `size` pixels across records it: two triangles between pixels."""
    centre = vertices[head.region("face")].mean(0)
    focal = 2.6 * size
    pose = look_at(centre + np.array([0, 0, 0.6]), centre)
    camera = Camera(size, size, focal, focal, size / 2, size / 2, pose)
    image = rasterize(torch.as_tensor(head.faces), torch.as_tensor(vertices, dtype=torch.float32), camera)
    depth = image.depth.numpy().astype(np.float64)
    row, column = np.nonzero(np.isfinite(depth))
    number = np.full(depth.shape, -1)
    number[row, column] = np.arange(len(row))
    z = depth[row, column]
    points = np.stack([(column + 0.5 - size / 2) / focal * z, (row + 0.5 - size / 2) / focal * z, z], 1)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    faces = faces[(faces >= 0).all(1)]
    faces = faces[np.ptp(z[faces], axis=1) < 0.003]
    return Scan("depth", apply(camera.world_from_cam, points), faces)


@pytest.mark.slow
def test_five_million_triangles_are_made_coarser_within_bounded_memory(head, tmp_path):
    _, vertices = known_head(head)
    scan = depth_scan(head, vertices, 2400)
    assert len(scan.faces) > 5_000_000
    path = written(tmp_path / "huge.ply", scan)
    del scan
    out, marks = tmp_path / "out", tmp_path / "huge.npy"
    np.save(marks, ibug_of(head, vertices))
    command = [sys.executable, "-m", "avatar.app.cli", "register", path, "--out", str(out), "--unit", "m"]
    command += ["--landmarks", str(marks)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    process.stderr.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    assert used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) < MOST_MEMORY
    report = json.loads((out / "report.json").read_text())
    assert any("made coarser" in text and "are used" in text for text in report["warnings"])
    assert report["scan_to_mesh_mm"]["coupled"]["face_crop"]["median"] < 0.15


@pytest.mark.slow
def test_the_inner_wall_of_a_hollow_scan_is_not_registered(head):
    _, vertices = known_head(head)
    outer = scan_of(head, vertices)
    normals = np.cross(*(outer.vertices[outer.faces[:, i]] - outer.vertices[outer.faces[:, 0]] for i in (1, 2)))
    at = np.zeros_like(outer.vertices)
    np.add.at(at, outer.faces.ravel(), np.repeat(normals, 3, axis=0))
    _, place = np.unique(np.round(outer.vertices, 6), axis=0, return_inverse=True)
    total = np.stack([np.bincount(place, at[:, i])[place] for i in range(3)], 1)
    inner = outer.vertices - 0.003 * total / np.linalg.norm(total, axis=1, keepdims=True)
    shell = Scan(
        "shell",
        np.concatenate([outer.vertices, inner]),
        np.concatenate([outer.faces, outer.faces[:, ::-1] + len(inner)]),
    )
    made = register_scan(shell, head, METRES, given(head, vertices))
    off = 1000 * np.linalg.norm(apply(np.linalg.inv(made.scan_to_model), made.vertices) - vertices, axis=1)
    assert np.median(off[head.region("face")]) < 0.8  # the inner wall is 3 mm off
    assert (made.flipped, made.crossing) == (0, 0)


@pytest.mark.slow
def test_a_mirrored_scan_is_registered_with_a_warning(head, tmp_path):
    _, vertices = known_head(head)
    scan = scan_of(head, vertices)
    mirrored = Scan("mirrored", scan.vertices * [-1, 1, 1], scan.faces)
    out = tmp_path / "out"
    assert main(["register", written(tmp_path / "mirrored.ply", mirrored), "--out", str(out), "--unit", "m"]) == 0
    report = json.loads((out / "report.json").read_text())
    assert any("mirror-symmetric mix-up" in text for text in report["warnings"])
    assert report["scan_to_mesh_mm"]["coupled"]["face_crop"]["median"] < 0.2
    centre = vertices[head.region("face")].mean(0)
    assert [winding(one, centre)[0] for one in (scan, mirrored)] == [1, -1]


def test_damaged_scans_have_one_message_and_leave_nothing(head, tmp_path, capsys):
    _, vertices = known_head(head)
    scan = scan_of(head, vertices)
    broken = Scan("broken", scan.vertices.copy(), scan.faces)
    broken.vertices[123] = np.nan
    for ending in ("ply", "obj", "stl"):
        path = written(tmp_path / f"broken.{ending}", broken)
        assert main(["register", path, "--out", str(tmp_path / "out")]) == 1
        said = capsys.readouterr().err
        assert "vertices that are not finite" in said
        assert "Traceback" not in said
        assert not (tmp_path / "out").exists()
