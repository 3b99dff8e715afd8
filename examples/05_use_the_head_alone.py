"""The head model by itself: vertices of an expression, written as a Wavefront file.

python examples/05_use_the_head_alone.py head.obj
"""

import sys
from pathlib import Path

import torch

from avatar import load_head
from avatar.flame.model import HeadModel, HeadParameters


def main(out: str) -> None:
    asset = load_head()
    params = HeadParameters.neutral(asset)
    params.jaw[0, 0] = 0.3  # radians
    with torch.no_grad():
        vertices = HeadModel(asset)(params).vertices[0]  # [V, 3], metres
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices.tolist()]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in asset.faces.tolist()]
    Path(out).write_text("\n".join(lines) + "\n")
    print(f"wrote {out}: {len(vertices)} vertices of {asset.name}")


if __name__ == "__main__":
    main(sys.argv[1])
