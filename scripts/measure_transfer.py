"""Measure `avatar transfer`: the identity it keeps and the lips it follows.

    python scripts/measure_transfer.py PHOTO OUT.mp4 CLIP.mp4

PHOTO: what was transferred to, OUT.mp4: what came out, CLIP.mp4: the driver's video, frame by frame the same. Identity:
distance of dlib's descriptions of every fifth frame and the photograph. Lips: correlation over the frames of the gap
between the lips over the distance between the eyes, both found by the landmark detector.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from avatar.flame.landmark_sets import inter_ocular_distance
from avatar.media.video import read_video
from avatar.training.recognition import identity_distance, load_recognition
from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.photo import read_photograph

UPPER, LOWER = 13, 14
"""Landmarks of the middle of the lips' inner edges."""


def landmarks_of(pictures: list[np.ndarray]) -> list[np.ndarray | None]:
    """Landmarks `[478, 2]` in pixels of the first face of each picture, None where there is none."""
    with LandmarkDetector(static=True, max_faces=1) as detector:
        found = [detector.detect_all(picture) for picture in pictures]
    return [faces[0][:, :2] if faces else None for faces in found]


def gap(marks: np.ndarray) -> float:
    """The gap between the lips over the distance between the eyes."""
    return float(np.linalg.norm(marks[UPPER] - marks[LOWER]) / inter_ocular_distance(marks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("photograph", "transferred", "driver"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    picture = read_photograph(given.photograph).image
    shown, filmed = ([image for _, image in read_video(path)] for path in (given.transferred, given.driver))
    (own,) = landmarks_of([picture])
    assert own is not None, "no face in the photograph"
    marks, theirs = landmarks_of(shown), landmarks_of(filmed)
    pairs = [(gap(a), gap(b)) for a, b in zip(marks, theirs, strict=False) if a is not None and b is not None]
    print(f"frames {len(shown)} and {len(filmed)}, compared {len(pairs)}")
    print(f"lips: correlation {np.corrcoef(np.array(pairs).T)[0, 1]:.3f}")
    describe, why = load_recognition()
    if describe is None:
        print(why)
        return
    away = [
        identity_distance(describe, picture, shown[i], (own, found))
        for i, found in list(enumerate(marks))[::5]
        if found is not None
    ]
    print(f"identity: distance mean {np.mean(away):.3f}, median {np.median(away):.3f}, largest {max(away):.3f}")


if __name__ == "__main__":
    main()
