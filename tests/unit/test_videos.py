"""Videos written here are read back as they were; rotated, cut and odd files behave as documented."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar.errors import InputError
from avatar.videos import extract_audio, has_synthetic_tag, probe_video, read_video, write_video


def quarters(height: int = 64, width: int = 96) -> np.ndarray:
    """A picture whose four quarters are red, green, blue and grey."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (200, 30, 40)
    image[: height // 2, width // 2 :] = (20, 190, 60)
    image[height // 2 :, : width // 2] = (30, 50, 210)
    image[height // 2 :, width // 2 :] = (128, 128, 128)
    return image


def write_raw(path: Path, images: list[np.ndarray], *, rotation: int = 0, pts: list[int] | None = None) -> Path:
    """An mp4 straight through PyAV, at 25 fps or with `pts` in milliseconds, marked as rotated."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        stream.options = {"crf": "10"}
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


def write_sound(path: Path, codec: str, seconds: float = 1.0, rate: int = 16000) -> Path:
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.codec_context.layout = "mono"
        samples = (8000 * np.sin(np.arange(int(seconds * rate)) * 0.05)).astype(np.int16)
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def sound_seconds(path: Path) -> float:
    import av

    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        return sum(frame.samples for frame in file.decode(stream)) / stream.codec_context.sample_rate


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


@pytest.mark.parametrize(("codec", "name"), [("aac", "sound.m4a"), ("pcm_s16le", "sound.wav")])
def test_sound_is_carried_over_and_cut_to_the_pictures(tmp_path: Path, codec: str, name: str) -> None:
    # A wav has no pictures: mux one with the picture first, as a phone's clip has both.
    clip = write_video(tmp_path / "silent.mp4", [quarters()] * 25, 25, synthetic=False)
    sound = write_sound(tmp_path / name, codec, seconds=2.0)
    source = join(clip, sound, tmp_path / "source.mkv")
    assert probe_video(source).has_audio
    written = write_video(tmp_path / "out.mp4", [quarters()] * 25, 25, audio_from=source, synthetic=True)
    assert sound_seconds(written) == pytest.approx(1.0, abs=0.15)
    silent = write_video(tmp_path / "out2.mp4", [quarters()] * 5, 25, audio_from=clip, synthetic=True)
    assert not probe_video(silent).has_audio
    kept = extract_audio(source, tmp_path / "kept.m4a")
    assert kept is not None
    assert sound_seconds(kept) == pytest.approx(2.0, abs=0.15)
    assert extract_audio(clip, tmp_path / "none.m4a") is None


def join(video: Path, sound: Path, path: Path) -> Path:
    """Pictures of one file and sound of another, packets copied."""
    import av

    with av.open(str(video)) as a, av.open(str(sound)) as b, av.open(str(path), "w") as out:
        targets = [out.add_stream_from_template(s) for s in (a.streams.video[0], b.streams.audio[0])]
        for source, stream, target in ((a, a.streams.video[0], targets[0]), (b, b.streams.audio[0], targets[1])):
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = target
                    out.mux(packet)
    return path


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
