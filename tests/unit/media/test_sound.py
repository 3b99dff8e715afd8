"""Sound keeps its time to the pictures, whatever starts first; tracks that cannot be decoded are passed over."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tiny_media import clip_with_sound, flash_and_click, join, sound_seconds, write_sound

from avatar.media.sound import sound_track
from avatar.media.video import probe_video, read_video, write_video

WITHIN = 0.02
"""Seconds between flash and click."""
GREY = np.full((64, 96, 3), 90, np.uint8)


def written_again(source: Path, path: Path, start: float = 0.0) -> Path:
    """A clip's pictures from a time on, at 25 frames a second, with its sound: what a driven video does."""
    frames = [(time, image) for time, image in read_video(source) if time >= start - 1e-6]
    return write_video(
        path, [image for _, image in frames], 25, audio_from=source, audio_start=frames[0][0], synthetic=True
    )


@pytest.mark.parametrize(
    ("name", "codec", "picture_delay", "sound_delay"),
    [
        ("later_picture.mp4", "aac", 0.8, 0.0),
        ("later_sound.mp4", "aac", 0.0, 0.48),
        ("together_but_late.mp4", "aac", 10.0, 10.0),
        ("later_picture.mov", "mp3", 0.8, 0.0),
        ("later_sound.mkv", "pcm_s16le", 0.0, 0.48),
        ("later_picture.mkv", "aac", 0.8, 0.0),
        ("later_picture.ts", "aac", 0.8, 0.0),
        ("later_sound.mpg", "mp2", 0.0, 0.48),
    ],
)
@pytest.mark.parametrize("start", [0.0, 0.4])
def test_a_click_stays_with_its_flash(
    tmp_path: Path, name: str, codec: str, picture_delay: float, sound_delay: float, start: float
) -> None:
    source = clip_with_sound(tmp_path / name, codec, picture_delay=picture_delay, sound_delay=sound_delay)
    written = written_again(source, tmp_path / "out.mp4", start)
    flash, click = flash_and_click(written)
    assert flash == pytest.approx(0.8 - start, abs=1e-3)
    assert click == pytest.approx(flash, abs=WITHIN)
    # As long as the pictures, but for the last AAC frame.
    assert sound_seconds(written) == pytest.approx(2.0 - start, abs=0.025)


def test_a_click_stays_with_its_flash_at_a_variable_rate(tmp_path: Path) -> None:
    """The frames up to the flash last twice as long; played evenly, as a driver's are, the flash is where it was."""
    stamps = [2 * min(i, 20) + max(i - 20, 0) for i in range(40)]
    source = clip_with_sound(tmp_path / "clip.mp4", "aac", picture_delay=0.8, stamps=stamps)
    frames = list(read_video(source))
    steady = np.arange(round(frames[-1][0] * 25) + 1) / 25
    shown = np.searchsorted([time for time, _ in frames], steady + 1e-6, side="right") - 1
    written = write_video(
        tmp_path / "out.mp4", (frames[i][1] for i in shown), 25, audio_from=source, audio_start=0.0, synthetic=True
    )
    flash, click = flash_and_click(written)
    assert flash == pytest.approx(1.6, abs=1e-3)
    assert click == pytest.approx(flash, abs=WITHIN)


def test_gaps_in_the_sound_stay_gaps(tmp_path: Path) -> None:
    source = clip_with_sound(tmp_path / "clip.mkv", "pcm_s16le", gap=(0.1, 0.6))
    flash, click = flash_and_click(written_again(source, tmp_path / "out.mp4"))
    assert click == pytest.approx(flash, abs=WITHIN)


@pytest.mark.parametrize(("codec", "name"), [("aac", "sound.m4a"), ("pcm_s16le", "sound.wav")])
def test_sound_is_carried_over_and_cut_to_the_pictures(tmp_path: Path, codec: str, name: str) -> None:
    # A wav has no pictures: mux one with the picture first, as a phone's clip has both.
    clip = write_video(tmp_path / "silent.mp4", [GREY] * 25, 25, synthetic=False)
    sound = write_sound(tmp_path / name, codec, seconds=2.0)
    source = join([(clip, "video"), (sound, "audio")], tmp_path / "source.mkv")
    assert probe_video(source).has_audio
    for carried in (source, sound):
        written = write_video(tmp_path / "out.mp4", [GREY] * 25, 25, audio_from=carried, synthetic=True)
        assert sound_seconds(written) == pytest.approx(1.0, abs=0.07)  # one AAC frame at 16 kHz
    silent = write_video(tmp_path / "out2.mp4", [GREY] * 5, 25, audio_from=clip, synthetic=True)
    assert not probe_video(silent).has_audio
    assert not probe_video(silent).has_unreadable_sound
    over = write_video(tmp_path / "out3.mp4", [GREY] * 5, 25, audio_from=sound, audio_start=3.0, synthetic=True)
    assert not probe_video(over).has_audio


def as_spatial(path: Path) -> Path:
    """Rename the sound of an mp4 to the form of a phone's spatial sound, for which there is no decoder."""
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"apac").replace(b"esds", b"dapa"))
    return path


def test_a_track_that_cannot_be_decoded_is_passed_over(tmp_path: Path) -> None:
    clip = as_spatial(clip_with_sound(tmp_path / "spatial.mp4", "aac", tracks=2))
    info = probe_video(clip)
    assert (info.has_audio, info.has_unreadable_sound) == (False, True)
    silent = written_again(clip, tmp_path / "silent.mp4")
    assert not probe_video(silent).has_audio

    both = tmp_path / "both.mp4"
    content = clip_with_sound(both, "aac", tracks=2).read_bytes()
    both.write_bytes(content.replace(b"mp4a", b"apac", 1).replace(b"esds", b"dapa", 1))
    info = probe_video(both)
    assert (info.has_audio, info.has_unreadable_sound) == (True, False)
    assert sound_track(both) == 2
    flash, click = flash_and_click(written_again(both, tmp_path / "out.mp4"))
    assert click == pytest.approx(flash, abs=WITHIN)


def test_a_track_without_samples_is_passed_over(tmp_path: Path) -> None:
    clip = clip_with_sound(tmp_path / "clip.mkv", "aac", tracks=2, empty_first=True)
    assert probe_video(clip).has_audio
    assert sound_track(clip) == 2
    assert probe_video(written_again(clip, tmp_path / "out.mp4")).has_audio


@pytest.mark.parametrize(("layout", "rate"), [("5.1", 48000), ("stereo", 192000), ("mono", 6000), ("7.1", 44100)])
def test_sound_that_aac_does_not_take_as_it_is(tmp_path: Path, layout: str, rate: int) -> None:
    import av

    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=rate, layout=layout)
        channels = stream.codec_context.layout.nb_channels
        samples = np.full((1, rate * channels), 900, np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    written = write_video(tmp_path / "out.mp4", [GREY] * 20, 25, audio_from=sound, synthetic=True)
    assert sound_seconds(written) == pytest.approx(0.8, abs=0.03)
