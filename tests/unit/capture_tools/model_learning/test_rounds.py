"""Scans that are found again and registered again with a better model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from known_model import Performance, write_registrations
from scan_parts import apply, ibug_of, known_head, scan_of, similarity

from avatar.base.errors import InputError
from avatar.base.files import CLAIM_FILE, sha256_of_file, write_json, write_npz
from avatar.base.npz import read_npz
from capture_tools.model_learning.reading import read_registration
from capture_tools.model_learning.rounds import find_scans, last_landmarks, register_again
from capture_tools.model_learning.state import Registrations
from capture_tools.scan.output import REGISTRATION
from capture_tools.scan.person import Hints
from capture_tools.scan.placing import place_scan
from capture_tools.scan.scan import scale_of


@pytest.fixture
def registered(head, tmp_path) -> tuple[Path, Path, np.ndarray]:
    """A registration, its scan in another frame and unit, and the known vertices."""
    params, vertices = known_head(head)
    write_registrations(tmp_path, Performance(np.zeros((1, 1)), [params], vertices[None, None]), head)
    folder, scan = tmp_path / "p00_neutral", tmp_path / "scans" / "deep" / "anna.ply"
    scan.parent.mkdir(parents=True)
    to_scan, mesh = similarity(1000.0), scan_of(head, vertices)
    trimesh.Trimesh(apply(to_scan, mesh.vertices), mesh.faces, process=False).export(scan)
    arrays = read_npz(folder / REGISTRATION)
    write_npz(folder / REGISTRATION, {**arrays, "scan_to_model": np.linalg.inv(to_scan)})
    write_json(folder / CLAIM_FILE, {"kind": "registration", "identity": {"scan": sha256_of_file(scan)[:16]}})
    return folder, scan, vertices


def test_a_scan_is_known_by_its_content(registered, tmp_path):
    folder, scan, _ = registered
    (tmp_path / "scans" / "other.ply").write_bytes(b"ply of somebody else")
    assert find_scans([folder], tmp_path / "scans") == [scan]
    scan.write_bytes(b"changed")
    with pytest.raises(InputError, match="not there"):
        find_scans([folder], tmp_path / "scans")
    write_json(folder / CLAIM_FILE, ["odd"])
    with pytest.raises(InputError, match="not there"):
        find_scans([folder], tmp_path / "scans")
    (folder / CLAIM_FILE).unlink()  # hidden files are lost where folders are copied by name
    with pytest.raises(InputError, match="not there"):
        find_scans([folder], tmp_path / "scans")


def test_landmarks_and_size_are_those_of_the_last_registration(head, registered):
    folder, _, vertices = registered
    landmarks, settings = last_landmarks(folder, head)
    assert np.allclose(landmarks.points, apply(similarity(1000.0), ibug_of(head, vertices)), rtol=1e-4)
    scan = scan_of(head, vertices).moved(similarity(1000.0))
    placed = place_scan(scan, head, settings, Hints(landmarks))
    assert scale_of(placed.scan_to_model) == pytest.approx(0.001, rel=1e-4)


@pytest.mark.slow
def test_a_registration_is_made_again_and_kept(head, registered, tmp_path):
    folder, scan, vertices = registered
    data = Registrations(
        ("anna/neutral",),
        torch.zeros(1, head.vertex_count, 3, dtype=torch.float64),
        torch.zeros(1, 18, dtype=torch.float64),
        torch.tensor([0]),
        ("anna",),
        torch.tensor([True]),
    )
    again, folders = register_again(data, [folder], [scan], head, tmp_path / "round_2")
    assert folders == [tmp_path / "round_2" / "0000_p00_neutral"]
    face = head.region("face")
    off = np.linalg.norm(again.vertices[0].numpy() - vertices, axis=1)[face]
    assert 1000 * np.median(off) < 1.0  # along the surface too
    written = (folders[0] / REGISTRATION).stat().st_mtime_ns
    kept, _ = register_again(data, [folder], [scan], head, tmp_path / "round_2")
    assert (folders[0] / REGISTRATION).stat().st_mtime_ns == written
    assert torch.equal(kept.vertices, again.vertices)
    assert np.array_equal(read_registration(folders[0], head).vertices, again.vertices[0].numpy())
