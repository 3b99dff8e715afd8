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

quick = TrackSettings(rigid_steps=3, face_steps=3, offset_steps=3, photometric_steps=1)
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
"""The function in which the process dies, and how many calls it survives; in the order of a capture's work."""


def run(video: Path, out: Path, place: str = "", calls: int = 0) -> int:
    command = [sys.executable, "-c", CAPTURE, str(video), str(out), place, str(calls)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but those that hold times of day or seconds taken."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != "report/report.json"}


@pytest.mark.slow
def test_a_capture_killed_again_and_again_goes_on(painted: PaintedClip, tmp_path: Path) -> None:
    """Killed at every moment in turn, each start going on from the last, against one that nothing disturbs."""
    clip = write_video(tmp_path / "clip.mp4", painted.images[:22], 25, synthetic=True)
    assert run(clip, tmp_path / "undisturbed") == 0
    undisturbed = contents(tmp_path / "undisturbed")
    out = tmp_path / "capture"
    for moment, (place, calls) in MOMENTS.items():
        assert run(clip, out, place, calls) == -9, moment
        assert (out / "transforms.json").exists() == (moment == "tidying up"), moment
    assert run(clip, out) == 0
    found = contents(out)
    assert sorted(found) == sorted(undisturbed)  # nothing half written is left either
    assert [name for name in found if found[name] != undisturbed[name]] == []
