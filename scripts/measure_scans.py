"""How well scans of one person correspond, with and without the texture stage, on scans whose truth is known.

    OMP_NUM_THREADS=1 python scripts/measure_scans.py
    OMP_NUM_THREADS=1 python scripts/measure_scans.py --scan ../shared/data/scans/lee_perry_smith/LeePerrySmith.obj

The person is an invented one with freckles, or the one of a coloured scan, registered first. Five scans of expressions,
each with random triangles, light and place of its own; the skin also slides by up to `--slid` mm, which no head model
explains. Errors: a vertex of a registration against the true place of the point of the skin that the same vertex marks
on the neutral scan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from synthetic_scans import Colours, KnownScan, freckled, invented, known_scans

from avatar.flame.assets import HeadAsset
from avatar.flame.landmarks import surface_points
from avatar.flame.library import load_head
from avatar.kernels.mesh.op import MeshQuery
from capture_tools.scan.matching import HeadSurface
from capture_tools.scan.person import Hints, Last, personal_template
from capture_tools.scan.reading import read_scan
from capture_tools.scan.registering import register_scan
from capture_tools.scan.scan import apply
from capture_tools.scan.sequence import ScanSeries, person_of
from capture_tools.scan.settings import RegisterSettings
from capture_tools.scan.surface_colours import colours_of_scan

BARE = 0.015
"""Metres from every landmark beyond which a face has no features."""


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    scan: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A coloured scan, whose person is shown. The invented one by default."""
    slid: float = 3.0
    """Millimetres by which the skin slides."""
    points: int = 120_000
    """Vertices of each scan."""
    scans: int = 5
    """How many of the five expressions, the neutral one first."""


def areas(asset: HeadAsset) -> dict[str, np.ndarray]:
    """Vertex masks `[V]` of the face, and of its parts without features."""
    landmarks = surface_points(asset.template, asset.faces, asset.ibug_faces, asset.ibug_barycentrics)
    far = np.linalg.norm(asset.template[:, None] - landmarks[17:], axis=2).min(1) > BARE
    face, height = asset.region("face"), asset.template[:, 1]
    return {
        "face": face,
        "cheeks": face & far & (height < landmarks[36:48, 1].min()) & (height > landmarks[57, 1]),
        "forehead": face & far & (height > landmarks[17:27, 1].mean()),
    }


def drift(
    asset: HeadAsset, first: dict[str, np.ndarray], neutral: KnownScan, made: np.ndarray, truth: np.ndarray
) -> np.ndarray:
    """Millimetres `[V]` from vertices `made` to the true places of the skin that they mark on the first scan.

    first: the arrays `vertices` and `scan_to_model` of the neutral scan's registration. truth: `[V, 3]` of the second
    head, in the frame of `made`.
    """
    surface = HeadSurface(asset)
    back = apply(np.linalg.inv(first["scan_to_model"]), first["vertices"])
    query = MeshQuery(surface.faces).update(torch.as_tensor(neutral.vertices, dtype=torch.float32))
    closest = query.closest_points(torch.as_tensor(back, dtype=torch.float32))
    corners = surface.faces[closest.face.long()].numpy()
    marked = (truth[corners] * closest.barycentrics.numpy()[..., None]).sum(1)
    return 1000 * np.linalg.norm(made - marked, axis=1)


def person_on_scan(asset: HeadAsset, path: Path) -> tuple[HeadAsset, Colours]:
    """The asset with the person of a coloured scan as its template, and the colours."""
    made = register_scan(read_scan(path), asset, RegisterSettings())
    template, _ = personal_template(asset, [(made.vertices, made.params)])
    colours = colours_of_scan(made.scan, made.vertices, asset.faces, np.ones(len(asset.faces), bool))

    def at(face: np.ndarray, barycentrics: np.ndarray) -> np.ndarray:
        return colours.at(face, barycentrics)[0]

    return replace(asset, template=template.astype(np.float32)), at


def measure(settings: Settings) -> list[dict[str, float]]:
    """A row for each scan after the first: medians of the drift, mm, by area, after the stages coupled and texture."""
    asset = load_head()
    if settings.scan is None:
        person_asset, colours = invented(asset), freckled(asset)
    else:
        person_asset, colours = person_on_scan(asset, settings.scan)
    known = known_scans(person_asset, colours, settings.scans, slid=settings.slid, points=settings.points)
    options = RegisterSettings(unit="m")
    series = ScanSeries(len(known), lambda number: known[number].scan)
    person, first = person_of(series, [0], asset, options)
    last, rows = Last(first.scan_to_model, first.params), []
    marked = {"vertices": first.vertices, "scan_to_model": first.scan_to_model}
    for one in known[1:]:
        made = register_scan(one.scan, asset, options, Hints(person=person, last=last))
        truth = apply(made.scan_to_model, one.vertices)
        row = {"before": made.texture.get("before", np.nan), "after": made.texture.get("after", np.nan)}
        for stage in made.stages:
            off = drift(asset, marked, known[0], made.stages[stage], truth)
            row |= {f"{stage} {name}": float(np.median(off[mask])) for name, mask in areas(asset).items()}
            summary = made.distances[stage].summary()["face_crop"]
            row[f"{stage} scan"] = np.nan if summary is None else summary["median"]
        rows.append(row)
        print("  ".join(f"{key} {value:.3f}" for key, value in row.items()), made.texture, flush=True)
        last = Last(made.scan_to_model, made.params)
    return rows


if __name__ == "__main__":
    rows = measure(tyro.cli(Settings, description=__doc__))
    for key in rows[0]:
        print(f"{key:20s} {np.mean([row.get(key, np.nan) for row in rows]):.3f}")
