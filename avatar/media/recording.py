"""Recording of pictures that come at an uneven pace: a thread that writes them as a video of a steady rate."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from avatar.base.newest import Newest
from avatar.base.provenance import Source
from avatar.media.video import write_video

Picture = TypeVar("Picture")


def steady(pictures: Iterable[tuple[float, Picture]], fps: float) -> Iterator[Picture]:
    """Pictures with their times (seconds, increasing) as frames of a steady rate, the first time being the first frame.

    Each is repeated until the next is due; of several within a frame the last counts.
    """
    first, last, written = None, None, 0
    for time, picture in pictures:
        first = time if first is None else first
        due = round((time - first) * fps)
        while last is not None and written < due:
            yield last
            written += 1
        last = picture
    if last is not None:
        yield last


def fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """An image `[H, W, 3]` uint8 scaled to `height`, its middle cut out where it is wider than `width`, its sides
    filled with black where it is narrower."""
    import cv2

    scaled = max(1, round(image.shape[1] * height / image.shape[0]))
    if (scaled, height) != image.shape[1::-1]:
        shrinks = height < image.shape[0]
        image = cv2.resize(image, (scaled, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    left = (scaled - width) // 2
    if left >= 0:
        return np.ascontiguousarray(image[:, left : left + width])
    return np.pad(image, ((0, 0), (-left, width - scaled + left), (0, 0)))


class Recorder:
    """Writes shown pictures into a video, tagged as synthetic, in a thread of its own.

    The file appears when it is closed. Pictures that the encoder is too slow for are left out, never queued.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        size: tuple[int, int],
        *,
        audio_from: Path | None = None,
        source: Source = Source.RENDERED,
    ) -> None:
        """size: width and height, to which pictures are fitted. audio_from: the file whose sound goes with them, on
        whose clock the pictures' times are. source: as in `write_video`."""
        self.path, self.fps, self.size, self._audio = Path(path), fps, size, audio_from
        self._source = source
        self.failure: Exception | None = None
        """What went wrong: OutputError where the disk is full or the file cannot be written."""
        self.frames = 0
        """Frames written."""
        self._newest: Newest[tuple[float, np.ndarray]] = Newest()
        self._thread = threading.Thread(target=self._run, name="avatar-recorder", daemon=True)
        self._thread.start()

    def show(self, time: float, image: np.ndarray) -> None:
        """Take a picture that is shown from `time` (seconds) on: uint8 `[H, W, 3]`. Returns at once."""
        self._newest.put((time, image))

    def close(self) -> Path | None:
        """Finish the video; returns it, or None where no picture came. Raises what went wrong in writing."""
        self._newest.close()
        self._thread.join()
        if self.failure is not None:
            raise self.failure
        return self.path if self.frames else None

    def _run(self) -> None:
        try:
            first = self._newest.take()
            if first is None:
                return
            images = self._counted(steady(self._pictures(first), self.fps))
            sound = {"audio_from": self._audio, "audio_start": first[0]}
            write_video(self.path, images, self.fps, **sound, synthetic=True, source=self._source)
        except Exception as error:
            self.failure = error
            self._newest.close()

    def _pictures(self, first: tuple[float, np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
        picture: tuple[float, np.ndarray] | None = first
        while picture is not None:
            yield picture[0], fitted(picture[1], *self.size)
            picture = self._newest.take()

    def _counted(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for image in images:
            yield image
            self.frames += 1
