"""`avatar model learn` on four short clips of invented people: a head that opens, and a report of every one of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from avatar.app.cli import main
from avatar.flame.library import load_head, open_head_model
from avatar.synthetic.clip import make_synthetic_clip

pytestmark = pytest.mark.slow
PEOPLE = ("ann", "ben", "cleo", "dan")
SMALL = ("--directions", "2", "--albedo-directions", "1", "--rounds", "1", "--frames", "3")


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Captures as `avatar create` leaves them: all of one name, each in its person's folder."""
    folder = tmp_path_factory.mktemp("people")
    for seed, name in enumerate(PEOPLE):
        make_synthetic_clip(folder / name, seed=seed, size=96, frames=5)
        (folder / name / "truth").rename(folder / name / "capture")
    return [str(folder / name / "capture") for name in PEOPLE]


def test_a_head_is_learned_from_clips_of_one_name(captures: list[str], tmp_path: Path, capfd) -> None:
    out = tmp_path / "ours.npz"
    assert main(["model", "learn", *captures, "--out", str(out), *SMALL]) == 0
    assert "4 captures" in capfd.readouterr().out
    head, start = open_head_model(str(out)), load_head()
    assert head.vertex_count == start.vertex_count
    assert head.fingerprint != start.fingerprint
    assert head.shape_count > start.shape_count - 2  # the learned directions stand before those of the start
    report = json.loads((tmp_path / "ours.report.json").read_text())
    assert set(report["captures"]) == {f"{name}/capture" for name in PEOPLE}
    assert all(entry["frames"] == 3 for entry in report["captures"].values())
    assert report["directions"] == {"shape": 2, "albedo": 1}
    assert report["largest_cosine_to_expressions"]["principal_span"] < 1e-3
    assert report["landmark_error_iod_by_round"][-1] < 0.05
    assert 0 < report["explained_variance"]["shape"] <= 1
    assert (tmp_path / "ours.curves.png").stat().st_size > 1000
    assert main(["model", "learn", *captures, "--out", str(out), *SMALL]) == 1
    assert "exists already" in capfd.readouterr().err


def test_a_damaged_capture_is_refused_before_anything_is_fitted(captures: list[str], tmp_path: Path, capfd) -> None:
    broken = Path(shutil.copytree(captures[0], tmp_path / "broken"))
    (broken / "landmarks.npz").write_bytes(b"no")
    out = tmp_path / "ours.npz"
    assert main(["model", "learn", str(broken), *captures[1:], "--out", str(out), *SMALL]) == 1
    message = capfd.readouterr().err
    assert "landmarks.npz" in message
    assert "Traceback" not in message
    assert not out.exists()
