"""Several drivers, played one after another: a common rate, and their sounds in a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avatar.animation.driver_files import Driver
from avatar.flame.model import HeadParameters
from avatar.flame.resampling import resample_parameters
from avatar.media.sound import Sound


def at_rate(params: HeadParameters, fps: float, wanted: float) -> HeadParameters:
    """A performance at another rate, from its first frame on; it lasts as long as before, to a frame."""
    if wanted == fps:
        return params
    count = max(1, round(len(params) * wanted / fps))
    return resample_parameters(params, np.arange(len(params)) / fps, np.arange(count) / wanted)


def sounds_of(drivers: Sequence[Driver]) -> list[Sound]:
    """What is heard beside the frames of drivers, one after another."""
    if len(drivers) == 1:
        return [Sound(drivers[0].audio, drivers[0].audio_start)]
    return [Sound(driver.audio, driver.audio_start, len(driver.params) / driver.fps) for driver in drivers]
