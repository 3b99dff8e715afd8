"""A half-made synthetic clip is made again; the demo itself runs in tests/system."""

import pytest

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
