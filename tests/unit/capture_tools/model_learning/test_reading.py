"""Registration folders: what is read, and one plain message for each that cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from known_model import Performance, write_registrations

from avatar.app.cli import main
from avatar.base.errors import HeadModelError, InputError
from avatar.base.files import write_npz
from avatar.base.npz import read_npz
from avatar.flame.model import HeadModel, HeadParameters
from capture_tools.model_learning.reading import check_enough, find_registrations, read_registrations

PEOPLE, FRAMES = 3, 3


@pytest.fixture
def folder(head, tmp_path):
    """Registrations of three people: neutral, and two with the mouth open."""
    parameters, vertices = [], []
    for person in range(PEOPLE):
        params = HeadParameters.neutral(head, FRAMES)
        params.shape[person] = 1.0
        params.jaw[1:, 0] = torch.tensor([0.1, 0.2])
        with torch.no_grad():
            vertices.append(HeadModel(head)(params).vertices.numpy())
        parameters.append(params)
    place = tmp_path / "registered"
    write_registrations(place, Performance(np.zeros((PEOPLE, 1)), parameters, np.stack(vertices)), head, noise=0.0)
    return place


def change(folder, name, **arrays):
    path = folder / name / "registration.npz"
    write_npz(path, {**read_npz(path), **arrays})


def test_people_frames_and_poses_are_read(head, folder):
    data, folders, notes = read_registrations([folder], head, None)
    assert data.subject_names == ("p00", "p01", "p02")
    assert data.subjects.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [folders[i].name for i in torch.nonzero(data.neutral).squeeze(1)] == [f"p0{i}_neutral" for i in range(3)]
    assert data.vertices.shape == (9, head.vertex_count, 3)
    jaws = {f.name: float(pose[9]) for f, pose in zip(folders, data.poses, strict=True)}
    assert jaws["p01_02"] == pytest.approx(0.2)
    assert notes == []
    twice, _, _ = read_registrations([folder, folder / "p00_01"], head, None)
    assert len(twice.names) == 9  # each folder once


def test_without_a_name_the_calmest_is_neutral(head, folder):
    for person in ("p00", "p01"):
        (folder / f"{person}_neutral").rename(folder / f"{person}_07")
    data, folders, notes = read_registrations([folder], head, None)
    assert [f.name for f, n in zip(folders, data.neutral, strict=True) if n] == ["p00_07", "p01_07", "p02_neutral"]
    assert len(notes) == 2
    assert "p00_07 has the least expression" in notes[0]


def test_a_file_of_subjects_leaves_others_out(head, folder, tmp_path):
    who = tmp_path / "who.json"
    who.write_text(json.dumps({"a": ["p00_01", "p00_02"], "b": ["p01_neutral", "p01_01"]}))
    data, folders, notes = read_registrations([folder], head, who)
    assert data.subject_names == ("a", "b")
    assert [f.name for f, n in zip(folders, data.neutral, strict=True) if n] == ["p00_01", "p01_neutral"]
    assert "5 registrations are left out" in notes[0]


@pytest.mark.parametrize(
    ("arrays", "error", "said"),
    [
        ({"vertices": np.zeros((5023, 3))}, InputError, "another topology"),
        ({"head_fingerprint": np.array("0" * 64)}, HeadModelError, "another head model"),
        ({"jaw": np.full(3, np.nan)}, InputError, "not finite"),
        ({"jaw": np.zeros(2)}, InputError, "jaw has a wrong shape"),
        ({"expr": np.zeros(3)}, InputError, "expr has a wrong shape"),
        ({"vertices": np.full((4916, 3), 60.0)}, InputError, "does not lie where"),
        ({"vertices": np.full((4916, 3), np.inf)}, InputError, "not finite"),
    ],
)
def test_what_cannot_be_used_is_named(head, folder, arrays, error, said):
    change(folder, "p01_01", **arrays)
    with pytest.raises(error, match=said) as caught:
        read_registrations([folder], head, None)
    assert "p01_01" in str(caught.value)


def test_places_that_hold_no_registration(head, folder, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_registrations([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no registration in it"):
        find_registrations([folder, tmp_path / "empty"])
    with pytest.raises(InputError, match="too few registrations"):
        find_registrations([folder / "p00_01"])
    (folder / "p00_01" / "registration.npz").write_bytes(b"not a zip")
    with pytest.raises(InputError, match="damaged"):
        read_registrations([folder], head, None)


def test_too_few_people_or_expressions(head, folder):
    data, _, _ = read_registrations([folder], head, None)
    check_enough(data, 2, 6)
    with pytest.raises(InputError, match="too few people for so many"):
        check_enough(data, 3, None)
    with pytest.raises(InputError, match="too few expressions"):
        check_enough(data, None, 7)
    with pytest.raises(InputError, match="too few expressions"):
        check_enough(data.select(torch.nonzero(data.neutral).squeeze(1)), None, None)
    with pytest.raises(InputError, match="too few people for a shape space"):
        check_enough(replace(data, subject_names=("p00",)), None, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "model.pkl"], "cannot be written there"),
        (["--out", "open-head.npz"], "cannot be written there"),
        (["--out", "taken.npz"], "exists already"),
        (["--out", "m.npz", "--rounds", "2"], "--scans"),
        (["--out", "m.npz", "--rounds", "0"], "--rounds is out of range"),
        (["--out", "m.npz", "--rounds", "2", "--scans", "nowhere"], "folder of scans does not exist"),
        (["--out", "m.npz", "--rounds", "2", "--scans", "."], "the scan of a registration is not there"),
        (["--out", "m.npz", "--shape-components", "9"], "too few people"),
        (["--out", "m.npz", "--expression-components", "0"], "out of range"),
        (["--out", "m.npz", "--head-model", "nobody"], "unknown head model"),
    ],
)
def test_the_command_refuses_with_one_message(folder, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.npz").write_bytes(b"mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["model", "train", str(folder), *arguments]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "taken.npz").read_bytes() == b"mine"
