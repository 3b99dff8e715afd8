"""Videos written here are read back as they were; rotated, cut and odd files behave as documented."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tiny_media import join, trimmed, write_sound

from avatar.base.errors import InputError
from avatar.media.video import has_synthetic_tag, probe_video, read_video, write_video


def quarters(height: int = 64, width: int = 96) -> np.ndarray:
    """A picture whose four quarters are red, green, blue and grey."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (200, 30, 40)
    image[: height // 2, width // 2 :] = (20, 190, 60)
    image[height // 2 :, : width // 2] = (30, 50, 210)
    image[height // 2 :, width // 2 :] = (128, 128, 128)
    return image


def write_raw(
    path: Path,
    images: list[np.ndarray],
    *,
    codec: str = "libx264",
    rotation: int = 0,
    pts: list[int] | None = None,
    pixel: tuple[int, int] = (1, 1),
) -> Path:
    """A video straight through PyAV, at 25 fps or with `pts` in milliseconds, turned, with pixels shaped `pixel`."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        stream.options = {"crf": "10"} if codec == "libx264" else {"qscale": "2"}
        stream.codec_context.sample_aspect_ratio = Fraction(*pixel)
        if pts is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[index], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_colours_sizes_and_times_survive(tmp_path: Path) -> None:
    image = quarters(63, 95)  # odd: padded by one row and column
    path = write_video(tmp_path / "clip.mp4", [image] * 30, 29.97, synthetic=False)
    info = probe_video(path)
    assert (info.width, info.height, info.frame_count, info.rotation) == (96, 64, 30, 0)
    assert info.fps == pytest.approx(29.97, abs=0.01)
    assert info.duration == pytest.approx(30 / 29.97, abs=0.01)
    frames = list(read_video(path))
    times = np.array([time for time, _ in frames])
    np.testing.assert_allclose(times, np.arange(30) / 29.97, atol=1e-3)
    read = frames[7][1]
    assert read.dtype == np.uint8
    for row, column in ((10, 10), (10, 80), (50, 10), (50, 80)):
        assert np.abs(read[row, column].astype(int) - image[row, column]).max() <= 4
    assert not list(tmp_path.glob(".*part*"))


def test_high_definition_uses_its_own_colour_matrix(tmp_path: Path) -> None:
    image = np.full((720, 1280, 3), (200, 30, 40), np.uint8)
    ours = next(read_video(write_video(tmp_path / "tagged.mp4", [image], 25, synthetic=False)))[1]
    assert np.abs(ours[300, 300].astype(int) - (200, 30, 40)).max() <= 4


def test_synthetic_videos_say_so(tmp_path: Path) -> None:
    real = write_video(tmp_path / "real.mp4", [quarters()] * 2, 25, synthetic=False)
    made = write_video(tmp_path / "made.mp4", [quarters()] * 2, 25, synthetic=True)
    assert has_synthetic_tag(made)
    assert not has_synthetic_tag(real)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotated_files_come_out_upright(tmp_path: Path, rotation: int) -> None:
    stored = quarters()
    path = write_raw(tmp_path / "turned.mp4", [stored] * 3, rotation=rotation)
    upright = np.rot90(stored, rotation // 90)  # FFmpeg's angle is counter-clockwise
    info = probe_video(path)
    assert (info.height, info.width) == upright.shape[:2]
    assert info.rotation == rotation % 360
    _, read = next(read_video(path))
    assert read.shape == upright.shape
    inner = (slice(6, None, 12), slice(6, None, 12))
    assert np.abs(read[inner].astype(int) - upright[inner]).mean() < 6


def test_variable_rate_keeps_the_timestamps(tmp_path: Path) -> None:
    stamps = [0, 40, 120, 160, 400]
    path = write_raw(tmp_path / "variable.mp4", [quarters()] * 5, pts=stamps)
    np.testing.assert_allclose([time for time, _ in read_video(path)], np.array(stamps) / 1000, atol=2e-3)


def test_range_and_stride(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [quarters()] * 50, 25, synthetic=False)
    times = [time for time, _ in read_video(path, start=0.4, end=1.2, every=3)]
    np.testing.assert_allclose(times, np.arange(10, 30, 3) / 25, atol=1e-6)
    with pytest.raises(InputError, match="no frame lies between"):
        list(read_video(path, start=5.0))


def test_gif_is_read(tmp_path: Path) -> None:
    import imageio.v3 as iio

    iio.imwrite(tmp_path / "clip.gif", np.stack([quarters()] * 4 + [quarters()[::-1]] * 4), duration=80, loop=0)
    frames = [image for _, image in read_video(tmp_path / "clip.gif")]
    assert len(frames) >= 2
    assert frames[0].shape == (64, 96, 3)
    assert np.abs(frames[0][10, 10].astype(int) - (200, 30, 40)).max() < 12


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    for name, codec in (("sound.wav", "pcm_s16le"), ("sound.m4a", "aac")):
        path = write_sound(tmp_path / name, codec)
        for use in (probe_video, lambda p: list(read_video(p))):
            with pytest.raises(InputError, match="no video stream") as caught:
                use(path)
            assert "found: audio" in str(caught.value)


def noise_clip(path: Path) -> Path:
    rng = np.random.default_rng(0)
    return write_video(path, (rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(60)), 25, synthetic=False)


def test_cut_files_are_refused(tmp_path: Path) -> None:
    whole = noise_clip(tmp_path / "whole.mp4").read_bytes()
    # Index at the front (as written here): the decoder simply stops early.
    early = tmp_path / "early.mp4"
    early.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="the video is cut") as caught:
        list(read_video(early))
    assert "expected: 60 frames" in str(caught.value)
    # Index at the end, as phones write it: nothing can be read.
    write_raw(tmp_path / "phone.mp4", [quarters()] * 40)
    content = (tmp_path / "phone.mp4").read_bytes()
    assert content.index(b"moov") > len(content) // 2
    (tmp_path / "phone.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="moov"):
        probe_video(tmp_path / "phone.mp4")


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        probe_video(tmp_path / "absent.mp4")
    with pytest.raises(InputError, match="not a file"):
        probe_video(tmp_path)
    (tmp_path / "text.mp4").write_text("not a video" * 100)
    with pytest.raises(InputError, match="cannot be read as a video"):
        probe_video(tmp_path / "text.mp4")
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read as a video"):
        list(read_video(tmp_path / "empty.mp4"))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [quarters()] * 3, 25, synthetic=False)
    before = path.read_bytes()

    def breaks():
        yield quarters()
        raise RuntimeError("renderer failed")

    with pytest.raises(RuntimeError, match="renderer failed"):
        write_video(path, breaks(), 25, synthetic=False)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(path, [], 25, synthetic=False)
    with pytest.raises(ValueError, match="frame 1"):
        write_video(path, [quarters(), quarters(32, 32)], 25, synthetic=False)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
@pytest.mark.parametrize(("pixel", "size"), [((32, 15), (205, 64)), ((1, 2), (96, 128)), ((64, 45), (137, 64))])
def test_pixels_come_out_square(tmp_path: Path, name: str, pixel: tuple[int, int], size: tuple[int, int]) -> None:
    path = write_raw(tmp_path / name, [quarters()] * 12, pixel=pixel)
    info = probe_video(path)
    assert (info.width, info.height) == size
    _, read = next(read_video(path))
    width, height = size
    assert read.shape == (height, width, 3)
    for row, column in ((0.2, 0.2), (0.2, 0.8), (0.8, 0.2), (0.8, 0.8)):
        colour = quarters()[int(64 * row), int(96 * column)].astype(int)
        assert np.abs(read[int(height * row), int(width * column)] - colour).max() <= 4


@pytest.mark.parametrize("pixel", [(1280, 1279), (9, 1), (1, 200)])
def test_pixels_that_are_square_enough_or_cannot_be(tmp_path: Path, pixel: tuple[int, int]) -> None:
    path = write_raw(tmp_path / "clip.mp4", [quarters()] * 3, pixel=pixel)
    info = probe_video(path)
    assert (info.width, info.height) == (96, 64)
    assert next(read_video(path))[1].shape == (64, 96, 3)


def test_wide_pixels_of_a_turned_clip(tmp_path: Path) -> None:
    """The shape is that of the stored pixels: turned by 90 degrees they are high."""
    path = write_raw(tmp_path / "clip.mp4", [quarters()] * 3, rotation=90, pixel=(2, 1))
    info = probe_video(path)
    assert (info.width, info.height) == (64, 192)
    assert next(read_video(path))[1].shape == (192, 64, 3)


def test_a_trimmed_clip_is_whole(tmp_path: Path) -> None:
    """An edit list hides a third of its samples; a cut one is refused all the same, by the frames it should show."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (48, 48, 3), np.uint8) for _ in range(100)]
    path = trimmed(write_raw(tmp_path / "a.mp4", images), tmp_path / "trimmed.mp4", start=33 / 25, end=79.5 / 25)
    assert probe_video(path).frame_count == 47
    times = [time for time, _ in read_video(path)]
    np.testing.assert_allclose(times, np.arange(47) / 25, atol=1e-3)
    content = path.read_bytes()
    path.write_bytes(content[: 3 * len(content) // 4])
    with pytest.raises(InputError, match="the video is cut") as caught:
        list(read_video(path))
    assert "expected: 47 frames" in str(caught.value)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_an_avi_whose_pictures_stay_is_whole(tmp_path: Path, codec: str) -> None:
    """Such a file declares a frame for each empty chunk, too."""
    path = write_raw(tmp_path / "a.avi", [quarters()] * 40, codec=codec, pts=[120 * i for i in range(40)])
    times = [time for time, _ in read_video(path)]
    assert len(times) == 40 == probe_video(path).frame_count
    assert (np.diff(times) > 0).all()
    assert times[-1] == pytest.approx(39 * 0.12, abs=0.3)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"idx1") // 2])
    with pytest.raises(InputError, match="the video is cut"):
        list(read_video(path))


@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts"])
def test_rate_and_length_of_a_file_that_declares_neither(tmp_path: Path, name: str) -> None:
    path = write_raw(tmp_path / name, [quarters()] * 40, pts=[120 * i for i in range(40)])
    info = probe_video(path)
    assert info.frame_count == 40
    assert info.fps == pytest.approx(1 / 0.12, rel=0.01)
    assert info.duration == pytest.approx(4.8, abs=0.05)


def test_a_picture_track_that_cannot_be_decoded_is_passed_over(tmp_path: Path) -> None:
    first = write_raw(tmp_path / "first.mp4", [np.full((32, 32, 3), 90, np.uint8)] * 3)
    second = write_raw(tmp_path / "second.mp4", [quarters()] * 5)
    both = join([(first, "video"), (second, "video")], tmp_path / "both.mp4")
    content = both.read_bytes()
    codec = content.index(b"avc1", content.index(b"stsd"))  # the file's kind has that name, too
    unknown = content[:codec] + content[codec:].replace(b"avc1", b"xdpt", 1).replace(b"avcC", b"xdpC", 1)
    both.write_bytes(unknown)
    info = probe_video(both)
    assert (info.width, info.height, info.frame_count) == (96, 64, 5)
    assert len(list(read_video(both))) == 5
    both.write_bytes(unknown.replace(b"avc1", b"xdpt").replace(b"avcC", b"xdpC"))
    with pytest.raises(InputError, match="a form that cannot be decoded"):
        probe_video(both)


def test_the_track_marked_to_be_played_is_taken(tmp_path: Path) -> None:
    """A preview comes first in the file; its track is not enabled."""
    preview = write_raw(tmp_path / "preview.mp4", [np.full((32, 32, 3), 90, np.uint8)] * 3)
    clip = write_raw(tmp_path / "clip.mp4", [quarters()] * 5)
    both = join([(preview, "video"), (clip, "video")], tmp_path / "both.mp4")
    content = bytearray(both.read_bytes())
    content[content.index(b"tkhd") + 7] &= 0xFE
    content[content.rindex(b"tkhd") + 7] |= 1
    both.write_bytes(content)
    assert probe_video(both).frame_count == 5


def test_frames_have_the_size_of_the_first(tmp_path: Path) -> None:
    """Recordings of calls change their size on the way."""
    path = write_raw(tmp_path / "small.ts", [quarters(32, 48)] * 5)
    path.write_bytes(write_raw(tmp_path / "large.ts", [quarters()] * 5).read_bytes() + path.read_bytes())
    shapes = [image.shape for _, image in read_video(path)]
    assert len(shapes) >= 8
    assert set(shapes) == {(64, 96, 3)}
