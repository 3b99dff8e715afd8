"""Reading and writing video files: upright frames with their timestamps, H.264 out, audio carried along.

Decoding and encoding are PyAV's (the FFmpeg libraries inside its wheel), so nothing has to be installed beside pip.
Frames are streamed one at a time: memory does not grow with the length of a clip. High dynamic range comes out as sRGB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.colours import is_plain, to_srgb
from avatar.conventions import SYNTHETIC_TAG
from avatar.errors import InputError
from avatar.files import atomic_write
from avatar.lens import read_focal_35mm

if TYPE_CHECKING:
    import av

CUT_SHARE = 0.95
"""A file whose decoder gives less than this share of the frames it declares counts as cut."""
HD_HEIGHT = 720
"""Files that do not name their colour matrix: BT.709 from this height on, BT.601 below (what players assume)."""
FIX_FILE = "copy or download the file again, or re-encode it, for example with: ffmpeg -i IN -c:v libx264 OUT.mp4"


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself, sizes after rotation."""

    width: int
    """Pixels, upright."""
    height: int
    """Pixels, upright."""
    fps: float
    """Average frames per second."""
    frame_count: int
    """Frames declared by the file, or counted from its packets."""
    duration: float
    """Seconds."""
    rotation: int
    """Degrees counter-clockwise (0, 90, 180, 270) by which stored frames are turned to stand upright."""
    has_audio: bool
    focal_35mm: float | None = None
    """Focal length in millimetres as of 35 mm film (by the diagonal), where the file says it."""


def probe_video(path: Path, *, rotate: int = 0) -> VideoInfo:
    """Size, rate and length of a video, found by decoding its first frame only.

    `rotate`: as in `read_video`; the size is the one after it.

    Raises InputError where the file is missing, cut, not a video, or holds no frame.
    """
    with _opened(path) as (container, stream):
        declared, average, duration = stream.frames, stream.average_rate or stream.guessed_rate, _duration(stream)
        has_audio = bool(container.streams.audio)
        focal = read_focal_35mm(Path(path), {**container.metadata, **stream.metadata})
        first = next(_decoded(container, stream, path), None)
        if first is None:
            raise InputError("the video holds no frames", where=path, fix=FIX_FILE)
        rotation = _quarter_turns(first) * 90
        width, height = (first.width, first.height) if (rotation + rotate) % 180 == 0 else (first.height, first.width)
    if declared <= 0:
        with _opened(path) as (container, stream):
            declared = sum(1 for packet in container.demux(stream) if packet.size)
    fps = float(average) if average else 25.0
    return VideoInfo(width, height, fps, declared, duration or declared / fps, rotation, has_audio, focal)


def read_video(
    path: Path, *, start: float | None = None, end: float | None = None, every: int = 1, rotate: int = 0
) -> Iterator[tuple[float, np.ndarray]]:
    """Decode a video frame by frame.

    `start` and `end` are seconds from the first frame (end exclusive); `every` keeps each n-th frame of that range.
    `rotate`: degrees (0, 90, 180, 270) by which the frames are turned clockwise, after what the file itself says.
    Yields (timestamp in seconds from the first frame, uint8 `[H, W, 3]` sRGB, upright).
    Raises InputError where the file is missing, holds no video stream or no frame, or is cut: its index is missing, or
    its decoder stops well before the number of frames it declares (checked when the range reaches the end).
    """
    with _opened(path) as (container, stream):
        declared, declared_seconds = stream.frames, _duration(stream)
        read = given = 0
        first_time, time = None, 0.0
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        in_range = 0
        for frame in _decoded(container, stream, path):
            stamp = frame.time if frame.time is not None else read / rate
            first_time = stamp if first_time is None else first_time
            time = stamp - first_time
            read += 1
            if start is not None and time < start - 1e-6:
                continue
            if end is not None and time >= end - 1e-6:
                return
            if in_range % every == 0:
                given += 1
                yield time, turned(_upright_rgb(frame), rotate)
            in_range += 1
        if read == 0:
            raise InputError("the video holds no frames", where=path, fix=FIX_FILE)
        if declared and read < CUT_SHARE * declared - 1:
            raise InputError(
                "the video is cut", where=path, expected=f"{declared} frames", found=f"{read} frames", fix=FIX_FILE
            )
        if not declared and declared_seconds and time + 1.0 < CUT_SHARE * declared_seconds:
            raise InputError(
                "the video is cut",
                where=path,
                expected=f"{declared_seconds:.1f} s",
                found=f"{time:.1f} s",
                fix=FIX_FILE,
            )
        if given == 0:
            raise InputError(
                "no frame lies between the start and end asked for",
                where=path,
                expected=f"a range within 0 to {time:.2f} s",
                found=f"{start or 0:g} to {'the end' if end is None else f'{end:g} s'}",
                fix="choose another --start or --end",
            )


