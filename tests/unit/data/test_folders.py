"""Paths near a capture or a run: taken where it is clear what is meant, else what is there is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avatar import reanimate, render
from avatar.app import cli
from avatar.base.errors import AvatarError, CaptureError, InputError, OutputError, RunError
from avatar.data.folders import capture_at, find_capture, find_run, refuse_other_sources, refuse_own_places, run_at
from avatar.media.images import write_png


@pytest.fixture
def run(tmp_path) -> Path:
    """The folders and files of a finished run of `avatar create`, all empty but for the note of its capture."""
    run = tmp_path / "runs" / "me"
    for name in ("checkpoints/latest", "config.yaml", "capture/transforms.json", "capture/images/00000.png"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("")
    (run / "eval" / "val").mkdir(parents=True)
    (run / "capture" / "flame_param").mkdir()
    (run / "capture.json").write_text(json.dumps({"folder": "capture", "fingerprint": "0"}))
    return run


@pytest.mark.parametrize(
    "inside",
    [".", "capture", "capture/images", "capture/transforms.json", "checkpoints", "eval/val"],
)
def test_every_place_of_a_run_means_it_and_its_capture(run, inside):
    assert capture_at(run / inside).resolve() == run / "capture"
    assert run_at(run / inside).resolve() == run


def test_a_path_keeps_the_form_it_was_given_in(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    assert run_at(Path("me")) == Path("me")
    assert capture_at(Path("me")) == Path("me/capture")


def test_the_capture_of_a_run_that_lies_elsewhere(run, tmp_path):
    elsewhere = (run / "capture").rename(tmp_path / "captured")
    (run / "capture.json").write_text(json.dumps({"folder": str(elsewhere), "fingerprint": "0"}))
    assert find_capture(run) == elsewhere
    (run / "capture.json").write_text(json.dumps({"folder": str(tmp_path / "gone"), "fingerprint": "0"}))
    assert find_capture(run) is None
    (run / "capture.json").write_text("{")
    with pytest.raises(RunError, match=r"capture\.json"):
        find_capture(run)


def test_folders_with_names_like_ours_are_not_taken_for_ours(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "film").mkdir()
    assert find_run(tmp_path / "film") is None
    assert find_capture(tmp_path / "film") is None
    assert find_run(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        ("capture", "avatar train {path} --out RUN"),
        ("begun", "the same avatar create command again"),
        ("runs", "give one of these: {path}/a, {path}/b"),
        ("empty", "make one: avatar create VIDEO --out RUN"),
        ("none", "make one: avatar create VIDEO --out RUN"),
    ],
)
def test_what_is_no_run(tmp_path, prepare, words):
    path = tmp_path / "given"
    if prepare != "none":
        path.mkdir()
    if prepare in ("capture", "begun"):
        folder = path if prepare == "capture" else path / "capture"
        folder.mkdir(exist_ok=True)
        (folder / "transforms.json").write_text("")
    if prepare == "runs":
        for name in ("a", "b"):
            (path / name).mkdir()
            (path / name / "capture.json").write_text("")
    with pytest.raises(RunError, match="not a run folder") as caught:
        run_at(path)
    assert words.format(path=path) in str(caught.value)


def test_what_is_no_capture(tmp_path, run):
    cases = {
        run.parent: f"give one of these: {run}",
        tmp_path / "none": "make one: avatar capture VIDEO",
        tmp_path / "clip.mp4": f"avatar capture {tmp_path}/clip.mp4 --out CAPTURE",
        tmp_path / "unfinished": "goes on where it stopped",
    }
    (tmp_path / "clip.mp4").write_bytes(b"")
    (tmp_path / "unfinished" / "stages").mkdir(parents=True)
    for path, words in cases.items():
        with pytest.raises(CaptureError, match="not a capture folder") as caught:
            capture_at(path)
        assert words in str(caught.value)


def test_a_folder_or_a_picture_is_no_video(tmp_path, run):
    (tmp_path / "me.jpg").write_bytes(b"")
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "a.MP4").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    cases = {
        tmp_path / "me.jpg": "avatar capture --image",
        run: f"avatar train {run}/capture --out RUN",
        run / "capture" / "images": f"avatar train {run}/capture --out RUN",
        tmp_path / "film": "give one of these",
        tmp_path / "empty": "give a video file",
    }
    for path, words in cases.items():
        with pytest.raises(InputError, match="not a video") as caught:
            refuse_other_sources(path)
        assert words in str(caught.value)
    refuse_other_sources(tmp_path / "film" / "a.MP4")
    refuse_other_sources(tmp_path / "none.jpg")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "pictures", "--out", "x"], "not a capture folder"),
        (["eval", "captured"], "avatar train captured --out RUN"),
        (["render", "captured", "--out", "o.png"], "avatar train captured --out RUN"),
        (["reanimate", "captured", "--driver", "captured", "--out", "o.mp4"], "avatar train captured --out RUN"),
        (["create", "captured", "--out", "x"], "avatar train captured --out RUN"),
        (["capture", "pictures", "--out", "x"], "this is a folder, not a video"),
        (["capture", "pictures/0.jpg", "--out", "x"], "avatar capture --image pictures/0.jpg"),
    ],
)
def test_commands_name_the_right_thing(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AVATAR_DEBUG", raising=False)
    for name in ("captured/transforms.json", "pictures/0.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    assert cli.main(arguments) == 1
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captured", "pictures"]


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("capture/out.mp4", "lie in a capture"),
        ("capture/images/00000.png", "lie in a capture"),
        ("capture/mine/deeper/still/out.mp4", "lie in a capture"),
        ("config.yaml", "lie among a run's own files"),
        ("checkpoints/out.mp4", "lie among a run's own files"),
        ("eval/val/pred/00000.png", "lie among a run's own files"),
        ("previews/../previews/step_000060.png", "found: previews of the run"),
    ],
)
def test_a_video_is_not_written_among_our_files(run, tmp_path, out, words):
    with pytest.raises(OutputError, match=words):
        refuse_own_places(run / out)
    (tmp_path / "link").symlink_to((run / out).parent.resolve(), target_is_directory=True)
    with pytest.raises(OutputError, match=words):
        refuse_own_places(tmp_path / "link" / Path(out).name)


def test_a_video_may_be_written_beside_our_files(run, tmp_path, monkeypatch):
    for out in (
        run / "orbit.mp4",
        run / "videos" / "orbit.mp4",
        run.parent / "orbit.mp4",
        tmp_path / "capture" / "o.png",
    ):
        refuse_own_places(out)
    monkeypatch.chdir(run)
    refuse_own_places(Path("out.mp4"))
    with pytest.raises(OutputError):
        refuse_own_places(Path("capture/out.mp4"))


def test_what_was_begun_is_ours_too(tmp_path):
    """Before the first file that tells, the folder's claim does; one that is damaged tells nothing."""
    for kind, out in (("capture", "report/o.mp4"), ("run", "previews/o.png")):
        (tmp_path / kind).mkdir()
        claim = tmp_path / kind / ".avatar.json"
        claim.write_text(json.dumps({"kind": kind, "identity": {}}))
        with pytest.raises(OutputError):
            refuse_own_places(tmp_path / kind / out)
        claim.write_text("{")
        refuse_own_places(tmp_path / kind / out)


