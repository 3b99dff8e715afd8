"""Reading and writing video files: upright frames of square pixels with their timestamps, H.264 out, with sound.

Decoding and encoding are PyAV's (the FFmpeg libraries inside its wheel), so nothing has to be installed beside pip.
Frames are streamed one at a time: memory does not grow with the length of a clip. HDR is converted to sRGB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.base.conventions import SYNTHETIC_TAG
from avatar.base.errors import InputError
from avatar.base.files import atomic_write
from avatar.base.provenance import Source, provenance_line
from avatar.media.focal_metadata import read_focal_35mm
from avatar.media.hdr import is_plain, to_srgb
from avatar.media.manifest import attach_manifest
from avatar.media.sound import Sound, SoundCodec, carried_sound, sound_track
from avatar.media.streams import (
    CUT_SHARE,
    DEFAULT_RATE,
    FIX_FILE,
    counted_frames,
    decoded,
    decoded_pictures,
    opened,
    shown_frames,
)

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.stream import VideoStream

HD_HEIGHT = 720
"""Files that do not name their colour matrix: BT.709 from this height on, BT.601 below (what players assume)."""
LONGEST_PIXEL = 4.0
"""A pixel's longer side over its shorter one; files that say more than this are wrong. Old television has up to 2.2."""
SQUARE_ENOUGH = 0.01
"""Pixels this near to square are taken as square: nobody sees the difference, and scaling would cost sharpness."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself, sizes after rotation and in square pixels: those of the frames read."""

    width: int
    """Pixels, upright, square."""
    height: int
    """Pixels, upright, square."""
    fps: float
    """Average frames per second."""
    frame_count: int
    """Frames that the file declares to show, or counted from its packets."""
    duration: float
    """Seconds."""
    rotation: int
    """Degrees counter-clockwise (0, 90, 180, 270) by which stored frames are rotated to be upright."""
    has_audio: bool
    """It has sound that can be decoded."""
    focal_35mm: float | None = None
    """Focal length in millimetres as of 35 mm film (by the diagonal), where the file says it."""
    has_unreadable_sound: bool = False
    """It has sound tracks, and none of them can be decoded."""


@dataclass(frozen=True)
class VideoForm:
    """How a kind of video file is written."""

    container: str
    codec: str
    pixels: str
    sound: SoundCodec
    alpha: bool
    options: dict[str, str]
    container_options: dict[str, str]


FORMS = {
    ".mp4": VideoForm(
        "mp4", "libx264", "yuv420p", "aac", False, {"crf": "17", "preset": "fast"}, {"movflags": "+faststart"}
    ),
    ".webm": VideoForm(
        "webm", "libvpx-vp9", "yuva420p", "libopus", True, {"crf": "20", "b": "0", "row-mt": "1", "cpu-used": "4"}, {}
    ),
    ".mov": VideoForm("mov", "prores_ks", "yuva444p10le", "aac", True, {"profile": "4444"}, {}),
}
"""Endings of video files that are written."""


def probe_video(path: Path, *, rotate: int = 0) -> VideoInfo:
    """Size, rate and length of a video, found by decoding its first frame, and its first sound, only.

    `rotate`: as in `read_video`; the size is the one after it.

    Raises InputError where the file is missing, cut, not a video, or holds no frame.
    """
    with opened(path) as (container, stream):
        average, duration = stream.average_rate or stream.guessed_rate, _duration(stream)
        declared, sounds = shown_frames(container, stream), len(container.streams.audio)
        focal = read_focal_35mm(Path(path), {**container.metadata, **stream.metadata})
        first = next(decoded(container, stream, path), None)
        if first is None:
            raise InputError("the video holds no frames", where=path, fix=FIX_FILE)
        rotation = _quarter_turns(first) * 90
        width, height = _square_size(first, stream)
    width, height = (width, height) if (rotation + rotate) % 180 == 0 else (height, width)
    has_audio = sound_track(path) is not None if sounds else False
    fps = float(average) if average else DEFAULT_RATE
    if declared <= 0:  # then what it says about rate and length is a guess from its beginning, too
        declared, measured = counted_frames(path)
        duration, fps = (measured, declared / measured) if measured > 0 else (duration, fps)
    duration = duration or declared / fps
    silent = bool(sounds) and not has_audio
    return VideoInfo(width, height, fps, declared, duration, rotation, has_audio, focal, silent)


