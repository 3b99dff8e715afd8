"""Numbers that cannot be: each is named with its range and what to do, before any file is opened."""

from __future__ import annotations

import math
import sys
import zlib
from pathlib import Path

import pytest

from avatar.app import cli
from avatar.base import limits
from avatar.base.errors import ConfigError, InputError
from avatar.base.limits import Limits, require_clip_part
from avatar.media.images import read_png
from avatar.media.video import probe_video

NONE = "none.mp4"
"""A file that is not there: a message that names it would mean that it was looked at first."""
SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.mark.parametrize(
    ("bounds", "right", "wrong"),
    [
        (Limits(1, 5), [1, 3, 5, 2.5], [0, 6, -1, math.nan, math.inf, -math.inf, 10**400, True, "3"]),
        (Limits(0, 1, above=True), [1, 1e-9], [0, 0.0, -1, 1.1, math.nan]),
        (Limits(64, 128, even=True), [64, 100, 128], [65, 63, 130]),
    ],
)
def test_limits(bounds, right, wrong):
    for value in right:
        bounds.require("it", value)
    bounds.require("it", None)
    for value in wrong:
        with pytest.raises(ConfigError, match="it is out of range"):
            bounds.require("it", value)


def test_a_message_has_the_range_the_value_and_what_to_do():
    with pytest.raises(InputError) as caught:
        Limits(1, 36_000, "frames", "make two").require("--frames", 0, error=InputError)
    assert str(caught.value).split("\n  ") == [
        "--frames is out of range",
        "expected: 1 to 36,000 frames",
        "found: 0",
        "what to do: make two",
    ]


def test_every_limit_says_what_to_do():
    for name, bounds in vars(limits).items():
        if isinstance(bounds, Limits):
            assert bounds.fix, name


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        *(
            ([*command, *flags], flags[0])
            for command in (["create", NONE, "--out", "x"], ["capture", NONE, "--out", "x"])
            for flags in (
                ["--size", "100000"],
                ["--size", "-2"],
                ["--start", "nan"],
                ["--start", "-1"],
                ["--end", "inf"],
                ["--end", "1e12"],
                ["--max-frames", "0"],
                ["--max-frames", "-5"],
                ["--max-frames", "19"],
                ["--max-frames", "1000000000"],
                ["--shot", "0"],
                ["--shot", "1000000000"],
            )
        ),
        (["create", NONE, "--out", "x", "--start", "5", "--end", "5"], "--end"),
        (["create", NONE, "--out", "x", "--minutes", "nan"], "--minutes"),
        (["create", NONE, "--out", "x", "--minutes", "inf"], "--minutes"),
        (["create", NONE, "--out", "x", "--minutes", "1e9"], "--minutes"),
        (["capture", "--image", "none.jpg", "--out", "x", "--size", "100000"], "--size"),
        (["train", "none", "--out", "x", "--minutes", "1e9"], "--minutes"),
        (["reanimate", "none", "--driver", NONE, "--out", "o.mp4", "--start", "nan"], "--start"),
        (["render", "none", "--out", "o.mp4", "--size", "100000"], "--size"),
        (["render", "none", "--out", "o.mp4", "--size", "0"], "--size"),
        (["render", "none", "--out", "o.mp4", "--frames", "0"], "--frames"),
        (["render", "none", "--out", "o.mp4", "--frames", "1000000000"], "--frames"),
        (["render", "none", "--out", "o.mp4", "--fps", "0"], "--fps"),
        (["render", "none", "--out", "o.mp4", "--fps", "1e-9"], "--fps"),
        (["render", "none", "--out", "o.mp4", "--fps", "nan"], "--fps"),
        (["render", "none", "--out", "o.mp4", "--fps", "1e9"], "--fps"),
        (["render", "none", "--out", "o.mp4", "--amplitude", "nan"], "--amplitude"),
        (["render", "none", "--out", "o.mp4", "--amplitude", "1e9", "--path", "still"], "--amplitude"),
        (["demo", "--out", "x", "--size", "63"], "--size"),
        (["demo", "--out", "x", "--size", "100000"], "--size"),
        (["demo", "--out", "x", "--frames", "1"], "--frames"),
        (["demo", "--out", "x", "--driver-frames", "1000000000"], "--driver-frames"),
        (["demo", "--out", "x", "--minutes", "0"], "--minutes"),
        (["demo", "--out", "x", "--seed", "-1"], "--seed"),
        (["demo", "--out", "x", "--seed", "99999999999999999999"], "--seed"),
    ],
)
def test_commands_check_their_numbers_first(arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AVATAR_DEBUG", raising=False)
    assert cli.main(arguments) == 1
    message = capsys.readouterr().err
    assert message.startswith("avatar: ")
    assert named in message
    assert "what to do: " in message
    assert NONE not in message
    assert "internal error" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_range_of_a_clip():
    require_clip_part(None, None)
    require_clip_part(1.0, 2.0, 20, 1)
    with pytest.raises(InputError, match="--end comes before --start"):
        require_clip_part(2.0, 1.0)


@pytest.mark.parametrize("flags", [["--size", "100000"], ["--frames", "0"], ["--fps", "nan"], ["--seed", "-1"]])
def test_the_script_for_synthetic_clips_checks_its_numbers_first(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import make_synthetic_clip

    monkeypatch.setattr(sys, "argv", ["make_synthetic_clip.py", "--out", str(tmp_path / "clip"), *flags])
    assert make_synthetic_clip.main() == 1
    assert f"{flags[0]} is out of range" in capsys.readouterr().err
    assert not (tmp_path / "clip").exists()


def huge_png(path: Path, width: int, height: int) -> Path:
    """A PNG file that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("side", [12_000, 50_000])
def test_pictures_and_videos_too_large_for_memory(tmp_path, side):
    from capture_tools.photo import read_photograph

    picture = huge_png(tmp_path / "huge.png", side, side)
    for read in (read_photograph, read_png, probe_video):
        with pytest.raises(InputError, match=r"huge\.png") as caught:
            read(picture)
        message = str(caught.value)
        assert "too large" in message or (side == 50_000 and read is not read_photograph)
