"""A fitted photograph and a performance into a video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from avatar.animation.driver_files import Driver
from avatar.animation.options import Retarget
from avatar.animation.outputs import VIDEO_ENDINGS, Target, target_of
from avatar.animation.reanimate import performed
from avatar.base.errors import CaptureError, InputError
from avatar.base.progress import Progress
from avatar.base.provenance import Source
from avatar.data.capture import read_capture
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from avatar.media.video import turned, write_video
from capture_tools.photo import read_photograph
from capture_tools.reenact.talking import TalkingPhotograph
from capture_tools.report.painting import read_skin
from capture_tools.report.texture import FOLDER as APPEARANCE

LONGEST = 1024
"""Pixels of the longer side of a video, where the photograph has more."""


def video_at(out: Path) -> Target:
    """The output as a video. Raises InputError for any other ending."""
    if out.suffix.lower() not in VIDEO_ENDINGS:
        better = out.with_suffix(VIDEO_ENDINGS[0]) if out.name else Path("out.mp4")
        expected = " or ".join(VIDEO_ENDINGS)
        raise InputError("a transfer is written as a video", where=out, expected=expected, fix=f"--out {better}")
    return target_of(out)


def photograph_of(
    folder: Path, path: Path, asset: HeadAsset, longest: int | None
) -> tuple[TalkingPhotograph, HeadParameters]:
    """The photograph at `path`, ready to talk, and the one frame of parameters fitted to it in the capture `folder`.

    The picture keeps its own extent; its longer side is reduced to `longest` pixels, LONGEST by default.
    Raises CaptureError for a folder that was not made of a photograph or holds no appearance.
    """
    capture = read_capture(folder, expect_head=asset)
    crop, told = capture.report().get("crop"), capture.report().get("photograph")
    skin = read_skin(folder / APPEARANCE)
    if not isinstance(crop, dict) or not isinstance(told, dict) or skin is None:
        raise CaptureError(
            "the capture was not made of a photograph",
            where=folder,
            expected="a folder that avatar capture --image wrote",
            fix="give the photograph itself",
        )
    image = turned(read_photograph(path).image, int(told.get("turned", 0)))
    height, width = image.shape[:2]
    share = min(1.0, (longest or LONGEST) / max(width, height))
    size = (2 * round(width * share / 2), 2 * round(height * share / 2))  # a video's sides are even
    camera = whole_camera(capture.frames[0].camera, crop, width, height).scaled(*size)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    own = capture.parameters()
    return TalkingPhotograph(image, own, camera, asset, skin), own


def whole_camera(camera: Camera, crop: dict[str, int], width: int, height: int) -> Camera:
    """The camera of a photograph of `width` x `height` pixels from that of the square crop of it."""
    side = crop["side"]
    return camera.scaled(side, side).cropped(-crop["x0"], -crop["y0"], width, height)


def write_transfer(
    photograph: TalkingPhotograph,
    own: HeadParameters,
    driver: Driver,
    out: Path,
    settings: Retarget,
) -> Path:
    """Write the photograph performing what the driver does, with its sound, tagged as synthetic.

    Raises ConfigError for settings that do not fit the driver, OutputError where `out` cannot be written.
    """
    params = performed(own, driver, photograph.asset, settings)

    def frames() -> Iterator[np.ndarray]:
        with Progress("transfer", len(params)) as bar:
            for index in range(len(params)):
                yield photograph.draw(params.frame(index))
                bar.update(index + 1)

    return write_video(
        out,
        frames(),
        driver.fps,
        audio_from=driver.audio,
        audio_start=driver.audio_start,
        synthetic=True,
        source=Source.MIXED,
    )
