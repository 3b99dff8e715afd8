from __future__ import annotations

import json
import shutil

import pytest
from capture_parts import fake_head

from avatar.base.errors import HeadModelError, RunError
from avatar.data.capture import read_capture
from avatar.data.capture_reference import open_run_capture, read_capture_reference, write_capture_reference


def test_capture_outside_the_run(capture_folder, tmp_path):
    run = tmp_path / "run"
    write_capture_reference(run, read_capture(capture_folder))
    assert open_run_capture(run, expect_head=fake_head()).folder == capture_folder.resolve()
    assert read_capture_reference(run)["head_model"] == {"name": "fake-head", "fingerprint": "f" * 64}


def test_capture_inside_the_run_moves_with_it(capture_folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.move(capture_folder, run / "capture")
    write_capture_reference(run, read_capture(run / "capture"))
    shutil.move(run, tmp_path / "elsewhere")
    assert len(open_run_capture(tmp_path / "elsewhere").frames) == 30


def test_capture_gone_or_changed(capture_folder, tmp_path):
    run = tmp_path / "run"
    write_capture_reference(run, read_capture(capture_folder))
    with pytest.raises(HeadModelError):
        open_run_capture(run, expect_head=fake_head("other"))
    transforms = capture_folder / "transforms.json"
    transforms.write_text(transforms.read_text() + "\n")
    with pytest.raises(RunError, match="made anew"):
        open_run_capture(run)
    shutil.rmtree(capture_folder)
    with pytest.raises(RunError, match="not there any more"):
        open_run_capture(run)


def test_damaged_reference(tmp_path):
    with pytest.raises(RunError, match="missing"):
        open_run_capture(tmp_path)
    (tmp_path / "capture.json").write_text(json.dumps({"folder": 3}))
    with pytest.raises(RunError, match="folder"):
        open_run_capture(tmp_path)
