"""Scans that are odd, by file and command: huge, mirrored, damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import trimesh
from scan_parts import known_head, scan_of

from avatar.app.cli import main
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera, look_at
from capture_tools.scan import reading
from capture_tools.scan.reading import MOST_FACES
from capture_tools.scan.scan import Scan, apply

MOST_MEMORY = 5e9
"""Bytes: a process with a scan of five million triangles takes 3 GB at most."""


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
def test_five_million_triangles_are_made_coarser_within_bounded_memory(tmp_path):
    """The file of a wavy sheet, read by a process of its own."""
    side = 1_600
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    heights = 40 * np.sin(x / 97) * np.cos(y / 61)
    number = np.arange(side * side).reshape(side, side)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    assert len(faces) > 5_000_000
    path = written(tmp_path / "huge.ply", Scan("sheet", np.stack([x, y, heights], -1).reshape(-1, 3), faces))
    program = "import sys; from pathlib import Path; from capture_tools.scan.reading import read_scan; "
    program += "scan = read_scan(Path(sys.argv[1])); print(*scan.notes, len(scan.faces))"
    process = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = process.stdout.read().decode()
    process.stdout.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) < MOST_MEMORY
    assert "made coarser" in said
    assert 300_000 < int(said.split()[-1]) < MOST_FACES


@pytest.mark.slow
def test_a_mirrored_scan_that_is_made_coarser_is_registered_with_both_warnings(head, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_FACES", 200_000)
    monkeypatch.setattr(reading, "COARSE_CELLS", 50_000)
    _, vertices = known_head(head)
    scan = depth_scan(head, vertices, 600)
    assert len(scan.faces) > reading.MOST_FACES
    mirrored = Scan("mirrored", scan.vertices * [-1, 1, 1], scan.faces)
    out = tmp_path / "out"
    assert main(["register", written(tmp_path / "mirrored.ply", mirrored), "--out", str(out), "--unit", "m"]) == 0
    report = json.loads((out / "report.json").read_text())
    assert any("mirror-symmetric mix-up" in text for text in report["warnings"])
    assert any("made coarser" in text and "are used" in text for text in report["warnings"])
    assert report["scan_to_mesh_mm"]["coupled"]["face_crop"]["median"] < 0.15


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
