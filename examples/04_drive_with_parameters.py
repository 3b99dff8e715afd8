"""Pictures as arrays from parameters: the jaw opens while the head turns, without a driver's video.

python examples/04_drive_with_parameters.py runs/me
"""

import sys

import numpy as np

from avatar import load_avatar


def main(run: str, frames: int = 5) -> list[np.ndarray]:
    avatar = load_avatar(run)
    smile = np.zeros(avatar.asset.expression_count)
    if "mouthSmileLeft" in avatar.asset.expression_names:
        for name in ("mouthSmileLeft", "mouthSmileRight"):
            smile[avatar.asset.expression_names.index(name)] = 0.7
    pictures = []
    for share in np.linspace(0, 1, frames):
        colour, alpha, depth = avatar.render(expr=smile, jaw=[0.25 * share, 0, 0], rotation=[0, 0.2 * share, 0])
        pictures.append(colour)
        print(f"{alpha.mean():.0%} of the picture is the person, {depth[alpha > 0.5].mean():.2f} m away")
    return pictures


if __name__ == "__main__":
    main(sys.argv[1])