def turned(image: np.ndarray, rotate: int) -> np.ndarray:
    """`[H, W, 3]` turned clockwise by `rotate` degrees, a multiple of 90."""
    return np.ascontiguousarray(np.rot90(image, -rotate // 90)) if rotate % 360 else image


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    audio_from: Path | None = None,
    audio_start: float = 0.0,
    synthetic: bool,
) -> Path:
    """Write uint8 `[H, W, 3]` frames as H.264 (yuv420p, BT.709, CRF 17) in an mp4, atomically.

    Odd sizes are padded by repeating the last row or column. `audio_from`: the first audio stream of that video or
    sound file, from `audio_start` seconds on, cut to the length of the pictures; files without audio are accepted.
    `synthetic=True` marks the file's metadata (title, comment, description): a rendered person, not a filmed one.
    Raises OutputError when the file cannot be written, ValueError when there is no frame or sizes differ.
    """
    import av

    def write(part: Path) -> None:
        iterator = iter(frames)
        first = next(iterator, None)
        if first is None:
            raise ValueError("write_video needs at least one frame")
        height, width = first.shape[:2]
        rate = Fraction(fps).limit_denominator(1001)
        with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as out:
            _tag(out, path, synthetic)
            stream = out.add_stream("libx264", rate=rate)
            stream.width, stream.height = width + width % 2, height + height % 2
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "17", "preset": "fast"}
            context = stream.codec_context
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = 1, 1, 1, 1
            with _audio_copier(out, audio_from, audio_start) as copy_audio_until:
                for count, image in enumerate(_chain(first, iterator)):
                    if image.shape != first.shape or image.dtype != np.uint8:
                        raise ValueError(f"frame {count} is {image.dtype} {image.shape}, the first was {first.shape}")
                    padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                    frame = av.VideoFrame.from_ndarray(padded, format="rgb24")
                    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
                    frame.pts = count
                    frame.time_base = 1 / rate
                    out.mux(stream.encode(frame))
                    copy_audio_until((count + 1) / float(rate))
                out.mux(stream.encode(None))

    return atomic_write(Path(path), write)


def extract_audio(video: Path, path: Path) -> Path | None:
    """Keep a video's sound as AAC in an mp4 container (`.m4a`), or return None where it has none.

    Raises InputError when the video cannot be opened, OutputError when `path` cannot be written.
    """
    import av

    with _opened(video) as (container, _):
        if not container.streams.audio:
            return None

    def write(part: Path) -> None:
        with av.open(str(part), "w", format="mp4") as out, _audio_copier(out, video, 0.0) as copy_audio_until:
            copy_audio_until(float("inf"))

    return atomic_write(Path(path), write)


def has_synthetic_tag(path: Path) -> bool:
    """Whether a file's metadata says that it shows a rendered avatar."""
    with _opened(path) as (container, _):
        return any(SYNTHETIC_TAG in str(value).lower() for value in container.metadata.values())


@contextmanager
def _opened(
    path: Path, *, need_video: bool = True
) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream | None]]:
    """The container and its first true video stream (cover pictures of audio files do not count).

    Without `need_video` a file of sound alone will do, and the stream is then None.
    """
    import av

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
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams and need_video:
            kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
            raise InputError(
                "the file has no video stream",
                where=path,
                expected="a video",
                found=kinds,
                fix="give a video of a face",
            )
        if streams:
            streams[0].thread_type = "AUTO"
        yield container, streams[0] if streams else None


