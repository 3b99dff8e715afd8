"""Media files: the container, its video stream, and decoded frames with timestamps on the file's own clock.

Errors of FFmpeg become InputError here. `video` and `sound` build on this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, overload

from avatar.base.errors import InputError
from avatar.base.limits import VIDEO_PIXELS, require_picture_size

if TYPE_CHECKING:
    from av import AudioFrame, VideoFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

AnyStream = TypeVar("AnyStream", bound="Stream")

CUT_SHARE = 0.95
"""A file that yields less than this share of the frames it declares counts as truncated."""
DEFAULT_RATE = 25.0
"""Frames per second of a file that declares none."""
SMALLEST_STEP = 1e-4
"""Least seconds between two frames."""
FIX_FILE = "copy or download the file again, or re-encode it, for example with: ffmpeg -i IN -c:v libx264 OUT.mp4"


@overload
def opened(
    path: Path, *, need_video: Literal[True] = True
) -> AbstractContextManager[tuple[InputContainer, VideoStream]]: ...


@overload
def opened(
    path: Path, *, need_video: Literal[False]
) -> AbstractContextManager[tuple[InputContainer, VideoStream | None]]: ...


@contextmanager
def opened(path: Path, *, need_video: bool = True) -> Iterator[tuple[InputContainer, VideoStream | None]]:
    """The container and its first true video stream that has a decoder (cover pictures of audio files do not count).

    Without `need_video` a file of sound alone will do, and the stream is then None.
    Raises InputError where the file is missing, cut or not a media file, holds no picture stream that can be decoded
    though one is needed, or has pictures larger than `limits.VIDEO_PIXELS`.
    """
    import av.error
    import av.stream

    path = Path(path)
    if not path.exists():
        raise InputError("the video does not exist", where=path, fix="check the path")
    if not path.is_file():
        raise InputError("the video is not a file", where=path, fix="give the path of a video file")
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except (av.error.FFmpegError, OSError) as error:
        cut = "a cut video: its index (moov) is missing" if _looks_like_mp4(path) else f"{_reason(error)}"
        raise InputError(
            "the file cannot be read as a video", where=path, expected="a complete video file", found=cut, fix=FIX_FILE
        ) from error
    with container:
        pictures = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        known = in_players_order(pictures)
        if not known and need_video:
            kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
            raise InputError(
                "the pictures are in a form that cannot be decoded" if pictures else "the file has no video stream",
                where=path,
                expected="a video" if not pictures else "a video in a common form such as H.264, HEVC, VP9 or AV1",
                found=kinds if not pictures else "a form without a decoder here",
                fix="give a video of a face" if not pictures else FIX_FILE,
            )
        if known:
            require_picture_size(known[0].width, known[0].height, VIDEO_PIXELS, where=path)
            known[0].thread_type = "AUTO"
        yield container, known[0] if known else None


def in_players_order(streams: list[AnyStream]) -> list[AnyStream]:
    """The streams for which there is a decoder, those first that the file marks to be played (`default`)."""
    import av.stream

    known = [stream for stream in streams if stream.codec_context is not None]
    return sorted(known, key=lambda stream: not stream.disposition & av.stream.Disposition.default)


@overload
def decoded(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[VideoFrame]: ...


@overload
def decoded(container: InputContainer, stream: AudioStream, path: Path) -> Iterator[AudioFrame]: ...


def decoded(
    container: InputContainer, stream: VideoStream | AudioStream, path: Path
) -> Iterator[VideoFrame | AudioFrame]:
    """Frames of a stream; damaged packets are skipped (the count shows it). Raises InputError for unreadable files."""
    import av.error

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from (frame for frame in stream.decode(packet) if not frame.is_corrupt)
        except (av.error.InvalidDataError, av.error.EOFError):
            continue
        except av.error.FFmpegError as error:
            raise InputError("the video cannot be decoded", where=path, found=_reason(error), fix=FIX_FILE) from error


def decoded_pictures(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[tuple[float, VideoFrame]]:
    """(seconds on the file's own clock, which its sound shares, increasing; frame) of a video stream.

    A frame without a time follows the one before it at the file's rate; one whose time does not come after (AVI cannot
    say when a frame is shown, only when it is decoded) is moved behind it. Raises InputError for an unreadable file.
    """
    rate = float(stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
    time = None
    for frame in decoded(container, stream, path):
        stamp = frame.time
        if stamp is None:
            stamp = 0.0 if time is None else time + 1 / rate
        time = stamp if time is None else max(stamp, time + SMALLEST_STEP)
        yield time, frame


def first_picture_time(path: Path) -> float | None:
    """Seconds on the file's own clock at which its first picture is shown; None for a file of sound alone."""
    with opened(path, need_video=False) as (container, stream):
        if stream is None:
            return None
        return next((time for time, _ in decoded_pictures(container, stream, path)), None)


def shown_frames(container: InputContainer, stream: VideoStream) -> int:
    """Frames that a file declares to show, 0 where it does not tell.

    Samples that an mp4's edit list hides (an editor cut the clip without encoding it again) are not shown: FFmpeg
    keeps those that others are decoded from in its index, marked, and leaves out the rest. Nor are an AVI's empty
    chunks, which stand for a picture that stays; its index, at the end of the file, has none of them.
    """
    if not stream.frames:
        return 0
    entries = stream.index_entries
    if container.format.name == "avi":
        whole = len(entries) > 0 and entries[-1].timestamp >= CUT_SHARE * stream.frames - 1
        return len(entries) if whole else stream.frames
    hidden = "mp4" in container.format.name.split(",")
    return sum(1 for entry in entries if not entry.is_discard) or stream.frames if hidden else stream.frames


def counted_frames(path: Path) -> tuple[int, float]:
    """Frames of a file that declares none, and the seconds they last (0 where their times do not tell), from its
    packets: nothing is decoded. Raises InputError where the file cannot be opened."""
    import av.error

    times, count = [], 0
    with opened(path) as (container, stream):
        try:
            for packet in container.demux(stream):
                count += packet.size > 0
                if packet.size and packet.pts is not None:
                    times.append(float(packet.pts * packet.time_base))
        except av.error.FFmpegError:
            pass  # what comes before the damage counts; reading the frames will say what is wrong
    span = max(times) - min(times) if times else 0.0
    return count, span * len(times) / max(len(times) - 1, 1)


def _looks_like_mp4(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(12)[4:8] == b"ftyp"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
