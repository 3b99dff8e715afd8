"""Two commands never write into one folder, and nothing is left of a lock."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from avatar.app import cli
from avatar.app.workflow import train_run
from avatar.base.errors import OutputError, RunError
from avatar.base.folder_lock import claimed_folder, locked_folder
from avatar.media.video import write_video

HOLD = """
import sys
from pathlib import Path
from avatar.base.errors import OutputError
from avatar.base.folder_lock import locked_folder
try:
    with locked_folder(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except OutputError as error:
    print("refused", flush=True)
"""


@pytest.fixture
def hold() -> Iterator[Callable[[Path], subprocess.Popen]]:
    """Start a process that holds a folder until it is killed or its standard input ends; give `wait=False` not to wait
    until it does."""
    started = []

    def start(folder: Path, wait: bool = True) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        if wait:
            assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_to_resume_what_another_command_has_just_begun_is_refused_with_its_name(hold, tmp_path):
    """It has left no checkpoint yet; what a killed one left of its lock is no command."""
    capture, run = tmp_path / "capture", tmp_path / "run"
    capture.mkdir()
    (capture / "transforms.json").write_text(json.dumps({"head_model": {}}))
    with pytest.raises(RunError, match="nothing to resume"):
        train_run(capture, run, resume=True)
    assert not run.exists()
    first = hold(run)
    with pytest.raises(OutputError, match=f"(?s)another command is writing.*process {first.pid}"):
        train_run(capture, run, resume=True)
    first.kill()
    first.wait()
    assert (run / ".avatar.lock").exists()
    with pytest.raises(RunError, match="nothing to resume"):
        train_run(capture, run, resume=True)


def test_the_second_is_told_who_is_first(hold, tmp_path):
    first = hold(tmp_path / "run")
    with pytest.raises(OutputError, match="another command is writing") as refused, locked_folder(tmp_path / "run"):
        pass
    assert re.search(rf"found: process {first.pid}, started \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\n", str(refused.value))
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".avatar.lock"]
    first.communicate()
    assert not (tmp_path / "run").exists(), "nothing was put into it"


def test_the_lock_of_a_killed_process_is_free(hold, tmp_path):
    first = hold(tmp_path / "run")
    first.kill()
    first.wait()
    (tmp_path / "run" / ".clip.17.part.mp4").write_bytes(b"half")
    with claimed_folder(tmp_path / "run", "run", {"a": 1}) as fresh:
        assert fresh
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".avatar.json", ".avatar.lock"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".avatar.json"]


def test_of_several_at_once_one_wins(hold, tmp_path):
    racing = [hold(tmp_path / "run", wait=False) for _ in range(5)]
    said = [process.stdout.readline() for process in racing]
    assert sorted(said) == ["held\n", *["refused\n"] * 4]


def test_other_folders_are_not_even_locked(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    before = tmp_path.stat().st_mtime_ns
    with pytest.raises(OutputError, match="already holds something else"), claimed_folder(tmp_path, "run", {}):
        pass
    assert tmp_path.stat().st_mtime_ns == before


def test_an_empty_folder_of_the_users_stays(tmp_path):
    with pytest.raises(ValueError, match="no"), locked_folder(tmp_path):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_the_lock_is_not_written_through(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".avatar.lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(OutputError, match="a link stands"), locked_folder(tmp_path / "run"):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("command", ["create", "capture", "train", "train --resume", "eval", "demo", "synthetic clip"])
def test_every_command_that_writes_a_folder(hold, tmp_path, capsys, monkeypatch, command):
    out, capture = tmp_path / "out", tmp_path / "out" / "capture"
    frames = (np.full((32, 32, 3), 10 * k, np.uint8) for k in range(24))
    clip = write_video(tmp_path / "clip.mp4", frames, 25.0, synthetic=True)
    if command in ("train --resume", "eval"):
        (out / "checkpoints").mkdir(parents=True)
        (out / "checkpoints" / "latest").write_text("step_000001.safetensors")
        (out / "config.yaml").write_text("preset: cpu\n")
    if command.startswith("train"):
        capture = capture if "resume" in command else tmp_path / "capture"
        capture.mkdir(parents=True)
        (capture / "transforms.json").write_text(json.dumps({"head_model": {"name": "open-head"}}))
    process = hold(out)
    before = sorted(out.rglob("*"))
    arguments = {
        "create": ["create", clip, "--out", out, "--preset", "cpu"],
        "capture": ["capture", clip, "--out", out, "--size", 96],
        "train": ["train", capture, "--out", out, "--preset", "cpu"],
        "train --resume": ["train", capture, "--out", out, "--resume"],
        "eval": ["eval", out],
        "demo": ["demo", "--out", out, "--preset", "cpu"],
    }
    if command == "synthetic clip":
        monkeypatch.syspath_prepend(Path(__file__).parents[3] / "scripts")
        import make_synthetic_clip

        monkeypatch.setattr(sys, "argv", ["make_synthetic_clip.py", "--out", str(out)])
        status = make_synthetic_clip.main()
    else:
        status = cli.main([str(argument) for argument in arguments[command]])
    assert status == 1
    message = capsys.readouterr().err
    assert "another command is writing into this folder" in message
    assert f"process {process.pid}, started" in message
    assert sorted(out.rglob("*")) == before
