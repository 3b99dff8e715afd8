"""A clip becomes a capture folder: whole, resumable, refusing what it cannot use and touching nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from painted_clip import PaintedClip

from avatar.base.errors import HeadModelError, InputError, MissingDependencyError, OutputError
from avatar.data.capture import read_capture
from avatar.flame.assets import HeadAsset, save_head
from avatar.flame.model import HeadModel
from avatar.geometry.cameras import project
from avatar.media.video import has_synthetic_tag, probe_video, write_video
from capture_tools import pipeline
from capture_tools.detect import tflite_models
from capture_tools.detect.selection import Crop
from capture_tools.driver import track_driver
from capture_tools.pipeline import capture
from capture_tools.settings import CaptureSettings
from capture_tools.stages import crops as cutting
from capture_tools.stages import landmarks as finding
from capture_tools.stages import tracking as fitting
from capture_tools.track.clip_tracking import TrackSettings

QUICK = TrackSettings(rigid_steps=60, face_steps=120, offset_steps=120, photometric_steps=20)
SETTINGS = CaptureSettings(size=192)


@pytest.fixture(scope="module")
def captured(painted_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return capture(painted_video, tmp_path_factory.mktemp("captured") / "capture", SETTINGS)


@pytest.mark.slow
def test_folder_is_whole(captured: Path, head: HeadAsset) -> None:
    folder = read_capture(captured, expect_head=head)
    assert len(folder.frames) == 26
    assert (folder.width, folder.height) == (192, 192)
    assert folder.fps == pytest.approx(25, abs=0.01)
    assert folder.camera_mode == "static"
    times = [frame.timestamp for frame in folder.frames]
    assert times[4:6] == pytest.approx([0.16, 0.28])  # the gap stays
    info = probe_video(captured / "report" / "overlay.mp4")
    assert info.frame_count == 26
    assert not has_synthetic_tag(captured / "report" / "overlay.mp4"), "it shows a real person"
    assert (captured / "report" / "contact_sheet.png").stat().st_size > 10_000
    assert not (captured / "stages").exists()


@pytest.mark.slow
def test_report_names_dropped_frames(captured: Path) -> None:
    report = json.loads((captured / "report" / "report.json").read_text())
    assert report["frames_read"] == 28
    assert report["frames_used"] == 26
    assert report["frames_dropped"] == [{"frame": i, "reason": "no face was found"} for i in (5, 6)]
    assert any("5-6" in warning for warning in report["warnings"])
    assert 0 < report["landmark_error_iod"] < 0.025
    assert set(report["seconds_per_stage"]) >= {"landmarks", "crops", "tracking"}
    assert [frame["frame"] for frame in report["frames"]] == [i for i in range(28) if i not in (5, 6)]
    assert all(0 < frame["photometric_error"] < 20 for frame in report["frames"])
    assert np.ptp([frame["yaw_degrees"] for frame in report["frames"]]) == pytest.approx(28.6, abs=4)
    assert report["scores"]["lids_error_iod"]["frame"] in [frame["frame"] for frame in report["frames"]]
    mean = np.mean([frame["landmark_error_iod"] for frame in report["frames"]])
    assert report["landmark_error_iod"] == pytest.approx(mean, rel=1e-5)


@pytest.mark.slow
def test_parameters_project_onto_the_landmarks(captured: Path, head: HeadAsset) -> None:
    """Camera, crop and parameters on disk agree with each other, in crop pixels."""
    folder = read_capture(captured, expect_head=head)
    pixels, visible = folder.landmarks()
    model = HeadModel(head)
    with torch.no_grad():
        points = model.landmarks(model(folder.parameters()).vertices)
        projected, _ = project(points, folder.frames[0].camera)
    error = np.linalg.norm(projected.numpy() - pixels, axis=-1)
    report = json.loads((captured / "report" / "report.json").read_text())
    assert error.mean() == pytest.approx(report["landmark_error_px"], rel=0.02)
    assert visible.mean() > 0.8


@pytest.mark.slow
def test_mattes_and_plate_agree_with_the_painted_truth(captured: Path, painted: PaintedClip, head: HeadAsset) -> None:
    folder = read_capture(captured, expect_head=head)
    report = folder.report()
    x0, y0, side = (report["crop"][key] for key in ("x0", "y0", "side"))
    crop = Crop(x0, y0, side, folder.width)
    for i in range(0, len(folder.frames), 5):
        source = round(folder.frames[i].timestamp * 25)
        truth = crop.cut(np.repeat(painted.masks[source][..., None].astype(np.uint8) * 255, 3, 2))[..., 0] > 127
        found = folder.read_mask(i) > 127
        assert found[truth].mean() > 0.95  # a head without shoulders: the network adds some, so no upper bound below
        above = np.argmax(truth.any(1))
        assert found[: above - 8].mean() < 0.02
    background, wall = folder.background(), crop.cut(painted.wall)
    assert background is not None
    always_free = ~np.any(
        [crop.cut(np.repeat(m[..., None], 3, 2).astype(np.uint8))[..., 0] for m in painted.masks], axis=0
    )
    always_free[folder.height // 2 :] = False
    difference = np.abs(background.astype(int) - wall).max(-1)
    assert np.median(difference[always_free]) <= 8  # what H.264 leaves of the texture


@pytest.mark.slow
def test_tracked_motion_follows_the_painted_one(captured: Path, painted: PaintedClip, head: HeadAsset) -> None:
    folder = read_capture(captured, expect_head=head)
    source = [round(frame.timestamp * 25) for frame in folder.frames]
    found, truth = folder.parameters(), painted.params
    assert np.corrcoef(found.jaw[:, 0], truth.jaw[source, 0])[0, 1] > 0.85
    assert np.corrcoef(found.rotation[:, 1], truth.rotation[source, 1])[0, 1] > 0.98
    blink = found.expr[:, head.expression_index("eyeBlinkLeft")]
    assert source[int(blink.argmax())] == 14


@pytest.mark.slow
def test_finished_capture_is_not_made_again(captured: Path, painted_video: Path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("must not run")

    monkeypatch.setattr(finding, "observe", fail)
    assert capture(painted_video, captured, SETTINGS) == captured
    with pytest.raises(OutputError, match="another capture"):
        capture(painted_video, captured, CaptureSettings(size=128))


@pytest.mark.slow
def test_interrupted_capture_goes_on(painted_video: Path, captured: Path, tmp_path: Path, monkeypatch) -> None:
    """Stopped after the masks: the second run neither decodes nor masks again, and gives the same landmarks."""
    out = tmp_path / "capture"
    with monkeypatch.context() as broken:
        broken.setattr(fitting, "track", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            capture(painted_video, out, SETTINGS)
    assert (out / "stages" / "crops.npz").exists()
    assert not (out / "transforms.json").exists()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a finished stage ran again")

    monkeypatch.setattr(finding, "observe", fail)
    monkeypatch.setattr(cutting, "PersonSegmenter", fail)
    original = fitting.track
    monkeypatch.setattr(fitting, "track", lambda *a, **k: original(*a[:5], QUICK, a[6], **k))
    capture(painted_video, out, SETTINGS)
    np.testing.assert_array_equal(read_capture(out).landmarks()[0], read_capture(captured).landmarks()[0])


@pytest.mark.slow
def test_driver_keeps_every_frame(painted_video: Path, painted: PaintedClip, head: HeadAsset) -> None:
    track = track_driver(painted_video, head, settings=QUICK)
    assert len(track.params) == 28
    assert track.fps == pytest.approx(25, abs=0.01)
    assert track.audio is None
    assert np.isnan(track.landmarks[5:7]).all()
    assert torch.isfinite(track.params.expr).all()
    assert np.corrcoef(track.params.jaw[:, 0], painted.params.jaw[:, 0])[0, 1] > 0.85


def refused(video: Path, out: Path, match: str, settings: CaptureSettings = SETTINGS) -> None:
    with pytest.raises(InputError, match=match):
        capture(video, out, settings)
    assert not out.exists()


@pytest.mark.slow
def test_unusable_clips_leave_nothing_behind(painted: PaintedClip, tmp_path: Path) -> None:
    out = tmp_path / "capture"

    def clip(name: str, images: list[np.ndarray]) -> Path:
        return write_video(tmp_path / name, images, 25, synthetic=True)

    refused(clip("wall.mp4", [painted.wall] * 25), out, "no face was found in the video")
    refused(clip("black.mp4", [np.zeros_like(painted.wall)] * 25), out, "no face was found in the video")
    refused(clip("photo.mp4", [painted.images[0]] * 25), out, "still picture")
    refused(clip("short.mp4", painted.images[:12]), out, "too few usable frames")
    refused(clip("whole.mp4", painted.images), out, "--shot is out of range", CaptureSettings(size=192, shot=2))
    refused(clip("late.mp4", painted.images), out, "no frame lies between", CaptureSettings(size=192, start=9.0))
    refused(tmp_path / "absent.mp4", out, "does not exist")
    refused(tmp_path / "short.mp4", out, "--size", CaptureSettings(size=17))


def test_a_clip_without_contrast_is_refused_before_the_tracking(
    painted: PaintedClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The face is found in it and the person is not. So it is with masks that an interrupted capture left."""
    images = [(image * 0.1 + 140).astype(np.uint8) for image in painted.images]
    clip, out = write_video(tmp_path / "pale.mp4", images, 25, synthetic=True), tmp_path / "capture"
    with monkeypatch.context() as stopped:
        stopped.setattr(cutting, "require_person", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            capture(clip, out, SETTINGS)
    assert (out / "stages" / "crops.npz").exists()
    monkeypatch.setattr(fitting, "track", lambda *_, **__: pytest.fail("a clip without a person was tracked"))
    refused(clip, out, "the person cannot be told from the background")
    refused(clip, out, "the person cannot be told from the background")


def test_a_head_file_is_imported_when_all_else_has_been_checked(
    painted_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: HeadAsset
) -> None:
    monkeypatch.setenv("AVATAR_HOME", str(tmp_path / "home"))
    imported = []

    def ready_head(asset: HeadAsset) -> HeadAsset:
        imported.append(asset.name)
        raise HeadModelError("the landmark detector does not recognise it")

    monkeypatch.setattr(pipeline, "ready_head", ready_head)
    model = save_head(tmp_path / "My Head.npz", head)
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError):
        capture(painted_video, tmp_path / "occupied", CaptureSettings(size=192, head_model=str(model)))
    refused(painted_video, tmp_path / "out", "no frame", CaptureSettings(size=192, head_model=str(model), start=9.0))
    assert imported == []
    with pytest.raises(HeadModelError, match="does not recognise"):
        capture(painted_video, tmp_path / "out", CaptureSettings(size=192, head_model=str(model)))
    assert imported == ["my-head"]
    assert not (tmp_path / "out").exists()


