"""A tracked performance in a file, so that an interrupted command does not track its driver again."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from avatar.animation.driver_files import Driver
from avatar.base.files import write_npz
from avatar.base.npz import read_npz
from avatar.flame.model import HeadParameters

PARAMS = "params."
NOTES = "notes"


def write_driver(path: Path, driver: Driver) -> Path:
    """Write a performance that was tracked in a video, atomically."""
    tensors = {field.name: getattr(driver.params, field.name) for field in fields(HeadParameters)}
    arrays = {f"{PARAMS}{name}": value.cpu().numpy() for name, value in tensors.items() if value is not None}
    arrays |= {
        "fps": np.float64(driver.fps),
        "audio": np.bool_(driver.audio is not None),
        "audio_start": np.float64(driver.audio_start),
        "rotate": np.int64(driver.rotate),
        NOTES: np.array(driver.notes, dtype=np.str_),
    }
    return write_npz(path, arrays)


def read_driver(path: Path, video: Path) -> Driver | None:
    """What `write_driver` wrote of `video`; None where the file is not there or damaged."""
    try:
        arrays = read_npz(path)
        params = {
            name.removeprefix(PARAMS): torch.from_numpy(value) for name, value in arrays.items() if PARAMS in name
        }
        return Driver(
            HeadParameters(**params),
            float(arrays["fps"]),
            video if bool(arrays["audio"]) else None,
            float(arrays["audio_start"]),
            tuple(str(note) for note in arrays[NOTES]),
            video,
            int(arrays["rotate"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
