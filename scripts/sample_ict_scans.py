"""Scans of invented people and expressions, from the ICT Face Model Light (MIT; not part of the project).

    python scripts/sample_ict_scans.py ICT.npz --out scans --people 8 --frames 6
    avatar register scans/*.ply --unit cm --out registered
    avatar model train registered --out ict.npz

Searching the face is half of a registration's time. All scans have the same topology, so that the landmarks of a few
registered neutral scans tell those of all (the same --seed, and as many --frames):

    avatar register scans/p0[0-3]_neutral.ply --unit cm --out first
    python scripts/sample_ict_scans.py ICT.npz --out scans --people 8 --frames 6 --landmarks-of first
    avatar register scans/*.ply --landmarks scans --unit cm --out registered

ICT.npz holds `neutral [V, 3]`, `identity [I, V, 3]`, `expression [E, V, 3]`, `expression_names` and `faces [F, 4]`, in
centimetres. A person's first scan is `NAME_neutral.ply`; the others show two or three actions at once, each of all
actions about as often, and every third an open jaw. The heads themselves are neither turned nor moved.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import trimesh

from avatar.base.npz import read_npz
from avatar.flame.landmarks import surface_points
from avatar.flame.library import load_head
from avatar.kernels.mesh.op import MeshQuery
from capture_tools.scan.scan import apply

SPREAD = 0.8
"""Standard deviation of the identities: those of the model's own are 1, at which noses and chins begin to look odd."""
LEFT_OUT = ("PupilDilate", "eyeLook")
"""Actions that a scan does not show, or that turn the eyes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="ICT.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder for the scans")
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--frames", type=int, default=6, help="scans of each person, the neutral one among them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--landmarks-of", type=Path, help="registrations of neutral scans: NAME.npy for every scan")
    arguments = parser.parse_args()
    with np.load(arguments.model, allow_pickle=False) as file:
        arrays = {name: file[name] for name in ("neutral", "identity", "expression", "expression_names", "faces")}
    arguments.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(arguments.seed)
    scans = dict(sampled(arrays, arguments.people, arguments.frames, rng))
    triangles = triangles_of(arrays["faces"])
    marks = None if arguments.landmarks_of is None else carried(arguments.landmarks_of, scans, triangles)
    for name, vertices in scans.items():
        trimesh.Trimesh(vertices, triangles, process=False).export(arguments.out / f"{name}.ply")
        if marks is not None:
            np.save(arguments.out / f"{name}.npy", on_surface(vertices, triangles, marks))
        print(arguments.out / f"{name}.ply")


def sampled(arrays: dict[str, np.ndarray], people: int, frames: int, rng: np.random.Generator):
    """Names and vertices `[V, 3]` of all scans, in the model's unit."""
    identity, expression = (arrays[key].astype(np.float64) for key in ("identity", "expression"))
    names = [str(name) for name in arrays["expression_names"]]
    pairs = sorted({name.removesuffix("_L").removesuffix("_R") for name in names if not name.startswith(LEFT_OUT)})
    waiting: list[str] = []
    for person in range(people):
        rest = arrays["neutral"] + np.tensordot(SPREAD * rng.normal(size=len(identity)), identity, 1)
        yield f"p{person:02d}_neutral", rest
        for frame in range(1, frames):
            amounts = np.zeros(len(names))
            for _ in range(int(rng.integers(2, 4))):
                waiting = waiting or [str(name) for name in rng.permutation(pairs)]
                action, both = waiting.pop(), rng.random() < 0.6
                sides = [i for i, name in enumerate(names) if name.removesuffix("_L").removesuffix("_R") == action]
                chosen = sides if both or len(sides) == 1 else [int(rng.choice(sides))]
                amounts[chosen] = rng.uniform(0.4, 1.0)
            if frame % 3 == 1:
                amounts[names.index("jawOpen")] = rng.uniform(0.2, 0.8)
            yield f"p{person:02d}_{frame:02d}", rest + np.tensordot(amounts, expression, 1)


def triangles_of(quads: np.ndarray) -> np.ndarray:
    """The triangles `[T, 3]` of quads `[F, 4]`; the model's own triangles have a fourth corner of -1."""
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return triangles[(triangles >= 0).all(1)]


Marks = tuple[np.ndarray, np.ndarray]
"""Triangles `[K]` and barycentrics `[K, 3]` of landmarks."""


def carried(folder: Path, scans: dict[str, np.ndarray], triangles: np.ndarray) -> Marks:
    """iBUG's 68 landmarks on the scans' topology: the mean place of those of the registrations in `folder`."""
    head = load_head()
    rest = next(iter(scans.values()))
    places = []
    for file in sorted(folder.glob("*/registration.npz")):
        made = read_npz(file)
        points = surface_points(made["vertices"].astype(float), head.faces, head.ibug_faces, head.ibug_barycentrics)
        points = apply(np.linalg.inv(made["scan_to_model"]), points)
        places.append(on_surface(rest, triangles, nearest(scans[file.parent.name], triangles, points)))
    return nearest(rest, triangles, np.mean(places, axis=0))


def nearest(vertices: np.ndarray, triangles: np.ndarray, points: np.ndarray) -> Marks:
    """The closest places to points `[K, 3]` on a mesh."""
    query = MeshQuery(torch.as_tensor(triangles)).update(torch.as_tensor(vertices, dtype=torch.float32))
    found = query.closest_points(torch.as_tensor(points, dtype=torch.float32), 2.0)
    return found.face.numpy(), found.barycentrics.numpy().astype(np.float64)


def on_surface(vertices: np.ndarray, triangles: np.ndarray, marks: Marks) -> np.ndarray:
    """The places `[K, 3]` of landmarks on a mesh."""
    face, barycentrics = marks
    return (vertices[triangles[face]] * barycentrics[..., None]).sum(1)


if __name__ == "__main__":
    main()
