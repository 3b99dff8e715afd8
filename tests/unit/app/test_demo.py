"""A half-made synthetic clip is made again; the demo itself runs in tests/system."""

import pytest

from avatar.app import cli
from avatar.app import demo as module
from avatar.base.errors import MissingDependencyError
from capture_tools.detect import tflite_models


def test_a_half_made_clip_is_made_again_without_emptying_its_folder(tmp_path, monkeypatch):
    folder = tmp_path / "synthetic" / "clip"
    (folder / "truth").mkdir(parents=True)
    (folder / "truth" / "holiday.png").write_text("mine")

    def make(folder, **settings):
        (folder / "clip.mp4").write_bytes(b"video")

    monkeypatch.setattr("avatar.synthetic.clip.make_synthetic_clip", make)
    module.synthesize(folder, tmp_path / "clip.mp4", 0, 64, 2)
    assert (tmp_path / "clip.mp4").read_bytes() == b"video"
    assert (folder / "truth" / "holiday.png").read_text() == "mine"


def test_missing_networks_are_told_before_a_clip_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(tflite_models, "INSTALLED_MODELS", tmp_path / "nowhere")
    monkeypatch.setattr(tflite_models, "_files_of_the_wheel", list)
    with pytest.raises(MissingDependencyError, match="not installed"):
        module.demo(tmp_path / "demo", size=96, frames=30, driver_frames=10, minutes=1.0)
    assert not (tmp_path / "demo").exists()


def test_the_commands_by_hand_can_be_given(tmp_path, monkeypatch):
    """Every format that the demo exports has its command, and the command line reads each as it was meant."""
    monkeypatch.chdir(tmp_path)
    commands = module.commands_of(tmp_path / "demo", 96, 30, 10, 1.5, "fast", 3)
    assert commands["clip"].startswith("python scripts/make_synthetic_clip.py --seed 3 --size 96 --frames 30 ")
    read = {stage: cli.parse(text.split()[1:]) for stage, text in commands.items() if text.startswith("avatar ")}
    assert {stage: str(command.out) for stage, command in read.items()} == {
        "create": "demo/avatar",
        "reanimate": "demo/reanimated.mp4",
        "render": "demo/orbit.mp4",
        "turntable": "demo/turntable",
        "export html": "demo/head.html",
        "export glb": "demo/head.glb",
    }
    assert [command.format for stage, command in read.items() if stage.startswith("export")] == list(module.EXPORTED)
    assert (read["create"].minutes, read["create"].capture.size) == (1.5, 96)
    assert [str(driver) for driver in read["reanimate"].driver] == ["demo/driver.mp4"]
    assert (read["render"].rendering.frames, read["render"].rendering.amplitude) == (10, module.AMPLITUDE)
