"""A sequence of coloured scans with known truth, by the command: what is shared, and what carrying it along gains."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scan_parts import ibug_of

from avatar.app.cli import main
from avatar.base.errors import OutputError
from avatar.base.npz import read_npz
from capture_tools.scan import sequence_folder
from capture_tools.scan.scan import apply

SCRIPTS = Path(__file__).resolve().parents[4] / "scripts"
NAMES = ("smile", "rest")
"""In order; the neutral scan is not the first."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tools():
    sys.path.insert(0, str(SCRIPTS))
    import measure_scans
    import synthetic_scans

    yield synthetic_scans, measure_scans
    sys.path.remove(str(SCRIPTS))
    for name in ("measure_scans", "synthetic_scans"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def sequence(tools, head, tmp_path_factory):
    """The command's folder, the command and the known scans by name."""
    made, _ = tools
    rest, smile = made.known_scans(made.invented(head), made.freckled(head), len(NAMES), points=55_000)
    known = dict(zip(NAMES, (smile, rest), strict=True))
    folder = tmp_path_factory.mktemp("sequence")
    for name, one in known.items():
        mesh = trimesh.Trimesh(one.scan.vertices, one.scan.faces, vertex_colors=one.scan.colours, process=False)
        mesh.export(folder / f"{name}.ply")
        np.save(folder / f"{name}.npy", ibug_of(head, one.vertices))
    out = folder / "out"
    command = ["register", *(str(folder / f"{name}.ply") for name in NAMES), "--out", str(out)]
    command += ["--sequence", "--unit", "m", "--landmarks", str(folder)]
    assert main(command) == 0
    return out, command, known


def test_every_scan_has_a_registration_of_the_same_person(sequence, head):
    out, _, _ = sequence
    shapes, scales = [], []
    for number, name in enumerate(NAMES):
        made = read_npz(out / name / "registration.npz")
        report = json.loads((out / name / "report.json").read_text())
        assert made["vertices"].shape == (head.vertex_count, 3)
        assert str(made["head_fingerprint"]) == head.fingerprint
        assert report["sequence"]["scan"] == number
        assert report["sequence"]["neutral"] == ["rest.ply"]
        assert report["scan_to_mesh_mm"][report["stages"][-1]]["face_crop"]["median"] < 0.2
        assert (report["flipped_triangles"], report["crossing_triangles"]) == (0, 0)
        shapes.append(made["shape"])
        scales.append(report["metres_per_scan_unit"])
    assert np.array_equal(shapes[0], shapes[1])
    assert np.abs(shapes[0]).max() > 0.2
    assert scales == pytest.approx([1, 1])


def test_colours_make_the_skin_correspond_where_it_has_no_features(sequence, tools, head):
    out, _, known = sequence
    _, measures = tools
    first = read_npz(out / "rest" / "registration.npz")
    bare = measures.areas(head)
    report = json.loads((out / "smile" / "report.json").read_text())
    assert report["stages"] == ["model", "coupled", "texture"]
    assert report["texture"]["used"]
    assert report["texture"]["after"] < 0.95 * report["texture"]["before"]
    made = read_npz(out / "smile" / "registration.npz")
    truth = apply(made["scan_to_model"], known["smile"].vertices)
    off = measures.drift(head, first, known["rest"], made["vertices"], truth)
    assert np.median(off[bare["cheeks"]]) < 0.5
    assert np.median(off[bare["forehead"]]) < 0.5
    rest = json.loads((out / "rest" / "report.json").read_text())
    assert rest["stages"] == ["model", "coupled"]
    assert "registered texture" in rest["texture"]["why"]


def test_what_is_finished_stays_and_what_is_missing_is_made_again(sequence, monkeypatch, capsys):
    """The command goes on with the scan that is missing, from the person that it stored."""
    out, command, known = sequence
    times = {name: (out / name / "registration.npz").stat().st_mtime_ns for name in NAMES}
    report = out / "smile" / "report.json"
    kept = report.read_bytes()
    report.unlink()
    asked = []

    def stop(scan, asset, settings, hints):
        asked.append((scan, hints))
        raise OutputError("stopped")

    monkeypatch.setattr(sequence_folder, "register_scan", stop)
    assert main(command) == 1
    assert "stopped" in capsys.readouterr().err
    report.write_bytes(kept)
    assert main(command) == 0
    assert len(asked) == 1
    scan, hints = asked[0]
    person, last = hints.person, hints.last
    assert np.allclose(scan.vertices.mean(0), known["smile"].scan.vertices.mean(0), atol=1e-5)
    rest = read_npz(out / "rest" / "registration.npz")
    assert np.array_equal(last.scan_to_model, rest["scan_to_model"])  # it starts from the neutral scan
    assert np.array_equal(person.shape, rest["shape"])
    assert person.colours.known.any()
    assert person.colours.values[person.colours.known].mean() == pytest.approx(0.5, abs=0.3)
    assert times == {name: (out / name / "registration.npz").stat().st_mtime_ns for name in NAMES}


def test_another_sequence_is_refused_and_a_damaged_one_is_told(sequence, capsys):
    out, command, _ = sequence
    assert main([*command, "--neutral", command[1]]) == 1
    assert "made by another sequence" in capsys.readouterr().err
    whole = (out / "person.npz").read_bytes()
    (out / "person.npz").write_bytes(whole[:1000])
    try:
        assert main(command) == 1
        assert "a file of this sequence is damaged" in capsys.readouterr().err
    finally:
        (out / "person.npz").write_bytes(whole)
