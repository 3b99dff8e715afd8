"""The demo's own part: which stages it runs, what it keeps, what its page says. The stages run in tests/system."""

import json
from types import SimpleNamespace

import pytest

from avatar.app import demo as module
from avatar.base.errors import OutputError
from avatar.base.files import write_json

SMALL = {"size": 96, "frames": 40, "driver_frames": 20, "minutes": 0.5, "preset": "cpu"}


@pytest.fixture
def stages(monkeypatch):
    """Stand-ins for the stages that write the files the demo and its page read; returns the calls made."""
    calls = []

    def synthesize(folder, video, seed, size, frames):
        calls.append(f"clip seed={seed} size={size} frames={frames}")
        video.write_bytes(b"video")

    def create(video, out, **options):
        calls.append(f"create {options['minutes']:g} min at {options['settings'].size} px, {options['config'].preset}")
        figures = {"psnr": 31.0, "face_psnr": 27.0, "mouth_psnr": 26.5, "frames": 4}
        write_json(out / "eval" / "metrics.json", {"val": figures})
        write_json(out / "capture" / "report" / "report.json", {"landmark_error_iod": 0.02})
        write_json(out / "timings.json", {"capture": 20.0, "train": 30.0, "eval": 5.0})
        return SimpleNamespace(metrics={"val": figures})

    def writes(name):
        def write(avatar, *arguments, **options):
            out = next(argument for argument in arguments if hasattr(argument, "suffix"))
            calls.append(name)
            out.write_bytes(b"video")
            return out

        return write

    monkeypatch.setattr(module, "synthesize", synthesize)
    monkeypatch.setattr(module, "create", create)
    monkeypatch.setattr("avatar.data.checkpoint.load_avatar", lambda run: SimpleNamespace(asset=None))
    monkeypatch.setattr("avatar.animation.driver_files.load_driver", lambda source, asset, track: "driver")
    monkeypatch.setattr("avatar.animation.reanimate.reanimate", writes("reanimate"))
    monkeypatch.setattr("avatar.animation.reanimate.render_path", writes("render"))
    return calls


def test_the_demo_runs_every_stage_with_two_people(stages, tmp_path):
    outcome = module.demo(tmp_path / "demo", **SMALL)
    assert stages == [
        "clip seed=0 size=96 frames=40",
        "clip seed=1 size=96 frames=20",
        "create 0.5 min at 96 px, cpu",
        "reanimate",
        "render",
    ]
    for name in ("clip.mp4", "driver.mp4", "reanimated.mp4", "orbit.mp4", "index.html"):
        assert (tmp_path / "demo" / name).exists()
    page = (tmp_path / "demo" / "index.html").read_text()
    for shown in ("26.5 dB", "2.0 %", "capture", "reanimate", f"avatar create {tmp_path}/demo/clip.mp4"):
        assert shown in page
    assert outcome.files[-1][0] == tmp_path / "demo" / "index.html"
    assert any(line.startswith("val ") and "31.0" in line for line in outcome.lines)


def test_a_second_demo_keeps_the_videos_that_are_there(stages, tmp_path):
    module.demo(tmp_path / "demo", **SMALL)
    stages.clear()
    module.demo(tmp_path / "demo", **SMALL)
    assert stages == ["create 0.5 min at 96 px, cpu"]  # which itself goes on where it stopped


def test_another_demo_does_not_go_into_the_same_folder(stages, tmp_path):
    module.demo(tmp_path / "demo", **SMALL)
    claim = json.loads((tmp_path / "demo" / ".avatar.json").read_text())
    assert claim["kind"] == "demo"
    with pytest.raises(OutputError, match="was made by another demo"):
        module.demo(tmp_path / "demo", **{**SMALL, "size": 128})


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
