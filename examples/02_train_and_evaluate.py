"""From a capture to an avatar, and how close it is on frames it has not seen.

python examples/02_train_and_evaluate.py runs/me_capture runs/me
"""

import sys

from avatar import evaluate, train
from avatar.config import Config, load_preset


def main(capture: str, out: str, config: Config | None = None) -> None:
    train(capture, out, config or load_preset("cpu"))
    for split, figures in evaluate(out).items():
        print(f"{split}: face {figures['face_psnr']:.1f} dB, mouth {figures['mouth_psnr']:.1f} dB")


if __name__ == "__main__":
    main(*sys.argv[1:3])
