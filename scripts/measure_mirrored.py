"""Whether a scan's surface tells that it is mirrored: the fit to a scan beside that to its mirror image.

    OMP_NUM_THREADS=1 python scripts/measure_mirrored.py ../shared/data/scans/*/*.obj
    OMP_NUM_THREADS=1 python scripts/measure_mirrored.py --heads ../shared/data/heads/flame2023_open

Each scan is fitted by the model alone, its mirror image too, and both again with other samples and from pictures taken
5 degrees further round: what changes between these two pairs is noise. Of each: landmarks to the model's, with the best
similarity, median in mm; scan to mesh in the face crop, median in mm; and the prior's part, half the sum of squared
coefficients over their deviations. First, how far the head model itself is from its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from measure_flame_heads import read_heads
from scipy.spatial import KDTree

from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from capture_tools.scan.landmarks import check_face, template_landmarks
from capture_tools.scan.measures import head_distances
from capture_tools.scan.person import Hints, Last
from capture_tools.scan.placing import place_scan
from capture_tools.scan.reading import read_scan
from capture_tools.scan.registering import MEASURED_SAMPLES, placed_fitter
from capture_tools.scan.scan import Scan
from capture_tools.scan.settings import RegisterSettings

MIRROR = np.diag([-1.0, 1, 1, 1])
TURN = np.radians(5)


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    scans: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="SCAN...")] = ()
    """Files of scans."""
    heads: Path | None = None
    """Folder of FLAME's open heads, which are taken as scans."""


def evidence(scan: Scan, asset: HeadAsset, start: np.ndarray, seed: int) -> np.ndarray:
    """Landmarks (mm), scan to mesh (mm) and prior of the model's fit, `[3]`.

    start: `[4, 4]`, a similarity from the scan to the model, near the right one.
    """
    begun = placed_fitter(scan, asset, RegisterSettings(), Hints(last=Last(start)))
    fit = begun.fitter.to_samples(begun.samples(seed=seed)[0])
    measured, _ = begun.samples(MEASURED_SAMPLES, seed=2)
    crop = head_distances(asset, begun.fitter.surface, fit.vertices, measured).summary()["face_crop"]
    assert crop is not None
    _, landmarks = check_face(begun.placed.landmarks, template_landmarks(asset, "mediapipe"), scan.name)
    prior = 0.5 * float(((begun.fitter.values / begun.fitter.deviations) ** 2).sum())
    return np.array([1000 * landmarks, crop["median"], prior])


def asymmetry(asset: HeadAsset) -> tuple[float, float, float]:
    """Of the template, in metres at most; and the share of mirrored shapes and expressions outside of their span."""
    distance, other = KDTree(asset.template).query(asset.template * [-1, 1, 1])
    shares = []
    for directions in (asset.shapedirs, asset.exprdirs):
        own = directions.astype(np.float64)
        mirrored = (own[other] * np.array([-1, 1, 1])[:, None]).reshape(-1, own.shape[-1])
        span, _ = np.linalg.qr(own.reshape(mirrored.shape))
        shares.append(float(np.linalg.norm(mirrored - span @ (span.T @ mirrored)) / np.linalg.norm(mirrored)))
    return float(distance.max()), shares[0], shares[1]


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    asset = load_head()
    print("head model: {:.1e} m, shapes {:.1e}, expressions {:.1e}".format(*asymmetry(asset)))
    scans = [read_scan(path) for path in settings.scans]
    if settings.heads is not None:
        heads = read_heads(settings.heads)
        scans += [Scan(f"FLAME head {i}", vertices, heads.faces) for i, vertices in enumerate(heads.vertices)]
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(TURN), 0, np.sin(TURN)], [0, 1, 0], [-np.sin(TURN), 0, np.cos(TURN)]]
    print("| scan | landmarks: itself, mirrored (again) | scan to mesh | prior |\n|---|---|---|---|")
    for scan in scans:
        start = place_scan(scan, asset, RegisterSettings()).scan_to_model
        found = []
        for seed, there in enumerate((start, turn @ start)):
            found.append(evidence(scan, asset, there, seed))
            mirrored = replace(scan.moved(MIRROR), faces=None if scan.faces is None else scan.faces[:, ::-1].copy())
            found.append(evidence(mirrored, asset, MIRROR @ there @ MIRROR, seed))
        cells = ["{:.2f} {:.2f} ({:.2f} {:.2f})".format(*column) for column in np.stack(found).T]
        print(f"| {scan.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
