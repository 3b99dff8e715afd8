"""Reanimate and render as commands: interrupted and repeated, long, with bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from avatar.animation.live_link import COLUMNS
from avatar.animation.outputs import target_of
from avatar.animation.work import work_folder
from avatar.app import cli
from avatar.flame.library import load_head
from avatar.geometry.cameras import Camera, look_at
from avatar.media.images import read_png
from avatar.media.video import has_synthetic_tag, probe_video, read_video

pytestmark = pytest.mark.slow
SMALL = (
    *("--preset", "cpu", "--training.steps", 8, "--training.minutes", 0, "--training.rays", 128),
    *("--field.hash.levels", 4, "--field.hash.log2-entries", 12, "--field.hash.finest-resolution", 64),
    *("--field.bank.levels", 3, "--field.bank.log2-entries", 10, "--field.bank.tables", 4),
    *("--field.bank.finest-resolution", 48, "--field.warp.resolution", 14, "--field.warp.fine-cell", 0.006),
    *("--render.step", 0.02, "--render.occupancy-resolution", 24),
)


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained for a moment: enough for what is not about looks."""
    out = tmp_path_factory.mktemp("runs") / "me"
    assert cli.main([str(part) for part in ("train", tiny / "truth", "--out", out, *SMALL)]) == 0
    return out


def parameters(path: Path, frames: int, **more: object) -> Path:
    head = load_head()
    expr = np.random.default_rng(0).uniform(0, 0.4, (frames, head.expression_count)).astype(np.float32)
    jaw = np.zeros((frames, 3), np.float32)
    jaw[:, 0] = 0.1 + 0.1 * np.sin(np.arange(frames) * 0.3)
    np.savez(path, **{"expr": expr, "jaw_pose": jaw, "fps": 25.0, **more})
    return path


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "AVATAR_DEBUG"}


# -- long and interrupted ----------------------------------------------------------------------------------------------

