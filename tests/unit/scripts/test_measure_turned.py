"""The split by yaw: frames near the median train, those turned far are scored, and the capture itself stays."""

import json

import numpy as np
import pytest

from avatar.base.errors import CaptureError
from avatar.base.files import write_json
from avatar.data.capture import read_capture


@pytest.fixture
def module(script):
    return script("measure_turned")


@pytest.fixture
def turning(capture_folder):
    """The capture of 30 frames, its head turning evenly from -15 to 14 degrees."""
    write_json(capture_folder / "report" / "report.json", {"frames": [{"yaw_degrees": i - 15.0} for i in range(30)]})
    return capture_folder


def test_near_frames_train_and_far_ones_are_scored(module, turning, tmp_path):
    before = {path: path.read_bytes() for path in turning.rglob("*") if path.is_file()}
    counts = module.split_by_yaw(turning, tmp_path / "split", 5.0, 9.0)
    capture = read_capture(tmp_path / "split")
    away = np.abs(np.arange(30) - 14.5)
    near, between = set(np.flatnonzero(away <= 5).tolist()), set(np.flatnonzero((away > 5) & (away < 9)).tolist())
    assert set(capture.splits["train"]) < near
    assert set(capture.splits["train"]) | set(capture.splits["val"]) == near | between
    assert between < set(capture.splits["val"])
    assert capture.splits["test"] == np.flatnonzero(away >= 9).tolist()
    assert counts["test"] == len(capture.splits["test"])
    assert counts["mean_degrees"] == pytest.approx(away[away >= 9].mean())
    assert {path: path.read_bytes() for path in turning.rglob("*") if path.is_file()} == before


def test_a_head_that_does_not_turn_is_said(module, turning, tmp_path):
    with pytest.raises(CaptureError, match="does not turn as far") as error:
        module.split_by_yaw(turning, tmp_path / "split", 5.0, 40.0)
    assert "14.5 degrees" in str(error.value)
    assert not (tmp_path / "split").exists()


def test_a_report_of_other_frames_is_refused(module, turning, tmp_path):
    report = json.loads((turning / "report" / "report.json").read_text())
    write_json(turning / "report" / "report.json", {"frames": report["frames"][:-1]})
    with pytest.raises(CaptureError, match="does not fit"):
        module.split_by_yaw(turning, tmp_path / "split", 5.0, 9.0)
