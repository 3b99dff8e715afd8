"""The parameter file of a clip (docs/design.md, The capture folder), which `--driver` takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avatar.animation.driver_files import PARAMETER_KEYS
from avatar.base.files import write_npz

if TYPE_CHECKING:
    from avatar.export.clip import Clip
    from avatar.flame.assets import HeadAsset


def write_parameters(path: Path, clip: Clip, asset: HeadAsset) -> Path:
    """Write `expr jaw_pose eyes_pose neck_pose rotation translation` (float32, `[N, ...]`, radians and metres), `fps`,
    `timestamps` (`[N]`, seconds) and `head_fingerprint`. Raises OutputError where the file cannot be written."""
    arrays = {
        key: getattr(clip.params, field).detach().cpu().numpy().astype(np.float32)
        for key, (field, _) in PARAMETER_KEYS.items()
    }
    arrays |= {"fps": np.float64(clip.fps), "timestamps": np.asarray(clip.times, np.float64)}
    arrays["head_fingerprint"] = np.array(asset.fingerprint)
    return write_npz(path, arrays)
