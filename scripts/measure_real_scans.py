"""What a registration of a real scan reaches, of its other forms, and of trimesh's `nricp_amberg` beside it.

    OMP_NUM_THREADS=1 python scripts/measure_real_scans.py ../shared/data/scans/lee_perry_smith/LeePerrySmith.obj
    OMP_NUM_THREADS=1 python scripts/measure_real_scans.py SCAN.obj --nricp

Other forms: turned by 90 degrees about each axis, 1000 times as large, without a third of its triangles, 20,000 points.
Distances are scan to mesh in millimetres, after model / coupled, at a pupil distance of 63 mm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import trimesh
import tyro
from trimesh.registration import nricp_amberg

from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from capture_tools.scan.defects import crossing_triangles
from capture_tools.scan.landmarks import template_landmarks
from capture_tools.scan.matching import HeadSurface
from capture_tools.scan.measures import Distances, head_distances
from capture_tools.scan.reading import read_scan
from capture_tools.scan.registering import HEAD_RADIUS, MEASURED_SAMPLES, Registration, register_scan
from capture_tools.scan.sampling import sample_scan
from capture_tools.scan.scan import Scan
from capture_tools.scan.settings import RegisterSettings

TURNS = {
    "turned about x": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "turned about y": [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
    "turned about z": [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
}
POINTS = 20_000
EVERY = 4
"""Of MediaPipe's landmarks that nricp is given."""


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    scan: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SCAN")]
    """A scan with triangles."""
    forms: bool = True
    """Its other forms too."""
    nricp: bool = False
    """trimesh's nricp_amberg too, from the same landmarks."""


def forms_of(scan: Scan) -> dict[str, Scan]:
    """The same scan in other forms."""
    assert scan.faces is not None
    rng = np.random.default_rng(0)
    made = {}
    for name, rotation in TURNS.items():
        turn = np.eye(4)
        turn[:3, :3] = rotation
        made[name] = scan.moved(turn)
    made["1000 times as large"] = scan.moved(np.diag([1000.0, 1000, 1000, 1]))
    made["a third of the triangles removed"] = replace(scan, faces=scan.faces[rng.random(len(scan.faces)) > 1 / 3])
    corners = scan.vertices[scan.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    triangle = rng.choice(len(area), POINTS, p=area / area.sum())
    mix = rng.dirichlet((1, 1, 1), POINTS)
    made[f"{POINTS} points"] = Scan("points", (corners[triangle] * mix[..., None]).sum(1))
    return made


def by_nricp(asset: HeadAsset, made: Registration) -> tuple[Distances, int]:
    """nricp_amberg from the template, placed by the landmarks: its distances, and crossing triangles of the face."""
    known = made.landmarks.points[::EVERY]
    where = (asset.mediapipe_faces[::EVERY], asset.mediapipe_barycentrics[::EVERY].astype(np.float64))
    corners = asset.template[asset.faces[where[0]]].astype(np.float64)
    bias = template_landmarks(asset, "mediapipe")[::EVERY] - (corners * where[1][..., None]).sum(1)
    source = trimesh.Trimesh(asset.template, asset.faces, process=False)
    target = trimesh.Trimesh(made.scan.vertices, made.scan.faces, process=False)
    vertices = np.asarray(nricp_amberg(source, target, where, known - bias, use_faces=False))
    middle = template_landmarks(asset, "mediapipe").mean(0) - np.array([0, 0, 0.06])
    samples, _ = sample_scan(made.scan, MEASURED_SAMPLES, (middle, HEAD_RADIUS), seed=2)
    face = asset.faces[asset.region("face")[asset.faces].all(1)]
    return head_distances(asset, HeadSurface(asset), vertices, samples), int(crossing_triangles(vertices, face).sum())


def line(name: str, stages: list[Distances], crossing: int) -> str:
    """A row of the table."""
    rows = [stage.summary() for stage in stages]
    cells = []
    for area, key in (("face_crop", "median"), ("face_crop", "p95"), ("face", "median")):
        cells.append(" / ".join("-" if (at := row[area]) is None else f"{at[key]:.2f}" for row in rows))
    return f"| {name} | " + " | ".join(cells) + f" | {crossing} |"


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    asset, scan = load_head(), read_scan(settings.scan)
    print("| scan | crop, median | crop, 95 % | face, median | crossing |\n|---|---|---|---|---|")
    first = register_scan(scan, asset, RegisterSettings())
    print(line(settings.scan.stem, list(first.distances.values()), first.crossing), flush=True)
    if settings.nricp:
        distances, crossing = by_nricp(asset, first)
        print(line("nricp_amberg", [distances], crossing), flush=True)
    if settings.forms:
        for name, form in forms_of(scan).items():
            made = register_scan(form, asset, RegisterSettings())
            print(line(name, list(made.distances.values()), made.flipped + made.crossing), flush=True)


if __name__ == "__main__":
    main()
