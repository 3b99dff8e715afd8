"""Copies the networks that find faces, hands and people into this environment: python -m capture_tools.fetch_models

They are files (Apache 2.0) of the wheel mediapipe 0.10.21. pip downloads that wheel for whichever machine, since the
files are the same in all of them, and forgets it; nothing of it is installed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from avatar.base.files import write_bytes
from capture_tools.detect.tflite_models import INSTALLED_MODELS

WHEEL = "mediapipe==0.10.21"
MODELS = {
    "face_detection/face_detection_short_range.tflite": (
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
    ),
    "face_landmark/face_landmark_with_attention.tflite": (
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4"
    ),
    "hand_landmark/hand_landmark_lite.tflite": ("048edd3645c9bf7397d19a9f6e3a42957d6e414c9bea6598030a2e9b624156e6"),
    "palm_detection/palm_detection_lite.tflite": ("e9a4aaddf90dda56a87235303cf00e4c2d3fb28725f68fd88772997dac905c18"),
    "pose_landmark/pose_landmark_full.tflite": ("e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"),
    "selfie_segmentation/selfie_segmentation.tflite": (
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c"
    ),
}
"""Path under `mediapipe/modules` in the wheel -> SHA-256."""


def main() -> None:
    """Raises SystemExit where pip fails or a file is not the one expected."""
    targets = {path: INSTALLED_MODELS / Path(path).name for path in MODELS}
    if all(target.is_file() and right(target.read_bytes(), MODELS[path]) for path, target in targets.items()):
        return
    with tempfile.TemporaryDirectory() as where:
        wheel = download(Path(where))
        with zipfile.ZipFile(wheel) as archive:
            for path, target in targets.items():
                content = archive.read(f"mediapipe/modules/{path}")
                if not right(content, MODELS[path]):
                    raise SystemExit(f"{wheel.name}: {path} is not the file expected; nothing was replaced by it")
                write_bytes(target, content)
    print(f"{len(MODELS)} networks in {INSTALLED_MODELS}")


def right(content: bytes, digest: str) -> bool:
    """Whether a file's content is the one expected."""
    return hashlib.sha256(content).hexdigest() == digest


def download(folder: Path) -> Path:
    """The wheel, in a folder."""
    options = ["--no-deps", "--only-binary", ":all:", "--python-version", "3.12", "--platform", "manylinux_2_28_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *options]
    done = subprocess.run([*command, "--dest", str(folder), WHEEL], check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise SystemExit(f"pip could not download {WHEEL}; see above, and run this again")
    return wheels[0]


if __name__ == "__main__":
    main()