def test_other_folders_and_heads_are_refused(painted_video: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="already holds something else"):
        capture(painted_video, tmp_path, SETTINGS)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(HeadModelError, match="unknown head model"):
        capture(painted_video, tmp_path / "new", CaptureSettings(head_model="nobody"))
    assert not (tmp_path / "new").exists()


def test_a_missing_network_is_told_before_work(painted_video: Path, tmp_path: Path, monkeypatch) -> None:
    """An installation of an earlier version has all but the last network."""
    older = tmp_path / "models"
    older.mkdir()
    for path in tflite_models.INSTALLED_MODELS.glob("*.tflite"):
        if not path.name.startswith("pose"):
            (older / path.name).symlink_to(path)
    monkeypatch.setattr(tflite_models, "INSTALLED_MODELS", older)
    monkeypatch.setattr(tflite_models, "WHEEL", "no-such-package")
    with pytest.raises(MissingDependencyError, match=r"capture_tools\.fetch_models"):
        capture(painted_video, tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()


def test_full_disk_is_noticed_before_work(painted_video: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "_bytes_needed", lambda *_: 1 << 60)
    with pytest.raises(OutputError, match="too little free space"):
        capture(painted_video, tmp_path / "capture", SETTINGS)
    assert not (tmp_path / "capture").exists()


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "end"), [("white_house/address_10s.mp4", 1.0), ("webcam_man/take1.mp4", 1.6), ("grid/brbk7n.mpg", None)]
)
def test_real_clips_are_tracked_closely(real_clips: Path, tmp_path: Path, name: str, end: float | None) -> None:
    out = capture(real_clips / name, tmp_path / "capture", CaptureSettings(size=256, end=end, max_frames=24))
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["landmark_error_iod"] < 0.025  # to the detector's landmarks; the head is fitted to dense ones
    assert report["frames_dropped"] == []
    assert report["camera_mode"] == "static"
    assert not any("background moves" in warning for warning in report["warnings"])
    folder = read_capture(out)
    p = folder.parameters()
    assert float(p.expr.min()) > -0.15
    assert float(p.expr.max()) < 1.15
    assert float(p.jaw[:, 0].min()) > -0.05
    assert float(p.jaw[:, 0].max()) < 0.5
    assert p.static_offset is not None
    assert float(p.static_offset.norm(dim=-1).max()) < 0.015
