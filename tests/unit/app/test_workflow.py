"""Folders, sizes, timings and pictures round the stages; the stages themselves run in tests/system."""

import json

import numpy as np
import pytest

from avatar.app import workflow as module
from avatar.app.workflow import (
    check_minutes,
    finished_stages,
    held_out_sheet,
    pick_config,
    pick_size,
    space_needed,
    timed,
    train_run,
)
from avatar.base.errors import CaptureError, ConfigError, InputError, OutputError, RunError
from avatar.base.files import write_json
from avatar.config import load_preset
from avatar.media.images import read_png, write_png
from avatar.media.video import VideoInfo, write_video
from capture_tools.settings import CaptureSettings


@pytest.fixture
def clip(tmp_path):
    frames = (np.full((32, 32, 3), 10 * k, np.uint8) for k in range(5))
    return write_video(tmp_path / "clip.mp4", frames, 25.0, synthetic=True)


@pytest.fixture
def stages(monkeypatch):
    """Stand-ins for the three stages that leave the files later stages look for, and a list of what was called."""
    calls = []

    def capture_video(video, out, settings):
        calls.append("capture")
        (out / "report").mkdir(parents=True, exist_ok=True)
        (out / "report" / "report.json").write_text(json.dumps({"warnings": ["the face is very dark"]}))
        (out / "transforms.json").write_text("{}")
        return out

    def train(capture, run, config, *, minutes, resume):
        calls.append(f"train resume={resume} minutes={minutes}")
        (run / "checkpoints").mkdir(exist_ok=True)
        (run / "checkpoints" / "latest").write_text("step_1.safetensors")

    def evaluate(run, splits):
        calls.append("eval")
        for kind in ("gt", "pred"):
            write_png(run / "eval" / "val" / kind / "00009.png", np.zeros((4, 4, 3), np.uint8))
        return {"val": {"frames": 1, "psnr": 30.0}}

    monkeypatch.setattr(module, "capture_video", capture_video)
    monkeypatch.setattr(module, "_train", train)
    monkeypatch.setattr(module, "evaluate_run", evaluate)
    return calls


def test_create_goes_on_after_a_stop_in_training(clip, stages, tmp_path, monkeypatch):
    def stopped(capture, run, config, *, minutes, resume):
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "latest").write_text("step_1.safetensors")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_train", stopped)
        with pytest.raises(KeyboardInterrupt):
            module.create(clip, tmp_path / "run", config=load_preset("cpu"))
    module.create(clip, tmp_path / "run", config=load_preset("cpu"))
    assert stages[-2:] == ["train resume=True minutes=None", "eval"]
    stages.clear()
    module.create(clip, tmp_path / "run", config=load_preset("cpu"))
    assert not any(call.startswith("train") for call in stages)


def test_create_takes_back_its_folder_when_the_clip_cannot_be_used(clip, stages, tmp_path, monkeypatch):
    def refuses(video, out, settings):
        out.mkdir()
        (out / ".avatar.json").write_text("{}")
        raise InputError("no face")

    monkeypatch.setattr(module, "capture_video", refuses)
    with pytest.raises(InputError):
        module.create(clip, tmp_path / "run", config=load_preset("cpu"))
    assert not (tmp_path / "run").exists()


