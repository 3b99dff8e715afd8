"""A video of an avatar with a new expression, seen from around.

python examples/03_render_an_orbit.py runs/me orbit.mp4
"""

import sys

from avatar import render


def main(run: str, out: str, frames: int = 100) -> None:
    written = render(run, out, path="orbit", expression="sweep:smile,surprise", frames=frames, amplitude=15)
    print(f"wrote {written}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