MEASURE = """
import resource, sys
from pathlib import Path
from avatar.animation.driver_files import read_parameter_file
from avatar.animation.options import DrivenPresentation
from avatar.animation.reanimate import reanimate
from avatar.data.checkpoint import load_avatar

run, driver, out = map(Path, sys.argv[1:])
avatar = load_avatar(run)
avatar.camera = avatar.camera.scaled(16, 16)
shown = DrivenPresentation(background="lime", layers="depth,alpha")
reanimate(avatar, read_parameter_file(driver, avatar.asset), out, shown)
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_length(run: Path, tmp_path: Path) -> None:
    """A thousand driven frames take at most a tenth more than a hundred: a video, and pictures beside it."""
    peaks = []
    for frames in (100, 1000):
        driver, out = parameters(tmp_path / f"{frames}.npz", frames), tmp_path / f"{frames}.mp4"
        arguments = [sys.executable, "-c", MEASURE, str(run), str(driver), str(out)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment())
        peaks.append(int(done.stdout.split()[-1]))
        assert len(target_of(out).layer("depth").existing()) == frames
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize("name", ["o.mp4", "frames"])
def test_a_killed_command_leaves_nothing_broken_and_goes_on(run: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    arguments = ["render", run, "--expression", "clip", "--frames", 140, "--size", 24, "--out", out]
    code = "import sys; from avatar.app.cli import main; sys.exit(main(sys.argv[1:]))"
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stderr=subprocess.DEVNULL, env=environment()
    )
    sequence = target_of(out).sequence
    try:
        for _ in range(1200):
            finished = sequence.existing() if sequence else list(work_folder(out).glob("part_*.mp4"))
            if len(finished) > (8 if sequence else 0):
                break
            assert child.poll() is None
            time.sleep(0.1)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    if sequence is None:
        assert not out.exists()
        kept = {path: path.stat().st_mtime_ns for path in work_folder(out).glob("part_*.mp4")}
    else:
        kept = {path: path.stat().st_mtime_ns for path in sequence.existing()}
        assert all(read_png(path).shape == (24, 24, 3) for path in kept)
    assert kept
    began = time.time_ns()
    assert cli.main([str(part) for part in arguments]) == 0
    if sequence is None:
        assert probe_video(out).frame_count == len(list(read_video(out))) == 140
        assert has_synthetic_tag(out)
    else:
        assert len(sequence.existing()) == 140
        assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert max(kept.values()) < began
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_a_tracked_driver_is_not_tracked_again(run: Path, tiny: Path, tmp_path: Path, monkeypatch, avatar) -> None:
    """The rendering fails after the tracking; the command repeated tracks nothing and says the same."""
    from avatar.app import reanimation
    from avatar.avatar import Avatar

    arguments = ["reanimate", run, "--driver", tiny / "clip.mp4", "--end", 0.4, "--live", "--out", tmp_path / "o.mp4"]
    with monkeypatch.context() as patch:
        patch.setattr(Avatar, "render_frame", lambda *_, **__: 1 / 0)
        assert avatar(*arguments).status == 1
    assert not (tmp_path / "o.mp4").exists()
    monkeypatch.setattr(reanimation, "track_driver", None)
    done = avatar(*arguments)
    assert done.status == 0, done.err
    assert probe_video(tmp_path / "o.mp4").frame_count == 10
    assert list(tmp_path.iterdir()) == [tmp_path / "o.mp4"]


def test_two_drivers_into_pictures(run: Path, tmp_path: Path, avatar) -> None:
    first, second = parameters(tmp_path / "a.npz", 3), parameters(tmp_path / "b.npz", 4)
    done = avatar(
        *("reanimate", run, "--driver", first, second, "--neutral", 0, 0.1, "--layers", "depth"),
        *("--out", tmp_path / "f" / "me_%03d.png", "--background", "transparent"),
    )
    assert done.status == 0, done.err
    names = sorted(path.name for path in (tmp_path / "f").iterdir())
    assert len(names) == 2 * 7
    assert names[:2] == ["me_000.png", "me_000_depth.png"]
    assert "me_%03d_depth.png" in done.out


def test_the_function_says_what_there_is_to_say(run: Path, tmp_path: Path, capsys) -> None:
    from avatar import reanimate

    table = tmp_path / "face.csv"
    table.write_text("JawOpen,JawOpne\n0.1,0\n0.2,0\n")
    reanimate(run, table, tmp_path / "o.mp4")
    said = capsys.readouterr().err
    assert "warning: face.csv lacks the columns" in said
    assert "did you mean JawOpen" in said


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_a_table_with_its_columns_reordered_drives_alike(run: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(1).uniform(0, 0.5, (2, len(COLUMNS)))
    shown = []
    for name, order in (("a", range(len(COLUMNS))), ("b", range(len(COLUMNS) - 1, -1, -1))):
        rows = [",".join(COLUMNS[i] for i in order), *(",".join(f"{row[i]:.10f}" for i in order) for row in values)]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
        out = tmp_path / name
        assert cli.main(["reanimate", str(run), "--driver", str(tmp_path / f"{name}.csv"), "--out", str(out)]) == 0
        shown.append(read_png(out / "00001.png"))
    np.testing.assert_array_equal(*shown)


def away(path: Path) -> Path:
    camera = Camera(4, 4, 4.0, 4.0, 2.0, 2.0, look_at((0.0, 0.0, 1.0), (0.0, 0.0, 2.0)))
    frame = {"camera_to_world": camera.to_transform_matrix().ravel().tolist(), "fov": 30.0, "aspect": 1.0}
    path.write_text(json.dumps({"camera_path": [frame] * 2}))
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--driver", "{tmp}/flat.mp4"], "no face was found"),
        (["--driver", "{tmp}/lengths.npz"], "jaw_pose has the wrong shape"),
        (["--driver", "{tmp}/nan.npz"], "not a finite number"),
        (["--driver", "{tmp}/inf.csv"], "JawOpen in row 3 is no number"),
        (["--driver", "{tmp}/ragged.csv"], "row 3 of the table has another length"),
        (["--driver", "{tmp}/good.npz", "{tmp}/none.mp4"], "the driver does not exist"),
        (["--driver", "{tmp}/good.npz", "--gain", "mouht=0.5"], "did you mean mouth"),
        (["--driver", "{tmp}/good.npz", "--layers", "depht"], "did you mean depth"),
        (["--driver", "{tmp}/good.npz", "--background", "lmie"], "did you mean lime"),
        (["--driver", "{tmp}/good.npz", "--compare"], "--compare needs a driver with pictures"),
        (["--driver", "{tmp}/good.npz", "--neutral", "0", "0"], "--neutral does not fit"),
        (["--driver", "{tmp}/good.npz", "{tmp}/good.npz", "--start", "1"], "single driver"),
    ],
)
def test_bad_drivers_and_options(run, flat_clip, tmp_path, avatar, options, words) -> None:
    (tmp_path / "flat.mp4").write_bytes(flat_clip.read_bytes())
    parameters(tmp_path / "good.npz", 4)
    parameters(tmp_path / "lengths.npz", 4, jaw_pose=np.zeros((3, 3)))
    parameters(tmp_path / "nan.npz", 4, rotation=np.full((4, 3), np.nan))
    (tmp_path / "inf.csv").write_text("JawOpen,MouthClose\n0.1,0\ninf,0\n")
    (tmp_path / "ragged.csv").write_text("JawOpen,MouthClose\n0.1,0\n0.2\n")
    before = sorted(tmp_path.iterdir())
    given = [option.format(tmp=tmp_path) for option in options]
    done = avatar("reanimate", run, *given, "--out", tmp_path / "o.mp4")
    assert done.status == 1
    assert words in done.message
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--path", "{tmp}/away.json"], "no camera of the path sees the head"),
        (["--path", "{tmp}/none.json"], "a file is missing"),
        (["--path", "obrit"], "did you mean orbit"),
        (["--expression", "smlie"], "smile"),
        (["--expression", "{tmp}/face.yaml"], "no expression of that name"),
        (["--layers", "normals"], "--layers is unknown"),
        (["--background", "transparent"], "cannot be transparent"),
    ],
)
def test_bad_paths_and_expressions(run, tmp_path, avatar, options, words) -> None:
    away(tmp_path / "away.json")
    (tmp_path / "face.yaml").write_text("keyframes: [{time: 0, expression: smlie}]")
    before = sorted(tmp_path.iterdir())
    done = avatar("render", run, *(option.format(tmp=tmp_path) for option in options), "--out", tmp_path / "o.mp4")
    assert done.status == 1
    assert words in done.message
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", ["reanimate", "render"])
def test_a_run_without_a_checkpoint(run, tmp_path, avatar, command) -> None:
    empty = tmp_path / "run"
    (empty / "checkpoints").mkdir(parents=True)
    (empty / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    options = ["--driver", parameters(tmp_path / "d.npz", 2)] if command == "reanimate" else []
    done = avatar(command, empty, *options, "--out", tmp_path / "frames")
    assert done.status == 1
    assert "checkpoint" in done.message
    assert not (tmp_path / "frames").exists()
    assert not work_folder(tmp_path / "frames").exists()
