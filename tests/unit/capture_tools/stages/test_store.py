"""The files of unfinished captures: whole on disk, and alone in being removed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from painted_clip import PaintedClip

from avatar.base.errors import OutputError
from avatar.base.files import claim_folder
from avatar.flame.assets import HeadAsset
from avatar.media.video import write_video
from capture_tools import pipeline
from capture_tools.pipeline import capture
from capture_tools.settings import CaptureSettings
from capture_tools.stages import crops as cutting
from capture_tools.stages import landmarks as finding
from capture_tools.stages.store import Stages
from capture_tools.track.clip_tracking import TrackSettings

QUICK = TrackSettings(rigid_steps=3, face_steps=3, offset_steps=3, photometric_steps=1)


def test_only_what_the_stages_left_is_removed(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    stages.save("landmarks", a=1)
    stages.open_array("images", (3, 4))
    with stages.timed("landmarks"):
        pass
    (stages.folder / "notes.npz").write_text("mine")
    stages.remove()
    assert [path.name for path in stages.folder.iterdir()] == ["notes.npz"]
    (stages.folder / "notes.npz").unlink()
    stages.remove()
    assert not stages.folder.exists()
    with pytest.raises(ValueError, match="not in the list"):
        stages.save("others", a=1)


def test_an_array_has_all_its_room_before_it_is_filled(tmp_path: Path) -> None:
    """A file with holes, mapped, ends the process by a signal when the disk is full."""
    array = Stages(tmp_path).open_array("images", (300, 100, 100))
    assert array.shape == (300, 100, 100)
    assert not array.any()
    assert (tmp_path / "stages" / "images.npy").stat().st_blocks * 512 >= array.nbytes
    array[7] = 9
    array.flush()
    again = Stages(tmp_path).open_array("images")
    assert again[7].min() == 9
    assert not again.flags.writeable


def test_a_disk_too_small_for_an_array_is_an_error_of_the_user(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("capture_tools.stages.store.fill", full)
    with pytest.raises(OutputError, match="the disk is full"):
        Stages(tmp_path).open_array("images", (3, 4))
    assert list((tmp_path / "stages").iterdir()) == []


@pytest.mark.parametrize("file", ["images.npy", "tracking.npz"])
def test_a_full_disk_in_a_first_capture_costs_nothing_finished(
    painted: PaintedClip, tmp_path: Path, monkeypatch, file: str
) -> None:
    """After some space was freed the same command goes on with the first stage that is not finished."""
    clip = write_video(tmp_path / "clip.mp4", painted.images[:22], 25, synthetic=True)
    out, settings = tmp_path / "capture", CaptureSettings(size=96)
    monkeypatch.setattr(pipeline, "lens_settings", lambda *_: QUICK)
    rename = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        rename(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", replace)
        if file == "images.npy":  # is not renamed
            broken.setattr("capture_tools.stages.store.fill", lambda *_: replace(out, Path(file)))
        with pytest.raises(OutputError, match="the disk is full"):
            capture(clip, out, settings)
    assert (out / "stages" / "landmarks.npz").exists()
    assert (out / "stages" / "crops.npz").exists() == (file == "tracking.npz")
    assert not (out / ".avatar.lock").exists()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a finished stage ran again")

    written = []
    monkeypatch.setattr(finding, "observe", fail)
    if file == "tracking.npz":
        monkeypatch.setattr(cutting, "PersonSegmenter", fail)
    monkeypatch.setattr(pipeline, "write_stage", lambda *given: written.append(given[0]))
    assert capture(clip, out, settings) == out
    assert written == [out]


def test_a_capture_does_not_write_through_links(painted: PaintedClip, head: HeadAsset, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", painted.images[:22], 25, synthetic=True)
    out, pictures, settings = tmp_path / "capture", tmp_path / "pictures", CaptureSettings(size=96)
    pictures.mkdir()
    (pictures / "images.npy").write_text("mine")
    claim_folder(out, "capture", pipeline._identity(clip, head, settings))
    (out / "stages").symlink_to(pictures)
    with pytest.raises(OutputError, match="a link stands where files are written"):
        capture(clip, out, settings)
    assert (pictures / "images.npy").read_text() == "mine"
    assert len(list(pictures.iterdir())) == 1
