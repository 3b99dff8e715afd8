"""Sound of a video file: the track that players choose, and its transfer into a file that is being written.

Sound is always decoded, aligned with the pictures' clock, and encoded as AAC or Opus. Copied packets could only be
aligned to a packet's length (64 ms at 16 kHz), and gaps and late starts would be left to the player.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from avatar.base.errors import InputError
from avatar.media.streams import decoded, first_picture_time, in_players_order, opened

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer

SoundCodec = Literal["aac", "libopus"]
"""Encoders: AAC for mp4 and mov, Opus for webm."""
BIT_RATE = 128_000
"""Bits per second and channel."""
OTHER_RATE = 48000
"""Samples per second where the encoder does not support the source's rate."""
SLACK = 0.02
"""Seconds by which a track's timestamps may differ from the count of its samples before samples are moved: files round
times to milliseconds, and their clocks wander."""
LONGEST_SILENCE = 1.0
"""Seconds of silence made at a time."""


@dataclass(frozen=True)
class Sound:
    """What is heard beside a stretch of pictures."""

    source: Path | None
    """A video or sound file; None, or one without sound that can be decoded, for silence."""
    start: float = 0.0
    """Seconds after the first picture of `source` (for a file of sound alone: after its first sample) at which the
    stretch begins."""
    seconds: float | None = None
    """How long the stretch is, so that another can follow; None for all there is."""


def sound_track(path: Path) -> int | None:
    """Index of the stream whose sound is meant: the first that can be decoded, one marked `default` before others.

    None where the file has no such track. Raises InputError where the file cannot be opened.
    """
    with opened(path, need_video=False) as (container, _):
        candidates = [stream.index for stream in in_players_order(list(container.streams.audio))]
    return next((index for index in candidates if next(_pieces(path, index, OTHER_RATE, "mono"), None)), None)


@contextmanager
def carried_sound(
    out: OutputContainer, sounds: Sequence[Sound], codec: SoundCodec = "aac"
) -> Iterator[Callable[[float], None]]:
    """A function that carries sounds, one after another, into `out`, up to a time in seconds of `out`, so that the
    streams interleave. What was carried is complete in the file when the context ends.

    Sound from before a stretch's start is cut; sound that begins later, and gaps in it, are preceded by silence. Where
    no source has sound that can be decoded there is no track. Several are written at the first one's rate, in stereo
    where one of them is. `codec`: the encoder's name. Raises InputError where a source cannot be opened.
    """
    indices = [None if sound.source is None else sound_track(sound.source) for sound in sounds]
    tracks = list(zip(sounds, indices, strict=True))
    forms = [_written_form(s.source, i, codec) for s, i in tracks if s.source is not None and i is not None]
    if not forms:
        yield lambda until: None
        return
    rate, layout = forms[0][0], max(form[1] for form in forms)  # "stereo" comes after "mono"
    pieces = _in_a_row(tracks, rate, layout)
    first = next(pieces, None)
    if first is None:  # the sound ends before `start`
        yield lambda until: None
        return
    channels = len(first)
    target = out.add_stream(codec, rate=rate, layout=layout, bit_rate=BIT_RATE * channels)
    waiting, sent = first, 0

    def carry_until(seconds: float) -> None:
        nonlocal waiting, sent
        wanted = round(seconds * rate)
        while sent < wanted:
            if waiting.shape[1] == 0:
                waiting = next(pieces, waiting)
                if waiting.shape[1] == 0:
                    return
            part, waiting = waiting[:, : wanted - sent], waiting[:, wanted - sent :]
            out.mux(target.encode(_frame(part, sent, rate, layout)))
            sent += part.shape[1]

    yield carry_until
    out.mux(target.encode(None))


def _in_a_row(tracks: Sequence[tuple[Sound, int | None]], rate: int, layout: str) -> Iterator[np.ndarray]:
    """Float32 `[channels, samples]` (none empty) of all stretches: each cut or followed by silence to its length."""
    given, ends = 0, 0.0
    for sound, index in tracks:
        pieces = iter(())
        if sound.source is not None and index is not None:
            pieces = _placed(sound.source, index, rate, layout, sound.start)
        ends += sound.seconds or 0.0
        last = None if sound.seconds is None else round(ends * rate)
        for piece in pieces:
            fits = piece if last is None else piece[:, : last - given]
            if fits.shape[1] == 0:
                break
            given += fits.shape[1]
            yield fits
        while last is not None and given < last:
            silence = min(last - given, round(LONGEST_SILENCE * rate))
            given += silence
            yield np.zeros((1 if layout == "mono" else 2, silence), np.float32)


def _audio_stream(container: InputContainer, index: int) -> AudioStream:
    return next(stream for stream in container.streams.audio if stream.index == index)


def _written_form(path: Path, index: int, codec: SoundCodec) -> tuple[int, str]:
    """Samples per second and layout in which a track is written. They are asked of its first frame: what the container
    says is wrong for some kinds of AAC, which are decoded at twice the rate."""
    import av

    with opened(path, need_video=False) as (container, _):
        frame = next(decoded(container, _audio_stream(container, index), path))
    known = av.Codec(codec, "w").audio_rates or [OTHER_RATE]
    rate = frame.sample_rate if frame.sample_rate in known else OTHER_RATE
    return rate, "mono" if frame.layout.nb_channels == 1 else "stereo"


def _placed(path: Path, index: int, rate: int, layout: str, start: float) -> Iterator[np.ndarray]:
    """Float32 `[channels, samples]` (none empty), one after another from `start` on; silence where there is none."""
    origin = first_picture_time(path)
    given = 0
    following: int | None = None  # the place of the sample after the last one read
    for time, piece in _pieces(path, index, rate, layout):
        origin = time if origin is None else origin
        place = round((time - origin - start) * rate)
        if following is not None and abs(place - following) <= SLACK * rate:
            place = following
        following = place + piece.shape[1]
        piece = piece[:, max(given - place, 0) :]
        if piece.shape[1] == 0:
            continue
        while (gap := following - piece.shape[1] - given) > 0:
            silence = min(gap, round(LONGEST_SILENCE * rate))
            given += silence
            yield np.zeros((len(piece), silence), np.float32)
        given += piece.shape[1]
        yield piece


def _pieces(path: Path, index: int, rate: int, layout: str) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds on the file's own clock, float32 `[channels, samples]`) of a track, as far as it can be decoded."""
    import av.error

    resampler, form, time = None, None, None
    with opened(path, need_video=False) as (container, _):
        try:
            for frame in decoded(container, _audio_stream(container, index), path):
                if resampler is None or form != (frame.format.name, frame.layout.name, frame.sample_rate):
                    form = frame.format.name, frame.layout.name, frame.sample_rate
                    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
                time = (time or 0.0) if frame.time is None else frame.time
                frame.pts = None  # placed by `time`; the resampler must not stumble over odd timestamps
                for piece in resampler.resample(frame):
                    if piece.samples:
                        yield time, piece.to_ndarray()
                        time += piece.samples / rate
        except (InputError, av.error.FFmpegError, ValueError):
            return  # a form of sound that is not known here, at its beginning or from here on


def _frame(samples: np.ndarray, place: int, rate: int, layout: str) -> AudioFrame:
    import av

    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, place, Fraction(1, rate)
    return frame
