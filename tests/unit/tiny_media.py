"""Small video and sound files with oddities, made through PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

SOUND_RATE = 48000
FLASH = 20
"""The frame that is white."""


def clip_with_sound(
    path: Path,
    codec: str,
    *,
    picture_delay: float = 0.0,
    sound_delay: float = 0.0,
    stamps: Sequence[int] = tuple(range(50)),
    gap: tuple[float, float] = (0.0, 0.0),
    tracks: int = 1,
    empty_first: bool = False,
) -> Path:
    """A dark clip with one white frame, and sound that clicks when it is shown.

    picture_delay, sound_delay: seconds by which a stream starts later than the file. stamps: when each frame is shown,
    in 1/25 s. gap: seconds of the sound that are left out. tracks: sound tracks, all alike; empty_first: but the first
    has no samples.
    """
    import av

    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg1video" if path.suffix == ".mpg" else "libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sounds = [out.add_stream(codec, rate=SOUND_RATE, layout="mono") for _ in range(tracks)]
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), 255 if index == FLASH else 20, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = stamp + round(picture_delay * 25), Fraction(1, 25)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        samples = np.zeros(3 * SOUND_RATE, np.int16)
        click = round((stamps[FLASH] / 25 + picture_delay - sound_delay) * SOUND_RATE)
        samples[click : click + 1920] = 25000 * np.sin(np.arange(1920) * 0.3)
        for sound in sounds[1:] if empty_first else sounds:
            for first in range(0, len(samples), 1024):
                if gap[0] * SOUND_RATE <= first < gap[1] * SOUND_RATE:
                    continue
                frame = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], format="s16", layout="mono")
                frame.sample_rate, frame.time_base = SOUND_RATE, Fraction(1, SOUND_RATE)
                frame.pts = first + round(sound_delay * SOUND_RATE)
                out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
    return path


def flash_and_click(path: Path) -> tuple[float, float]:
    """Seconds of a file at which its brightest frame is shown and its sound first becomes loud."""
    import av

    with av.open(str(path)) as file:
        flash = max(file.decode(file.streams.video[0]), key=lambda f: f.to_ndarray(format="gray").mean()).time
    with av.open(str(path)) as file:
        for frame in file.decode(file.streams.audio[0]):
            loud = np.abs(frame.to_ndarray()).max(axis=0) > 0.2
            if loud.any():
                return flash, frame.time + int(loud.argmax()) / frame.sample_rate
    raise AssertionError("no click in the sound")


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


def join(parts: Sequence[tuple[Path, str]], path: Path) -> Path:
    """One stream of each file, of type "video" or "audio", packets copied."""
    import av

    with av.open(str(path), "w") as out:
        files = [av.open(str(part)) for part, _ in parts]
        streams = [
            next(s for s in file.streams if s.type == kind) for file, (_, kind) in zip(files, parts, strict=True)
        ]
        targets = [out.add_stream_from_template(stream) for stream in streams]
        for file, stream, target in zip(files, streams, targets, strict=True):
            for packet in file.demux(stream):
                if packet.dts is not None:
                    packet.stream = target
                    out.mux(packet)
            file.close()
    return path


def trimmed(source: Path, path: Path, start: float, end: float) -> Path:
    """The pictures of a clip between two times without encoding them again, as editors on phones do: what precedes
    `start` in its group of pictures stays in the file, hidden by an edit list."""
    import av

    with av.open(str(source)) as file, av.open(str(path), "w", options={"movflags": "+faststart"}) as out:
        stream = file.streams.video[0]
        target = out.add_stream_from_template(stream)
        shift = round(start / stream.time_base)
        for packet in file.demux(stream):
            if packet.dts is not None and packet.pts * packet.time_base < end:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, target
                out.mux(packet)
    return path
