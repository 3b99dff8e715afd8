"""Every example runs on a tiny synthetic clip, and the front door gives what it promises."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import avatar
from avatar.base.errors import InputError
from avatar.config import load_preset
from avatar.media.video import probe_video
from avatar.synthetic.clip import make_synthetic_clip
from capture_tools import pipeline
from capture_tools.track.clip_tracking import TrackSettings

QUICK = TrackSettings(rigid_steps=30, face_steps=30, offset_steps=20, photometric_steps=8)
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FRAMES, SIZE = 30, 96
pytestmark = pytest.mark.slow


def example(number: int):
    """The module of the example with this number."""
    (path,) = EXAMPLES.glob(f"{number:02d}_*.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    make_synthetic_clip(folder / "clip", seed=1, size=SIZE, frames=FRAMES, held_out=False)
    with pytest.MonkeyPatch.context() as patch:  # that the example runs counts here, not how closely it tracks
        patch.setattr(pipeline, "lens_settings", lambda *_: QUICK)
        example(1).main(str(folder / "clip" / "clip.mp4"), str(folder / "capture"), size=SIZE)
    return folder / "capture"


@pytest.fixture(scope="module")
def trained(captured):
    config = load_preset("cpu")
    config.training.steps, config.training.minutes = 40, 0.0
    example(2).main(str(captured), str(captured.parent / "run"), config)
    return captured.parent / "run"


def test_a_capture_in_plain_numpy(captured):
    jaws = example(6).main(str(captured))
    read = avatar.read_capture(captured)
    assert len(jaws) == len(read.frames) > 0.8 * FRAMES
    np.testing.assert_allclose(jaws, read.parameters().jaw[:, 0].numpy(), atol=1e-6)


def test_an_orbit(trained, tmp_path):
    example(3).main(str(trained), str(tmp_path / "orbit.mp4"), frames=4)
    assert probe_video(tmp_path / "orbit.mp4").frame_count == 4


def test_driving_with_parameters(trained):
    first, *_, last = example(4).main(str(trained), frames=3)
    assert first.shape == (SIZE, SIZE, 3)
    assert np.abs(first - last).mean() > 0.003, "a turned head with an open mouth looks different"


def test_the_head_alone(tmp_path):
    example(5).main(str(tmp_path / "head.obj"))
    lines = (tmp_path / "head.obj").read_text().splitlines()
    asset = avatar.load_head()
    assert sum(line.startswith("v ") for line in lines) == asset.vertex_count
    assert sum(line.startswith("f ") for line in lines) == len(asset.faces)


def test_pictures_as_arrays(trained):
    person = avatar.load_avatar(trained)
    colour, alpha, depth = person.render()
    assert (colour.dtype, colour.shape, alpha.shape, depth.shape) == (
        np.float32,
        (SIZE, SIZE, 3),
        (SIZE, SIZE),
        (SIZE, SIZE),
    )
    assert 0.1 < alpha.mean() < 0.95
    assert 0.2 < np.median(depth[alpha > 0.5]) < 3.0
    white = person.render(background=np.ones((SIZE, SIZE, 3))).colour
    assert np.abs(white - colour)[alpha < 0.05].mean() > 0.05
    small = person.render(person.camera.scaled(32, 32))
    assert small.colour.shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"jaw": [1.0, 2.0]}, r"jaw has a wrong shape\n  expected: \[3\]\n  found: \[2\]"),
        ({"expr": np.zeros((2, 52))}, "expr has a wrong shape"),
        ({"eyes": [np.nan] * 6}, "eyes holds a value that is not finite"),
        ({"rotation": "left"}, "rotation does not hold numbers"),
    ],
)
def test_wrong_parameters_name_the_argument(trained, given, expected):
    with pytest.raises(InputError, match=expected):
        avatar.load_avatar(trained).render(**given)


def test_importing_the_package_is_light():
    code = "import sys, avatar; assert 'torch' not in sys.modules and 'numpy' not in sys.modules; print(dir(avatar))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("load_avatar", "load_head", "read_capture", "capture", "train", "evaluate", "reanimate", "render"):
        assert f"'{name}'" in shown
