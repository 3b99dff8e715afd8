"""A capture killed at any moment goes on when it is started again, and comes out as if nothing had happened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from painted_clip import PaintedClip

from avatar.media.video import write_video

CAPTURE = """
import importlib, os, signal, sys
from pathlib import Path
from capture_tools import pipeline
from capture_tools.track.clip_tracking import TrackSettings

quick = TrackSettings(rigid_steps=15, face_steps=15, offset_steps=15, photometric_steps=4)
pipeline.lens_settings = lambda *_: quick
video, out, place, calls = sys.argv[1:]
if place:
    module, *owner, name = place.split("/")
    holder = importlib.import_module(module)
    for part in owner:
        holder = getattr(holder, part)
    original, left = getattr(holder, name), [int(calls)]

    def dies(*given, **named):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*given, **named)

    setattr(holder, name, dies)
pipeline.capture(Path(video), Path(out), pipeline.CaptureSettings(size=96))
"""
MOMENTS = {
    "looking": ("capture_tools.detect.observing/thumbnail", 9),
    "keeping what was seen": ("numpy/savez", 0),
    "segmentation": ("capture_tools.stages.crops/refine_mask", 5),
    "fitting": ("capture_tools.stages.tracking/track", 0),
    "drawing": ("capture_tools.report.overlay/draw_panels", 12),
    "writing pictures": ("avatar.data.capture_writer/write_png", 7),
    "writing parameters": ("avatar.data.capture_writer/write_arrays", 4),
    "finishing": ("avatar.data.capture_writer/write_transforms", 0),
    "tidying up": ("capture_tools.stages.store/Stages/remove", 0),
}
"""The function in which the process dies, and how many calls it survives."""


def run(video: Path, out: Path, place: str = "", calls: int = 0) -> int:
    command = [sys.executable, "-c", CAPTURE, str(video), str(out), place, str(calls)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but those that hold times of day or seconds taken."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != "report/report.json"}


@pytest.fixture(scope="module")
def clip(painted: PaintedClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", painted.images[:22], 25, synthetic=True)


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "capture"
    assert run(clip, out) == 0
    return contents(out)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_captures_go_on(clip: Path, undisturbed: dict[str, bytes], tmp_path: Path, moment: str) -> None:
    place, calls = MOMENTS[moment]
    out = tmp_path / "capture"
    assert run(clip, out, place, calls) == -9
    assert (out / "transforms.json").exists() == (moment == "tidying up")
    assert run(clip, out) == 0
    found = contents(out)
    assert sorted(found) == sorted(undisturbed)  # nothing half written is left either
    assert [name for name in found if found[name] != undisturbed[name]] == []
