"""The whole path on a tiny synthetic clip: create, eval, reanimate, render, demo, through the command line."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from avatar.app import cli
from avatar.media.images import read_png
from avatar.media.video import has_synthetic_tag, probe_video, read_video
from capture_tools import driver, pipeline
from capture_tools.track.clip_tracking import TrackSettings

pytestmark = pytest.mark.slow
SIZE = 128
STEPS = ("--training.steps", 160, "--training.minutes", 0)
"""Training ends by steps, so that a busy machine reaches the same figures."""
QUICK = TrackSettings(rigid_steps=30, face_steps=30, offset_steps=20, photometric_steps=8)
SMALL_DEMO = ("--size", 96, "--frames", 30, "--driver-frames", 22, "--minutes", 0.15, "--preset", "cpu")


def command(*arguments: object) -> None:
    assert cli.main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory) -> Path:
    """A run made by `avatar create` from the tiny clip, in 160 steps of training."""
    out = tmp_path_factory.mktemp("runs") / "me"
    command("create", tiny / "clip.mp4", "--out", out, "--size", SIZE, "--preset", "cpu", *STEPS)
    return out


@pytest.fixture(scope="module")
def metrics(run) -> dict:
    return json.loads((run / "eval" / "metrics.json").read_text())


def test_the_capture_keeps_its_contract(run):
    capture = run / "capture"
    header = json.loads((capture / "transforms.json").read_text())
    for key in ("w", "h", "fl_x", "fl_y", "cx", "cy", "fps", "head_model", "camera_mode", "schema_version"):
        assert key in header
    assert (header["w"], header["h"]) == (SIZE, SIZE)
    assert header["camera_mode"] == "static"
    assert header["fps"] == pytest.approx(25.0)
    names = {split: json.loads((capture / f"transforms_{split}.json").read_text())["frames"] for split in SPLITS}
    assert sorted(f["file_path"] for part in names.values() for f in part) == [f["file_path"] for f in header["frames"]]
    for frame in header["frames"]:
        for key in ("file_path", "fg_mask_path", "flame_param_path"):
            assert (capture / frame[key]).exists()
        assert np.asarray(frame["transform_matrix"]).shape == (4, 4)
    with np.load(capture / "flame_param" / "00000.npz", allow_pickle=False) as stored:
        assert {"translation", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "shape", "expr"} <= set(stored.files)
    report = json.loads((capture / "report" / "report.json").read_text())
    assert report["frames_used"] == len(header["frames"]) == 44
    assert report["landmark_error_iod"] < 0.05
    for name in ("background.png", "landmarks.npz", "report/overlay.mp4", "report/contact_sheet.png"):
        assert (capture / name).exists()


SPLITS = ("train", "val", "test")


def test_the_run_keeps_its_contract(run):
    for name in ("config.yaml", "capture.json", "log.jsonl", "tensorboard", "checkpoints/latest", "timings.json"):
        assert (run / name).exists()
    latest = (run / "checkpoints" / "latest").read_text().strip()
    assert (run / "checkpoints" / latest).suffix == ".safetensors"
    assert list((run / "previews").glob("*.png"))
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_metrics_are_complete_finite_and_better_than_the_background(run, metrics):
    for split in ("val", "test"):
        for key in ("psnr", "ssim", "face_psnr", "mouth_psnr", "seconds_per_frame", "frames"):
            assert math.isfinite(metrics[split][key])
        assert "lpips" in metrics[split]
        assert "expression_error" in metrics[split]
        pictures = {kind: sorted((run / "eval" / split / kind).glob("*.png")) for kind in ("pred", "gt", "mask")}
        assert len({len(paths) for paths in pictures.values()}) == 1
        assert len(pictures["pred"]) == metrics[split]["frames"]
    background = read_png(run / "capture" / "background.png").astype(float)
    real = [read_png(path).astype(float) for path in sorted((run / "eval" / "val" / "gt").glob("*.png"))]
    empty = np.mean([10 * np.log10(255**2 / np.mean((background - image) ** 2)) for image in real])
    assert metrics["val"]["psnr"] > empty + 6
    # reached with these steps: 34.7, 31.0 and 33.6; 33.6, 30.0 and 29.8 in the clip's last tenth
    for split, floors in (("val", (32.9, 29.2, 32.1)), ("test", (31.7, 28.2, 27.9))):
        found = [metrics[split][key] for key in ("psnr", "face_psnr", "mouth_psnr")]
        assert all(value > floor for value, floor in zip(found, floors, strict=True)), (split, found)


def test_anyone_can_recompute_the_psnr(run, metrics):
    folder = run / "eval" / "val"
    whole, face = [], []
    for path in sorted((folder / "gt").glob("*.png")):
        error = (read_png(path).astype(float) - read_png(folder / "pred" / path.name).astype(float)) ** 2
        inside = read_png(folder / "mask" / path.name) > 127
        whole.append(10 * np.log10(255**2 / error.mean()))
        face.append(10 * np.log10(255**2 / error[inside].mean()))
    assert np.mean(whole) == pytest.approx(metrics["val"]["psnr"], abs=1e-6)
    assert np.mean(face) == pytest.approx(metrics["val"]["face_psnr"], abs=1e-6)


def test_held_out_truth_is_scored(run, tiny, tmp_path, avatar):
    kept = json.loads((run / "eval" / "metrics.json").read_text())
    done = avatar("eval", run, "--truth", tiny)
    assert done.status == 0, done.err
    found = json.loads((run / "eval" / "metrics.json").read_text())
    assert list(found) == ["val", "test", "expressions", "view_15", "view_30", "view_45"]
    assert found["val"]["psnr"] == pytest.approx(kept["val"]["psnr"], abs=1e-6)
    for name in ("expressions", "view_15", "view_30", "view_45"):
        assert found[name]["frames"] == len(list((run / "eval" / name / "pred").glob("*.png"))) >= 8
        assert name in done.out
        # better than grey, after so short a training: the cameras are carried over rightly
        real = [read_png(path).astype(float) for path in sorted((run / "eval" / name / "gt").glob("*.png"))]
        empty = np.mean([10 * np.log10(255**2 / np.mean((127.0 - image) ** 2)) for image in real])
        assert found[name]["psnr"] > empty + 3
    for name, floor in (("expressions", 25.6), ("view_15", 26.6), ("view_30", 23.2), ("view_45", 20.8)):
        assert found[name]["face_psnr"] > floor, (name, found[name]["face_psnr"])
    assert found["view_30"]["person_iou"] > 0.94
    nowhere = avatar("eval", run, "--truth", tmp_path)
    assert nowhere.status == 1
    assert "held-out" in nowhere.message


def test_a_constant_expression_does_not_flicker(run, tmp_path):
    """With one expression, one camera and the mean code, frames differ by the video's compression alone."""
    command("render", run, "--path", "still", "--expression", "smile", "--frames", 6, "--out", tmp_path / "still.mp4")
    frames = np.stack([image for _, image in read_video(tmp_path / "still.mp4")]).astype(float)
    assert np.abs(np.diff(frames, axis=0)).mean() < 0.5