def test_what_a_command_reads_is_not_replaced(tmp_path, monkeypatch, capsys):
    """With --overwrite too, in every spelling of the path, and before anything is loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AVATAR_DEBUG", raising=False)
    Path("you.mp4").write_bytes(b"a performance")
    Path("link.mp4").symlink_to("you.mp4")
    write_png(Path("wall.png"), np.zeros((4, 4, 3), np.uint8))
    wall = Path("wall.png").read_bytes()
    drive = ["reanimate", "none", "--driver", "you.mp4", "--overwrite", "--out"]
    render = ["render", "none", "--background", "wall.png", "--overwrite", "--out"]
    for out in ("you.mp4", "./you.mp4", str(tmp_path / "you.mp4"), "link.mp4"):
        assert cli.main([*drive, out]) == 1
        assert "the output file is one that the command reads" in capsys.readouterr().err
    assert cli.main([*render, "wall.png"]) == 1
    assert "the output file is one that the command reads" in capsys.readouterr().err
    with pytest.raises(OutputError, match="that the command reads"):
        reanimate("none", "you.mp4", "you.mp4", overwrite=True)
    assert Path("you.mp4").read_bytes() == b"a performance"
    assert wall == Path("wall.png").read_bytes()


def test_commands_write_no_video_among_our_files(run, monkeypatch, capsys):
    monkeypatch.chdir(run)
    monkeypatch.delenv("AVATAR_DEBUG", raising=False)
    Path("capture/images/00000.png").write_bytes(b"a frame")
    for arguments in (
        ["render", ".", "--overwrite", "--out", "capture/images/00000.png"],
        ["render", ".", "--overwrite", "--out", "checkpoints/o.mp4"],
        ["reanimate", ".", "--driver", "capture", "--overwrite", "--out", "capture/o.mp4"],
    ):
        assert cli.main(arguments) == 1
        assert "the output file would lie" in capsys.readouterr().err
    assert Path("capture/images/00000.png").read_bytes() == b"a frame"
    with pytest.raises(OutputError, match="would lie in a capture"):
        render(".", "capture/images/00000.png", overwrite=True)


def test_training_takes_the_capture_of_a_run(run, monkeypatch):
    from avatar.app import workflow as create
    from avatar.config import load_preset

    seen = []
    monkeypatch.setattr(create, "_train", lambda capture, *_, **__: seen.append(capture))
    (run / "capture" / "transforms.json").write_text(json.dumps({"head_model": {}}))
    create.train_run(run, run.parent / "second", config=load_preset("cpu"))
    assert seen == [run / "capture"]
    with pytest.raises(AvatarError):
        create.train_run(run.parent, run.parent / "third", config=load_preset("cpu"))
