"""Correspondence of registrations of FLAME's own heads, whose vertices correspond: with and without conventions.

    OMP_NUM_THREADS=1 python scripts/measure_flame_heads.py ../shared/data/heads/flame2023_open

`ibug`: FLAME's 51 landmarks of a head against the open head's iBUG points on its registration; the two embeddings place
some points differently. `carried`: FLAME's landmarks of the first head, at the closest points of its registration, on
the registrations of the others, against the others' own FLAME landmarks; `skin` the same for all vertices of the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from avatar.flame.assets import HeadAsset
from avatar.flame.landmarks import surface_points
from avatar.flame.library import load_head
from capture_tools.scan.matching import HeadSurface
from capture_tools.scan.measures import face_crop
from capture_tools.scan.registering import Registration, register_scan
from capture_tools.scan.scan import Scan, apply
from capture_tools.scan.settings import RegisterSettings

GROUPS = {"brows": (0, 10), "nose": (10, 19), "eyes": (19, 31), "lips": (31, 51)}
"""Among the 51 landmarks."""


@dataclass(frozen=True)
class FlameHeads:
    """Heads of one topology with landmarks on it."""

    vertices: np.ndarray
    """`[N, V, 3]` metres."""
    faces: np.ndarray
    """`[F, 3]`."""
    landmark_faces: np.ndarray
    """`[51]` indices of faces."""
    landmark_barycentrics: np.ndarray
    """`[51, 3]`."""

    def landmarks(self, vertices: np.ndarray) -> np.ndarray:
        return surface_points(vertices, self.faces, self.landmark_faces, self.landmark_barycentrics)


def read_heads(folder: Path) -> FlameHeads:
    """The heads of shared/data/heads/flame2023_open."""
    heads = np.load(folder / "flame2023_open_five_heads.npz")
    embedding = np.load(folder / "flame_static_embedding_51.npz")
    listed = np.load(folder / "flame2023_open_template_head.npz")["face_index_in_full_list"].tolist()
    places = np.array([listed.index(face) for face in embedding["lmk_face_idx"]])
    faces = heads["faces_head"].astype(np.int64)
    return FlameHeads(heads["vertices"].astype(np.float64), faces, places, embedding["lmk_b_coords"])


def carried(asset: HeadAsset, points: np.ndarray, first: Registration, other: Registration) -> np.ndarray:
    """Points `[N, 3]` on the first registration, in its frame, at the same places of the other's surface."""
    surface = HeadSurface(asset)
    query = surface.query.update(torch.as_tensor(first.vertices, dtype=torch.float32))
    closest = query.closest_points(torch.as_tensor(points, dtype=torch.float32))
    corners = surface.faces[closest.face.long()].numpy()
    return (other.vertices[corners] * closest.barycentrics.numpy()[..., None]).sum(1)


@dataclass(frozen=True)
class Correspondence:
    """Distances in millimetres of one head."""

    ibug: np.ndarray
    """`[51]`."""
    carried: np.ndarray
    """`[51]`."""
    skin: np.ndarray
    """`[K]`."""


def measure(asset: HeadAsset, heads: FlameHeads, made: list[Registration]) -> list[Correspondence]:
    """Of each head; the first head is compared with the second."""
    placed = [apply(m.scan_to_model, v) for m, v in zip(made, heads.vertices, strict=True)]
    sixty_eight = np.concatenate([np.full((17, 3), np.nan), heads.landmarks(placed[0])])
    centre, radius = face_crop(sixty_eight)
    used = np.unique(heads.faces)
    skin = used[np.linalg.norm(placed[0][used] - centre, axis=1) < radius]
    found = []
    for number, one in enumerate(made):
        theirs = heads.landmarks(placed[number])
        ours = surface_points(one.vertices, asset.faces, asset.ibug_faces, asset.ibug_barycentrics)[17:]
        source = 1 if number == 0 else 0
        marks = carried(asset, heads.landmarks(placed[source]), made[source], one)
        dense = carried(asset, placed[source][skin], made[source], one)
        found.append(
            Correspondence(
                *(
                    1000 * np.linalg.norm(a - b, axis=1)
                    for a, b in ((ours, theirs), (marks, theirs), (dense, placed[number][skin]))
                )
            )
        )
    return found


def main(folder: Path, /) -> None:
    """Register the heads of a folder, and print the correspondence of each."""
    asset, heads = load_head(), read_heads(folder)
    made = [register_scan(Scan("flame", v, heads.faces), asset, RegisterSettings()) for v in heads.vertices]
    for number, one in enumerate(measure(asset, heads, made)):
        parts = []
        for name, values in (("ibug", one.ibug), ("carried", one.carried)):
            groups = ", ".join(f"{group} {np.median(values[a:b]):.2f}" for group, (a, b) in GROUPS.items())
            parts.append(f"{name} {np.median(values):.2f} (mean {values.mean():.2f}; {groups})")
        print(f"head {number}: " + "; ".join(parts) + f"; skin {np.median(one.skin):.2f} mm", flush=True)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
