"""The focal length that phones write beside the video track is found; damaged and foreign files say nothing."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from avatar.media.focal_metadata import focal_over_longer_side
from avatar.media.video import probe_video, write_video

APPLE = b"com.apple.quicktime.camera.focal_length.35mm_equivalent"


def clip(path: Path) -> Path:
    """A mov with its index at the end, as phones write it, so that the index can grow."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    return path


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def metadata(key: bytes, value: bytes, kind: int = 1) -> bytes:
    """A QuickTime `meta` box, as the QuickTime File Format describes it."""
    handler = box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    keys = box(b"keys", struct.pack(">II", 0, 1) + box(b"mdta", key))
    item = box(struct.pack(">I", 1), box(b"data", struct.pack(">II", kind, 0) + value))
    return box(b"meta", handler + keys + box(b"ilst", item))


def insert(path: Path, boxes: tuple[bytes, ...], extra: bytes) -> Path:
    """Append `extra` to the last of nested boxes at the end of the file."""
    content = bytearray(path.read_bytes())
    for kind in boxes:
        begin = content.index(kind) - 4
        size = struct.unpack_from(">I", content, begin)[0]
        struct.pack_into(">I", content, begin, size + len(extra))
    path.write_bytes(content[: begin + size] + extra + content[begin + size :])
    return path


@pytest.mark.parametrize("place", [(b"moov", b"trak"), (b"moov",)])
@pytest.mark.parametrize(
    ("value", "kind"), [(b"26", 1), (b"26.00mm", 1), (struct.pack(">f", 26.0), 23), (struct.pack(">i", 26), 21)]
)
def test_focal_length_of_a_phone(tmp_path: Path, place: tuple[bytes, ...], value: bytes, kind: int) -> None:
    path = insert(clip(tmp_path / "clip.mov"), place, metadata(APPLE, value, kind))
    assert probe_video(path).focal_35mm == pytest.approx(26)


@pytest.mark.parametrize("value", [b"-13", b"0", b"wide", b"99999", b"", b"\xff\xfe"])
def test_values_that_cannot_be(tmp_path: Path, value: bytes) -> None:
    path = insert(clip(tmp_path / "clip.mov"), (b"moov", b"trak"), metadata(APPLE, value))
    assert probe_video(path).focal_35mm is None


def test_files_that_say_nothing(tmp_path: Path) -> None:
    assert probe_video(clip(tmp_path / "clip.mov")).focal_35mm is None
    assert probe_video(clip(tmp_path / "clip.mkv")).focal_35mm is None
    other = insert(clip(tmp_path / "other.mov"), (b"moov",), metadata(b"com.apple.quicktime.make", b"26"))
    assert probe_video(other).focal_35mm is None


def test_damaged_metadata_is_passed_over(tmp_path: Path) -> None:
    whole = metadata(APPLE, b"26")
    for cut in (40, len(whole) - 12, len(whole) - 1):
        damaged = whole[:4] + b"meta" + whole[8:cut] + bytes(len(whole) - cut)
        path = insert(clip(tmp_path / f"{cut}.mov"), (b"moov", b"trak"), damaged)
        probe_video(path)  # whatever it says, it does not fail


def test_focal_length_named_as_in_exif(tmp_path: Path) -> None:
    import av

    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as out:
        out.metadata["FocalLengthIn35mmFilm"] = "28"
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    assert probe_video(path).focal_35mm == 28


def test_equivalent_is_measured_along_the_diagonal() -> None:
    assert focal_over_longer_side(36.0, 36, 24) == pytest.approx(1.0)  # 36 mm on film: as long as the film is wide
    assert focal_over_longer_side(26.0, 1920, 1080) == pytest.approx(26 / 37.71, rel=1e-3)
    assert focal_over_longer_side(26.0, 1080, 1920) == focal_over_longer_side(26.0, 1920, 1080)


def test_written_videos_say_nothing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "made.mp4", [np.zeros((32, 32, 3), np.uint8)], 25, synthetic=True)
    assert probe_video(path).focal_35mm is None
