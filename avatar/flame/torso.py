"""The torso below the open head: neck, shoulders, chest and upper arms of a mean adult, as a mesh.

It is no part of the head model and is not tracked: it is what a person's shoulders are expected to be like where a clip
does not show them. Built by scripts/build_torso.py from MakeHuman's base mesh (CC0).
"""

from __future__ import annotations

import numpy as np

from avatar.base.npz import read_npz
from avatar.flame.assets import DATA_FOLDER


def load_torso() -> tuple[np.ndarray, np.ndarray]:
    """Vertices `[T, 3]` float32 in metres, in the rest frame of the open head, and triangles `[F, 3]` int32."""
    arrays = read_npz(DATA_FOLDER / "torso.npz")
    return arrays["vertices"], arrays["faces"]