def read_video(
    path: Path, *, start: float | None = None, end: float | None = None, every: int = 1, rotate: int = 0
) -> Iterator[tuple[float, np.ndarray]]:
    """Decode a video frame by frame.

    `start` and `end` are seconds from the first frame (end exclusive); `every` keeps each n-th frame of that range.
    `rotate`: degrees (0, 90, 180, 270) by which frames are rotated clockwise, after the file's own rotation.
    Yields (timestamp in seconds from the first frame, uint8 `[H, W, 3]` sRGB, upright, square pixels). All frames have
    the size of the file's first one.
    Raises InputError where the file is missing, holds no video stream or no frame, or is cut: its index is missing, or
    its decoder stops well before the number of frames it declares (checked when the range reaches the end).
    """
    with opened(path) as (container, stream):
        declared, declared_seconds = shown_frames(container, stream), _duration(stream)
        read = given = 0
        first_time, time, size = None, 0.0, None
        in_range = 0
        for stamp, frame in decoded_pictures(container, stream, path):
            first_time = stamp if first_time is None else first_time
            size = _square_size(frame, stream) if size is None else size
            time = stamp - first_time
            read += 1
            if start is not None and time < start - 1e-6:
                continue
            if end is not None and time >= end - 1e-6:
                return
            if in_range % every == 0:
                given += 1
                yield time, turned(_upright_rgb(frame, *size), rotate)
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
    """Image `[H, W, 3]` rotated clockwise by `rotate` degrees, a multiple of 90."""
    return np.ascontiguousarray(np.rot90(image, -rotate // 90)) if rotate % 360 else image


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    audio_from: Path | None = None,
    audio_start: float = 0.0,
    synthetic: bool,
    source: Source | None = Source.RENDERED,
) -> Path:
    """Write uint8 `[H, W, 3]` frames, or `[H, W, 4]` ones with straight alpha, atomically; the ending says how.

    `.mp4`: H.264 (yuv420p, BT.709, CRF 17), without alpha. `.webm`: VP9 and `.mov`: ProRes 4444, both with alpha.
    Odd sizes are padded by repeating the last row or column. `audio_from`: the sound of that video or sound file, from
    `audio_start` seconds after its first picture on, cut to the length of the pictures written; files without sound
    that can be decoded are accepted (`VideoInfo.has_audio` tells).
    `synthetic=True` marks the file's metadata (title, comment, description): a rendered person, not a filmed one.
    It is signed then, where a certificate is given (`manifest`), as coming from `source`; None for a part of a video.
    Raises OutputError when the file cannot be written, ValueError when there is no frame or sizes differ.
    """
    import av

    form = FORMS[Path(path).suffix.lower()]

    def write(part: Path) -> None:
        iterator = iter(frames)
        first = next(iterator, None)
        if first is None:
            raise ValueError("write_video needs at least one frame")
        height, width, channels = first.shape
        if channels == 4 and not form.alpha:
            raise ValueError(f"{form.container} holds no alpha")
        rate = written_rate(fps)
        with av.open(str(part), "w", format=form.container, options=form.container_options) as out:
            tag_synthetic(out, path, synthetic)
            stream = out.add_stream(form.codec, rate=rate)
            stream.width, stream.height = width + width % 2, height + height % 2
            stream.pix_fmt = form.pixels
            stream.options = form.options
            context = stream.codec_context
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = 1, 1, 1, 1
            sounds = [Sound(audio_from, audio_start)]
            with carried_sound(out, sounds, form.sound) as carry_sound_until:
                for count, image in enumerate(_chain(first, iterator)):
                    if image.shape != first.shape or image.dtype != np.uint8:
                        raise ValueError(f"frame {count} is {image.dtype} {image.shape}, the first was {first.shape}")
                    padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                    frame = av.VideoFrame.from_ndarray(padded, format="rgba" if channels == 4 else "rgb24")
                    frame = frame.reformat(format=form.pixels, dst_colorspace="ITU709", dst_color_range="MPEG")
                    frame.pts = count
                    frame.time_base = 1 / rate
                    out.mux(stream.encode(frame))
                    carry_sound_until((count + 1) / float(rate))
                out.mux(stream.encode(None))

    atomic_write(Path(path), write)
    if synthetic and source is not None:
        attach_manifest(Path(path), source)
    return Path(path)


def written_rate(fps: float) -> Fraction:
    """Frames per second as a file says them."""
    return Fraction(fps).limit_denominator(1001)


def has_synthetic_tag(path: Path) -> bool:
    """Whether a file's metadata says that it shows a rendered avatar."""
    with opened(path) as (container, _):
        return any(SYNTHETIC_TAG in str(value).lower() for value in container.metadata.values())


def _square_size(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """Width and height in which a stored frame's pixels are square: never fewer than it has in either direction."""
    ratio = float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    if not 1 / LONGEST_PIXEL <= ratio <= LONGEST_PIXEL or abs(ratio - 1) <= SQUARE_ENOUGH:
        return frame.width, frame.height
    return round(frame.width * max(ratio, 1)), round(frame.height * max(1 / ratio, 1))


def _upright_rgb(frame: VideoFrame, width: int, height: int) -> np.ndarray:
    """uint8 `[H, W, 3]`: a frame scaled to `width` x `height` in its stored orientation, then rotated upright."""
    # FFmpeg converts as BT.601 unless told: HD files would come out with a green or red cast.
    transfer, primaries = int(frame.color_trc), int(frame.color_primaries)
    plain = is_plain(transfer, primaries)
    named = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "SMPTE170M", 7: "SMPTE240M", 9: "BT2020", 10: "BT2020"}
    unnamed = "BT2020" if not plain else "ITU709" if min(frame.width, frame.height) >= HD_HEIGHT else "ITU601"
    is_yuv = frame.format.name.startswith("yuv") or frame.format.name.startswith("nv")
    matrix = {"src_colorspace": named.get(int(frame.colorspace), unnamed)} if is_yuv else {}
    as_stored = (frame.width, frame.height) == (width, height)
    scaling = {} if as_stored else {"width": width, "height": height, "interpolation": "BICUBIC"}
    if plain:
        image = frame.to_ndarray(format="rgb24", **matrix, **scaling)
    else:
        image = to_srgb(frame.to_ndarray(format="rgb48le", **matrix, **scaling), transfer, primaries)
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _quarter_turns(frame: VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


def _duration(stream: VideoStream) -> float | None:
    return float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None


def tag_synthetic(out: Any, path: Path, synthetic: bool) -> None:
    """Say in the metadata of an open output container that it shows a rendered person, where `synthetic`."""
    if synthetic:
        out.metadata["title"] = f"{Path(path).stem} ({SYNTHETIC_TAG})"
        out.metadata["comment"] = out.metadata["description"] = provenance_line()


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest
