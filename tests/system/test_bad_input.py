"""Bad input: one clear message, an exit status that is not 0, nothing overwritten, no traceback."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from avatar.media.video import write_video


def left_behind(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*")]


@pytest.fixture
def sound_only(tmp_path) -> Path:
    """An mp4 with an audio stream and no video."""
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("command", ["create", "capture"])
def test_no_video_stream(avatar, sound_only, tmp_path, command):
    done = avatar(command, sound_only, "--out", tmp_path / "out")
    assert done.status == 1
    assert "sound.mp4" in done.message
    assert "video" in done.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"not a video at all\n" * 50])
def test_not_a_video(avatar, tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    done = avatar("create", tmp_path / "a.mp4", "--out", tmp_path / "out")
    assert done.status == 1
    assert "a.mp4" in done.message
    assert not (tmp_path / "out").exists()


def test_missing_file(avatar, tmp_path):
    done = avatar("create", tmp_path / "none.mp4", "--out", tmp_path / "out")
    assert done.status == 1
    assert "none.mp4" in done.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_file(avatar, tmp_path, share):
    noise = np.random.default_rng(0)
    frames = (noise.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(40))
    whole = write_video(tmp_path / "whole.mp4", frames, 25.0, synthetic=True).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(len(whole) * share)])
    done = avatar("create", tmp_path / "cut.mp4", "--out", tmp_path / "out")
    assert done.status == 1
    assert "cut.mp4" in done.message
    assert not (tmp_path / "out").exists() or left_behind(tmp_path / "out") == []


@pytest.mark.parametrize("command", ["create", "capture"])
def test_no_face(avatar, flat_clip, tmp_path, command):
    done = avatar(command, flat_clip, "--out", tmp_path / "out", "--size", 96)
    assert done.status == 1
    assert "face" in done.message
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_create_with_an_unusable_clip_leaves_nothing(avatar, flat_clip, tmp_path):
    assert avatar("create", flat_clip, "--out", tmp_path / "out", "--size", 96).status == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.real
@pytest.mark.slow
def test_two_faces(avatar, recordings, tmp_path):
    """The larger of two faces is followed, and the report says so."""
    clip = recordings / "clips" / "odd" / "two_people.gif"
    done = avatar("capture", clip, "--out", tmp_path / "out", "--size", 128, "--no-photometric", "--max-frames", 24)
    assert done.status == 0, done.err
    report = json.loads((tmp_path / "out" / "report" / "report.json").read_text())
    warned = [warning for warning in report["warnings"] if "another face" in warning]
    assert len(warned) == 1
    assert "frames" in warned[0]
    assert "larger" in warned[0]
    assert report["crop"]["x0"] > 200  # the larger face is the one on the right
    assert report["landmark_error_iod"] < 0.028


def test_too_few_usable_frames(avatar, tiny_driver, tmp_path):
    done = avatar("create", tiny_driver / "clip.mp4", "--out", tmp_path / "out", "--size", 96, "--end", 0.5)
    assert done.status == 1
    assert "20" in done.message
    assert "frames" in done.message
    assert not (tmp_path / "out").exists()


def test_unknown_head_model(avatar, tiny_driver, tmp_path):
    done = avatar("create", tiny_driver / "clip.mp4", "--out", tmp_path / "out", "--head-model", "nobody")
    assert done.status == 1
    assert "nobody" in done.message
    assert "open-head" in done.message
    assert not (tmp_path / "out").exists()


def test_head_model_file_that_is_none(avatar, tmp_path, monkeypatch):
    monkeypatch.setenv("AVATAR_HOME", str(tmp_path / "home"))
    (tmp_path / "flame.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    done = avatar("model", "import", tmp_path / "flame.pkl")
    assert done.status == 1
    assert "flame.pkl" in done.message
    assert not Path("pwned").exists()
    assert not list((tmp_path / "home").rglob("*.npz"))


def other_head(capture: Path) -> Path:
    """Rewrite a capture's head model to one that does not exist here."""
    for path in capture.glob("transforms*.json"):
        content = json.loads(path.read_text())
        content["head_model"] = {"name": "flame2020", "fingerprint": "0" * 64}
        path.write_text(json.dumps(content))
    return capture


def test_capture_of_an_unknown_head(avatar, tiny_driver, tmp_path):
    capture = other_head(Path(shutil.copytree(tiny_driver / "truth", tmp_path / "capture")))
    done = avatar("train", capture, "--out", tmp_path / "run", "--minutes", 0.1)
    assert done.status == 1
    assert "flame2020" in done.message
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_capture_with_another_fingerprint(avatar, tiny_driver, tmp_path):
    capture = other_head(Path(shutil.copytree(tiny_driver / "truth", tmp_path / "capture")))
    for path in capture.glob("transforms*.json"):
        path.write_text(path.read_text().replace("flame2020", "open-head"))
    done = avatar("train", capture, "--out", tmp_path / "run", "--minutes", 0.1)
    assert done.status == 1
    assert "head model" in done.message
    assert "0000" in done.message


