"""The ICT Face Model Light itself on the open head's topology: synthetic people that the open head was not made from.

    python scripts/ict_head.py ICT.npz registered --scans scans --out ict_truth.npz
    python scripts/make_synthetic_clip.py --head-model ict_truth.npz --seed 0 --size 192 --out runs/ict0

`registered`: registrations of scans of `sample_ict_scans.py`, whose neutral ones say where the open head's vertices lie
on ICT's surface. ICT's own identities and expressions, under ARKit's names, are then taken from
there. Inside of the mouth, eyeballs and joints with their weights are the open head's: ICT's jaw opens by the joint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sample_ict_scans import nearest, on_surface, triangles_of
from trimesh import load_mesh

from avatar.base.npz import read_npz
from avatar.flame.assets import LANDMARKS, HeadAsset, make_head, save_head
from avatar.flame.library import load_head
from capture_tools.scan.matching import INSIDE
from capture_tools.scan.scan import apply, fit_similarity

STILL = ("jawOpen",)
"""Expressions that the joints make."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="ICT.npz")
    parser.add_argument("registered", type=Path)
    parser.add_argument("--scans", type=Path, required=True, help="the scans that were registered")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    head = load_head()
    with np.load(arguments.model, allow_pickle=False) as file:
        ict = {name: file[name] for name in ("neutral", "identity", "expression", "expression_names", "faces")}
    made = transferred(ict, head, sorted(arguments.registered.glob("*_neutral")), arguments.scans)
    save_head(arguments.out, make_head(arguments.out.stem, made, **named(head)))
    print(arguments.out)


def named(head: HeadAsset) -> dict:
    """What is the open head's."""
    return {"expression_names": head.expression_names, "regions": head.regions, "extras": head.extras}


def transferred(ict: dict[str, np.ndarray], head: HeadAsset, folders: list[Path], scans: Path) -> dict[str, np.ndarray]:
    """The arrays of a head: ICT's surface where the registrations of neutral people lie on it, in the mean."""
    rest, triangles = ict["neutral"].astype(np.float64), triangles_of(ict["faces"])
    places, inner = [], []
    for folder in folders:
        arrays = read_npz(folder / "registration.npz")
        vertices = apply(np.linalg.inv(arrays["scan_to_model"]), arrays["vertices"].astype(np.float64))
        scan = np.asarray(load_mesh(scans / f"{folder.name}.ply", process=False).vertices)
        places.append(on_surface(rest, triangles, nearest(scan, triangles, vertices)))
        inner.append(vertices)
    marks = nearest(rest, triangles, np.mean(places, axis=0))
    inside = np.any([head.region(name) for name in (*INSIDE, "eyeballs")], axis=0)
    template = np.where(inside[:, None], np.mean(inner, axis=0), on_surface(rest, triangles, marks))
    to_head = fit_similarity(template, np.mean([read_npz(f / "registration.npz")["vertices"] for f in folders], axis=0))
    turn = to_head[:3, :3].T

    def carried(offsets: np.ndarray) -> np.ndarray:
        return on_surface(offsets.astype(np.float64), triangles, marks) @ turn

    shapes = np.stack([carried(each) for each in ict["identity"]], -1)
    expressions = np.zeros((*template.shape, head.expression_count))
    for column, name in enumerate(head.expression_names):
        if name not in STILL:
            expressions[..., column] = sum(carried(each) for each in actions(ict, name))
    for ball in ("left_eyeball", "right_eyeball"):  # rigid: they go where they are in the mean, and no expression does
        held = head.region(ball)
        shapes[held] = shapes[held].mean(0)
        expressions[held] = 0
    arrays = {"template": apply(to_head, template), "shapedirs": shapes, "exprdirs": expressions}
    kept = ("faces", "posedirs", "joint_regressor", "weights", "uv", "uv_faces", *LANDMARKS)
    return arrays | {name: getattr(head, name) for name in kept}


def actions(ict: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    """ICT's expressions that ARKit's `name` is made of."""
    sided = name.removesuffix("Left") + "_L" if name.endswith("Left") else name.removesuffix("Right") + "_R"
    names = [str(each) for each in ict["expression_names"]]
    wanted = {name} if name in names else {sided} if sided in names else {f"{name}_L", f"{name}_R"}
    return [ict["expression"][i] for i, each in enumerate(names) if each in wanted]


if __name__ == "__main__":
    main()