def _decoded(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, path: Path
) -> Iterator[av.VideoFrame]:
    """Frames of a stream; damaged packets are skipped (the count shows it), an unreadable file is an InputError."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from (frame for frame in packet.decode() if not frame.is_corrupt)
        except (av.error.InvalidDataError, av.error.EOFError):
            continue
        except av.error.FFmpegError as error:
            raise InputError("the video cannot be decoded", where=path, found=_reason(error), fix=FIX_FILE) from error


def _upright_rgb(frame: av.VideoFrame) -> np.ndarray:
    # FFmpeg converts as BT.601 unless told: HD files would come out with a green or red cast.
    transfer, primaries = int(frame.color_trc), int(frame.color_primaries)
    plain = is_plain(transfer, primaries)
    named = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "SMPTE170M", 7: "SMPTE240M", 9: "BT2020", 10: "BT2020"}
    unnamed = "BT2020" if not plain else "ITU709" if min(frame.width, frame.height) >= HD_HEIGHT else "ITU601"
    is_yuv = frame.format.name.startswith("yuv") or frame.format.name.startswith("nv")
    matrix = {"src_colorspace": named.get(int(frame.colorspace), unnamed)} if is_yuv else {}
    if plain:
        image = frame.to_ndarray(format="rgb24", **matrix)
    else:
        image = to_srgb(frame.to_ndarray(format="rgb48le", **matrix), transfer, primaries)
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _quarter_turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


def _duration(stream: av.video.stream.VideoStream) -> float | None:
    return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None


def _looks_like_mp4(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(12)[4:8] == b"ftyp"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _tag(out: Any, path: Path, synthetic: bool) -> None:
    if synthetic:
        out.metadata["title"] = f"{Path(path).stem} ({SYNTHETIC_TAG})"
        out.metadata["comment"] = f"{SYNTHETIC_TAG}: a rendered avatar, not a recording of a person"
        out.metadata["description"] = f"{SYNTHETIC_TAG} video made with flame-avatar"


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


@contextmanager
def _audio_copier(out: Any, source: Path | None, start: float) -> Iterator[Any]:
    """A function that carries audio into `out` up to a time in seconds, so that the streams interleave.

    AAC is copied packet by packet; anything else is decoded and encoded as AAC.
    """
    if source is None:
        yield lambda until: None
        return
    with _opened(source, need_video=False) as (container, _):
        if not container.streams.audio:
            yield lambda until: None
            return
        stream = container.streams.audio[0]
        copy = stream.codec_context.name == "aac"
        target = (
            out.add_stream_from_template(stream)
            if copy
            else out.add_stream("aac", rate=stream.codec_context.sample_rate)
        )
        packets = _copied(container, stream, target, start) if copy else _encoded(container, stream, target, start)
        pending: list[tuple[float, av.Packet]] = []

        def copy_until(seconds: float) -> None:
            while True:
                if not pending:
                    item = next(packets, None)
                    if item is None:
                        return
                    pending.append(item)
                if pending[0][0] >= seconds:
                    return
                out.mux(pending.pop()[1])

        yield copy_until


def _copied(container: Any, stream: Any, target: Any, start: float) -> Iterator[tuple[float, Any]]:
    shift = None
    for packet in container.demux(stream):
        if packet.pts is None or float(packet.pts * packet.time_base) < start:
            continue
        shift = round(start / packet.time_base) if shift is None else shift
        packet.pts -= shift
        packet.dts = packet.pts
        packet.stream = target
        yield float(packet.pts * packet.time_base), packet


def _encoded(container: Any, stream: Any, target: Any, start: float) -> Iterator[tuple[float, Any]]:
    import av

    rate = stream.codec_context.sample_rate
    resampler = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=rate)
    samples = 0
    for frame in container.decode(stream):
        if frame.time is not None and frame.time < start:
            continue
        for piece in resampler.resample(frame):
            piece.pts = samples
            piece.time_base = Fraction(1, rate)
            samples += piece.samples
            for packet in target.encode(piece):
                yield float(packet.pts * packet.time_base), packet
    for packet in target.encode(None):
        yield float(packet.pts * packet.time_base), packet