def test_a_full_disk_in_the_first_capture_keeps_what_is_finished(clip, stages, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def full(video, out, settings):
        write_json(out / ".avatar.json", {})
        write_json(out / "stages" / "landmarks.npz", {})
        raise OutputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(module, "capture_video", full)
        with pytest.raises(OutputError):
            module.create(clip, run, config=load_preset("cpu"))
    assert (run / "capture" / "stages" / "landmarks.npz").exists()
    module.create(clip, run, config=load_preset("cpu"))
    assert stages[-1] == "eval"


def test_a_capture_that_another_command_writes_keeps_its_claim(clip, stages, tmp_path, monkeypatch):
    def locked(video, out, settings):
        write_json(out / ".avatar.json", {})
        (out / ".avatar.lock").touch()
        raise OutputError("another command is writing into this folder")

    monkeypatch.setattr(module, "capture_video", locked)
    with pytest.raises(OutputError):
        module.create(clip, tmp_path / "run", config=load_preset("cpu"))
    assert (tmp_path / "run" / "capture" / ".avatar.json").exists()


def test_links_in_a_run_are_refused(clip, stages, tmp_path):
    run, pictures = tmp_path / "run", tmp_path / "pictures"
    module.create(clip, run, config=load_preset("cpu"))
    stages.clear()
    pictures.mkdir()
    (run / "eval" / "test").symlink_to(pictures)
    with pytest.raises(OutputError, match="a link stands where files are written"):
        module.create(clip, run, config=load_preset("cpu"))
    assert stages == []
    assert list(pictures.iterdir()) == []


def test_a_failure_later_keeps_the_capture(clip, stages, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OutputError("the disk is full")

    monkeypatch.setattr(module, "_train", full)
    with pytest.raises(OutputError):
        module.create(clip, tmp_path / "run", config=load_preset("cpu"))
    assert (tmp_path / "run" / "capture" / "transforms.json").exists()


def test_create_refuses_another_clip_in_the_same_folder(clip, stages, tmp_path):
    module.create(clip, tmp_path / "run", config=load_preset("cpu"))
    other = write_video(tmp_path / "other.mp4", [np.full((32, 32, 3), 200, np.uint8)] * 5, 25.0, synthetic=True)
    stages.clear()
    with pytest.raises(OutputError, match="was made by another run"):
        module.create(other, tmp_path / "run", config=load_preset("cpu"))
    assert stages == []


def test_the_rotation_is_part_of_a_run_once_it_is_chosen(clip, stages, tmp_path):
    module.create(clip, tmp_path / "run", config=load_preset("cpu"))
    module.create(clip, tmp_path / "run", config=load_preset("cpu"), settings=CaptureSettings(rotate="auto"))
    with pytest.raises(OutputError, match="was made by another run"):
        module.create(clip, tmp_path / "run", config=load_preset("cpu"), settings=CaptureSettings(rotate=90))


def test_train_run_checks_its_folders(stages, tmp_path):
    with pytest.raises(CaptureError, match="not a capture folder"):
        train_run(tmp_path, tmp_path / "run")
    capture = tmp_path / "capture"
    capture.mkdir()
    (capture / "transforms.json").write_text(json.dumps({"head_model": {"name": "open-head", "fingerprint": "a"}}))
    with pytest.raises(RunError, match="nothing to resume"):
        train_run(capture, tmp_path / "run", resume=True)
    train_run(capture, tmp_path / "run", config=load_preset("cpu"), minutes=1.0)
    with pytest.raises(OutputError, match="trained already"):
        train_run(capture, tmp_path / "run", config=load_preset("cpu"))
    with pytest.raises(OutputError, match="was made by another run"):
        train_run(capture, tmp_path / "run", config=load_preset("paper"))
    train_run(capture, tmp_path / "run", config=load_preset("cpu"), resume=True)
    assert stages == ["train resume=False minutes=1.0", "train resume=True minutes=None"]


def test_a_run_of_create_can_be_resumed_by_train(clip, stages, tmp_path):
    run = tmp_path / "run"
    module.create(clip, run, config=load_preset("cpu"))
    train_run(run / "capture", run, config=load_preset("cpu"), minutes=3.0, resume=True)
    assert stages[-1] == "train resume=True minutes=3.0"


def test_sizes_and_presets(monkeypatch):
    monkeypatch.setattr(module, "has_cuda", lambda: False)
    assert pick_config("auto").preset == "cpu"
    assert pick_size(None, load_preset("cpu")) == pick_size(None, None) == 256
    monkeypatch.setattr(module, "has_cuda", lambda: True)
    assert pick_config("auto").preset == "fast"
    assert pick_size(None, load_preset("fast")) == pick_size(None, None) == 512
    assert pick_size(300, load_preset("fast")) == 300
    for size in (10, 5000, 255):
        with pytest.raises(ConfigError, match="--size"):
            pick_size(size, None)
    for minutes in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="--minutes"):
            check_minutes(minutes)


def test_space_grows_with_the_clip():
    def info(frames):
        return VideoInfo(1280, 720, 25.0, frames, frames / 25, 0, False)

    assert space_needed(info(200), 512) - space_needed(info(100), 512) > 100 * 512 * 512 * 3


def test_times_add_up_over_restarts(tmp_path):
    (tmp_path / "timings.json").write_text('{"train": 100.0}')
    with timed(tmp_path, "train"):
        pass
    assert finished_stages(tmp_path)["train"] == pytest.approx(100.0, abs=0.2)
    with pytest.raises(InputError), timed(tmp_path, "eval"):
        raise InputError("no")
    assert "eval" not in finished_stages(tmp_path)


def test_held_out_sheet_has_real_above_rendered(tmp_path):
    for k in range(9):
        write_png(tmp_path / "eval" / "val" / "gt" / f"{k:05d}.png", np.full((6, 5, 3), 10 * k, np.uint8))
        write_png(tmp_path / "eval" / "val" / "pred" / f"{k:05d}.png", np.full((6, 5, 3), 10 * k + 5, np.uint8))
    sheet = read_png(held_out_sheet(tmp_path, tmp_path / "sheet.png", columns=3))
    assert sheet.shape == (12, 15, 3)
    assert sheet[0, ::5, 0].tolist() == [0, 40, 80]
    assert sheet[6, ::5, 0].tolist() == [5, 45, 85]
    with pytest.raises(RunError, match="no evaluated frames"):
        held_out_sheet(tmp_path / "none", tmp_path / "sheet.png")