@pytest.mark.parametrize("damage", ["remove an image", "not finite", "leaves the folder"])
def test_damaged_capture(avatar, tiny_driver, tmp_path, damage):
    capture = Path(shutil.copytree(tiny_driver / "truth", tmp_path / "capture"))
    if damage == "remove an image":
        (capture / "images" / "00007.png").unlink()
    elif damage == "not finite":
        with np.load(capture / "flame_param" / "00007.npz") as stored:
            arrays = dict(stored)
        arrays["expr"] = np.full_like(arrays["expr"], np.nan)
        np.savez(capture / "flame_param" / "00007.npz", **arrays)
    else:
        for path in capture.glob("transforms*.json"):
            path.write_text(path.read_text().replace("images/00007.png", "../../etc/00007.png"))
    done = avatar("train", capture, "--out", tmp_path / "run", "--minutes", 0.1)
    assert done.status == 1
    assert "00007" in done.message or "frame 7" in done.message
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("command", ["create", "capture", "train", "demo"])
def test_output_folder_that_holds_something_else(avatar, tiny_driver, tmp_path, snapshot, command):
    out = tmp_path / "out"
    (out / "holiday").mkdir(parents=True)
    (out / "holiday" / "photo.jpg").write_bytes(b"jpg")
    (out / "transforms.json").write_text("mine")
    before = snapshot(out)
    source = {
        "create": [tiny_driver / "clip.mp4"],
        "capture": [tiny_driver / "clip.mp4"],
        "train": [tiny_driver / "truth"],
        "demo": [],
    }
    done = avatar(command, *source[command], "--out", out)
    assert done.status == 1
    assert "already holds something else" in done.message
    assert snapshot(out) == before


def test_output_folder_of_another_clip(avatar, flat_clip, tiny_driver, tmp_path, snapshot):
    out = tmp_path / "out"
    out.mkdir()
    claim = {"kind": "run", "identity": {"video": "0123"}}
    (out / ".avatar.json").write_text(json.dumps(claim))
    before = snapshot(out)
    done = avatar("create", tiny_driver / "clip.mp4", "--out", out)
    assert done.status == 1
    assert "was made by another" in done.message
    assert snapshot(out) == before


def test_output_folder_that_is_a_file(avatar, tiny_driver, tmp_path):
    (tmp_path / "out").write_text("mine")
    done = avatar("create", tiny_driver / "clip.mp4", "--out", tmp_path / "out")
    assert done.status == 1
    assert (tmp_path / "out").read_text() == "mine"


def test_little_free_space_is_told_before_work_begins(avatar, tiny_driver, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5 * 2**20))
    done = avatar("create", tiny_driver / "clip.mp4", "--out", tmp_path / "out")
    assert done.status == 1
    assert "free space" in done.message
    assert not (tmp_path / "out").exists()


def test_full_disk_while_writing(avatar, tiny_driver, tmp_path, monkeypatch):
    real = os.replace
    left = {"writes": 4}

    def replace(source, target):
        left["writes"] -= 1
        if left["writes"] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    done = avatar("capture", tiny_driver / "clip.mp4", "--out", tmp_path / "out", "--size", 96)
    assert done.status == 1
    assert "the disk is full" in done.message
    assert not [name for name in left_behind(tmp_path / "out") if ".part" in name]
    assert not (tmp_path / "out" / "transforms.json").exists()


@pytest.mark.slow
def test_really_full_disk(tiny_driver, tmp_path):
    """A file system of 3 MiB, in a mount namespace of its own where the system allows that to users."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=3m tmpfs {disk}"
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False).returncode:
        pytest.skip("user namespaces with mounts are not allowed here")
    code = "import sys; from avatar.app.cli import main; sys.exit(main(sys.argv[1:]))"
    command = f"{mount} && {sys.executable} -c '{code}' train {tiny_driver / 'truth'} --out {disk}/run --minutes 0.05"
    environment = {key: value for key, value in os.environ.items() if key != "AVATAR_DEBUG"}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 1, done.stderr
    assert "the disk is full" in done.stderr or "too little free space" in done.stderr
    assert "Traceback" not in done.stderr


def test_not_a_run(avatar, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments in (
        ["eval", tmp_path / "empty"],
        ["render", tmp_path / "empty", "--out", tmp_path / "o.mp4"],
        ["reanimate", tmp_path / "empty", "--driver", tmp_path / "empty", "--out", tmp_path / "o.mp4"],
        ["train", tmp_path / "empty", "--out", tmp_path / "run"],
        ["train", tmp_path / "empty", "--out", tmp_path / "run", "--resume"],
    ):
        done = avatar(*arguments)
        assert done.status == 1
        assert "empty" in done.message
    assert left_behind(tmp_path) == ["empty"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--minutes", "0"], "--minutes"),
        (["--size", "20"], "--size"),
        (["--size", "90000"], "--size"),
        (["--start", "5", "--end", "2"], "start"),
        (["--start", "1000"], "--start"),
    ],
)
def test_numbers_that_cannot_work(avatar, tiny_driver, tmp_path, arguments, word):
    done = avatar("create", tiny_driver / "clip.mp4", "--out", tmp_path / "out", *arguments)
    assert done.status == 1
    assert word in done.message
    assert not (tmp_path / "out").exists()
