"""From a clip to a capture folder: frames, masks, camera and the head's parameters in every frame.

python examples/01_capture_a_clip.py me.mp4 runs/me_capture
"""

import sys

from avatar import capture
from capture_tools.settings import CaptureSettings


def main(video: str, out: str, size: int = 256) -> None:
    made = capture(video, out, CaptureSettings(size=size))
    print(f"{len(made.frames)} frames at {made.fps:g} a second, {len(made.splits['train'])} of them for training")
    print(f"landmark error: {made.report()['landmark_error_iod']:.2%} of the distance between the eyes")


if __name__ == "__main__":
    main(*sys.argv[1:3])
