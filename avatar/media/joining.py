"""Videos written in parts, joined into one: packets are copied, so no picture is encoded twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.base.files import atomic_write
from avatar.base.provenance import Source
from avatar.media.manifest import attach_manifest
from avatar.media.sound import Sound, carried_sound
from avatar.media.video import FORMS, tag_synthetic, written_rate

if TYPE_CHECKING:
    from av import Packet

KEPT_METADATA = ("alpha_mode",)
"""What a stream says of itself that a new file has to say too: without it players of VP9 ignore the alpha."""


def join_videos(
    path: Path,
    parts: Sequence[Path],
    fps: float,
    *,
    sounds: Sequence[Sound] = (),
    synthetic: bool,
    source: Source = Source.RENDERED,
) -> Path:
    """Write one video of `parts`, one after another, with `sounds` beside them, atomically.

    parts: files of one form, size and rate (`write_video`); `fps` is that rate. The sounds are cut to the length of the
    pictures. `synthetic`, `source`: as in `write_video`. Raises OutputError when the file cannot be written.
    """
    import av

    form, rate = FORMS[Path(path).suffix.lower()], written_rate(fps)

    def write(target: Path) -> None:
        with av.open(str(target), "w", format=form.container, options=form.container_options) as out:
            tag_synthetic(out, path, synthetic)
            with av.open(str(parts[0])) as first:
                stream = out.add_stream_from_template(first.streams.video[0])
                said = first.streams.video[0].metadata
                stream.metadata.update({key: said[key] for key in KEPT_METADATA if key in said})
            delay, count = max(_delay(part, rate) for part in parts), 0
            with carried_sound(out, sounds, form.sound) as carry_sound_until:
                for part in parts:
                    begins = count
                    for packet, shown in _packets(part, rate):
                        unit = packet.time_base
                        packet.pts = round((begins + shown) / rate / unit)
                        packet.dts = round((count - delay) / rate / unit)
                        packet.duration = round(1 / rate / unit)
                        packet.stream = stream
                        out.mux(packet)
                        count += 1
                        carry_sound_until(count / float(rate))

    atomic_write(Path(path), write)
    if synthetic:
        attach_manifest(Path(path), source)
    return Path(path)


def _packets(part: Path, rate: Fraction) -> Iterator[tuple[Packet, int]]:
    """Each packet of a part in the order of decoding, with the number of the frame in it."""
    import av

    with av.open(str(part)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.size and packet.pts is not None:
                yield packet, round(packet.pts * packet.time_base * rate)


def _delay(part: Path, rate: Fraction) -> int:
    """Frames by which decoding has to run ahead so that each is there when it is shown."""
    return max(index - shown for index, (_, shown) in enumerate(_packets(part, rate)))