def test_create_again_goes_on_and_keeps_what_is_finished(run, tiny, capfd):
    before = (run / "capture" / "transforms.json").stat().st_mtime_ns, (run / "checkpoints" / "latest").read_text()
    command("create", tiny / "clip.mp4", "--out", run, "--size", SIZE, "--preset", "cpu", *STEPS)
    printed = capfd.readouterr().out
    assert (
        (run / "capture" / "transforms.json").stat().st_mtime_ns,
        (run / "checkpoints" / "latest").read_text(),
    ) == before
    assert "wrote " in printed
    assert "next: avatar reanimate" in printed


def test_create_refuses_other_settings_in_the_same_folder(run, tiny, avatar, snapshot):
    before = snapshot(run)
    done = avatar("create", tiny / "clip.mp4", "--out", run, "--size", SIZE, "--preset", "paper")
    assert done.status == 1
    assert "was made by another run" in done.message
    assert snapshot(run) == before


def test_reanimate_with_a_video(run, tiny_driver, tmp_path):
    out = tmp_path / "out.mp4"
    command("reanimate", run, "--driver", tiny_driver / "clip.mp4", "--out", out)
    info = probe_video(out)
    assert (info.width, info.height, info.frame_count) == (SIZE, SIZE, 24)
    assert has_synthetic_tag(out)
    frames = np.stack([image for _, image in read_video(out)]).astype(float)
    assert frames.std(0)[SIZE // 3 : SIZE // 2, SIZE // 2 - 8 : SIZE // 2 + 8].mean() > 1  # the face moves
    assert frames.std(0)[:12, :12].mean() < 1  # the background does not


def test_reanimate_with_a_capture_and_with_parameters(run, tiny_driver, tmp_path):
    out = tmp_path / "a.mp4"
    command("reanimate", run, "--driver", tiny_driver / "truth", "--out", out, "--head-motion", "still")
    assert probe_video(out).frame_count == 24
    with np.load(tiny_driver / "truth" / "flame_param" / "00000.npz") as stored:
        expr = np.asarray(stored["expr"]).reshape(1, -1)
    np.savez(tmp_path / "p.npz", expr=expr.repeat(3, 0), jaw_pose=np.zeros((3, 3)), fps=10.0)
    command("reanimate", run, "--driver", tmp_path / "p.npz", "--out", tmp_path / "b.mp4")
    assert probe_video(tmp_path / "b.mp4").frame_count == 3
    assert probe_video(tmp_path / "b.mp4").fps == pytest.approx(10.0)


def test_driver_of_another_head_model_is_refused(run, tiny_driver, tmp_path, avatar):
    capture = Path(shutil.copytree(tiny_driver / "truth", tmp_path / "capture"))
    for path in capture.glob("transforms*.json"):
        path.write_text(re.sub(r'"fingerprint": "[0-9a-f]+"', f'"fingerprint": "{"0" * 64}"', path.read_text()))
    done = avatar("reanimate", run, "--driver", capture, "--out", tmp_path / "out.mp4")
    assert done.status == 1
    assert "head model" in done.message
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("driver", ["flat.mp4", "none.mp4", "nonsense.npz"])
def test_bad_drivers(run, flat_clip, tmp_path, avatar, driver):
    shutil.copyfile(flat_clip, tmp_path / "flat.mp4")
    (tmp_path / "nonsense.npz").write_text("no")
    done = avatar("reanimate", run, "--driver", tmp_path / driver, "--out", tmp_path / "out.mp4")
    assert done.status == 1
    assert not (tmp_path / "out.mp4").exists()
    assert done.message


def test_existing_output_is_kept_before_anything_is_tracked(run, tiny_driver, tmp_path, avatar):
    (tmp_path / "out.mp4").write_text("mine")
    done = avatar("reanimate", run, "--driver", tiny_driver / "clip.mp4", "--out", tmp_path / "out.mp4")
    assert done.status == 1
    assert "exists already" in done.message
    assert (tmp_path / "out.mp4").read_text() == "mine"


def test_render_an_orbit_and_a_picture(run, tmp_path):
    command("render", run, "--path", "orbit", "--expression", "sweep:smile", "--frames", 8, "--out", tmp_path / "o.mp4")
    assert probe_video(tmp_path / "o.mp4").frame_count == 8
    assert has_synthetic_tag(tmp_path / "o.mp4")
    command("render", run, "--expression", "open_mouth", "--size", 64, "--out", tmp_path / "o.png")
    assert read_png(tmp_path / "o.png").shape == (64, 64, 3)


def test_unknown_expression_names_close_ones(run, tmp_path, avatar):
    done = avatar("render", run, "--expression", "smlie", "--out", tmp_path / "o.mp4")
    assert done.status == 1
    assert "smile" in done.message
    assert not (tmp_path / "o.mp4").exists()


def test_the_expression_stays_inside_the_silhouette(run):
    """The gate: with the jaw swept at a fixed camera, pixels more than 8 px outside the dilated silhouettes of both
    meshes change by less than 1/255 on average, while the mouth does change."""
    import cv2

    from avatar.animation.driving import expression_frames
    from avatar.data.checkpoint import load_avatar

    me = load_avatar(run)
    frames = expression_frames("sweep:jawOpen", me.parameters, me.asset, 4)
    shown = [me.render_frame(frames.frame(i), me.camera) for i in range(4)]
    images = [frame.image.float().cpu().numpy() * 255 for frame in shown]
    masks = [frame.mask.cpu().numpy().astype(np.uint8) for frame in shown]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (17, 17))  # 8 pixels to every side
    for image, mask in zip(images[1:], masks[1:], strict=True):
        outside = cv2.dilate(np.maximum(mask, masks[0]), disc) == 0
        assert 0.2 < outside.mean() < 0.95
        assert np.abs(image - images[0])[outside].mean() < 1.0
    mouth = np.abs(images[2] - images[0])[masks[0] > 0]
    assert np.sort(mouth.ravel())[-300:].mean() > 10


def test_stages_one_by_one(run, tmp_path, avatar):
    """`train` in a folder of its own, refused without --resume the second time, continued with it, then `eval`."""
    out = tmp_path / "again"
    steps = ["--training.steps", 20, "--training.minutes", 0]
    arguments = ["train", run / "capture", "--out", out, "--preset", "cpu", *steps]
    command(*arguments)
    step = (out / "checkpoints" / "latest").read_text()
    refused = avatar(*arguments)
    assert refused.status == 1
    assert "--resume" in refused.message
    assert (out / "checkpoints" / "latest").read_text() == step
    command("train", run / "capture", "--out", out, "--resume", "--training.steps", 30)
    assert int(re.findall(r"\d+", (out / "checkpoints" / "latest").read_text())[-1]) > int(re.findall(r"\d+", step)[-1])
    command("eval", out, "--splits", "val")
    assert set(json.loads((out / "eval" / "metrics.json").read_text())) == {"val"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demos") / "demo"
    with pytest.MonkeyPatch.context() as patch:  # what the demo leaves counts here, not how closely it tracks
        for module in (pipeline, driver):
            patch.setattr(module, "lens_settings", lambda *_: QUICK)
        command("demo", "--out", out, *SMALL_DEMO)
    return out


def pictures_of(page: str) -> str:
    """The JSON list of the pictures that people drag."""
    found = re.search(r'data-pictures="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_demo_ends_with_a_page(demo):
    for name in ("clip.mp4", "driver.mp4", "reanimated.mp4", "orbit.mp4", "avatar/eval/metrics.json"):
        assert (demo / name).exists()
    for name in ("reanimated.mp4", "orbit.mp4"):
        assert has_synthetic_tag(demo / name)
    assert (demo / "head.glb").read_bytes()[:4] == b"glTF"
    page = (demo / "index.html").read_text()
    links = [*re.findall(r'(?:src|href)="([^"]+)"', page), *json.loads(html.unescape(pictures_of(page)))]
    assert len(links) >= 40
    for link in links:
        assert (demo / link).exists(), link
    assert "http" not in re.sub(r"<pre>.*</pre>", "", page, flags=re.S)
    val = json.loads((demo / "avatar" / "eval" / "metrics.json").read_text())["val"]
    assert f"{val['mouth_psnr']:.1f}" in page
    assert f"avatar create {demo}/clip.mp4" in page
    assert "avatar reanimate" in page


def test_a_second_demo_keeps_what_is_there_and_another_is_refused(demo, avatar):
    made = {path: path.stat().st_mtime_ns for path in (*demo.glob("*.mp4"), demo / "avatar" / "checkpoints" / "latest")}
    again = avatar("demo", "--out", demo, *SMALL_DEMO)
    assert again.status == 0, again.err
    assert re.search(r"^val ", again.out, re.M)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    other = avatar("demo", "--out", demo, "--size", 128, *SMALL_DEMO[2:])
    assert other.status == 1
    assert "was made by another demo" in other.message
