"""A scan brought to the head model's topology: the stages one after another, and what is measured of each.

Stages: "model", "coupled" and, where a registered texture of the person and colours are there, "texture".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.meshes import vertex_normals
from capture_tools.scan.coupled_fit import CoupledFit, CoupledFitter
from capture_tools.scan.landmarks import ScanLandmarks, template_landmarks
from capture_tools.scan.measures import Distances, head_distances
from capture_tools.scan.model_fit import ModelFit, ModelFitter
from capture_tools.scan.person import Hints, Person
from capture_tools.scan.placing import PlacedScan, place_scan, retriangulated
from capture_tools.scan.sampling import Samples, joined, sample_scan
from capture_tools.scan.scan import Scan, apply
from capture_tools.scan.settings import RegisterSettings
from capture_tools.scan.texture_fit import TextureFitter

HEAD_RADIUS = 0.19
"""Metres of the ball around the head's middle in which a scan is looked at."""
FACE_RADIUS = 0.09
HEAD_SAMPLES, FACE_SAMPLES, MEASURED_SAMPLES = 14_000, 14_000, 30_000
BELIEF = 0.2
"""In landmarks, where the template is that of the person: it tells more of where skin is than a detector."""
FEWEST_COVERED = 0.7
"""Share of the face's vertices that the scan should hold."""
FAR_OFF = 2.0
"""Millimetres of the 95th percentile in the face above which something does not fit."""


@dataclass(frozen=True)
class Registration:
    """A scan in the head model's topology."""

    vertices: np.ndarray
    """`[V, 3]` float64 metres, in the head model's frame: the head itself is neither turned nor moved."""
    params: HeadParameters
    """One frame: the model closest to the vertices; its rotation and translation are zero."""
    model_vertices: np.ndarray
    """`[V, 3]` of those parameters."""
    scan_to_model: np.ndarray
    """`[4, 4]`: the scan's own frame to the vertices', with scale."""
    scan: Scan
    """In the frame of the vertices."""
    stages: dict[str, np.ndarray]
    """Vertices `[V, 3]` after each stage, in the same frame."""
    distances: dict[str, Distances]
    """Of samples to the head after each stage."""
    landmarks: ScanLandmarks
    """In the frame of the vertices."""
    flipped: int
    """Triangles of the face that are turned over."""
    crossing: int
    """Triangles of the face that cross others of it."""
    warnings: list[str]
    texture: dict[str, Any] = field(default_factory=dict)
    """Whether the scan's colours were used and, if not, why; median differences of ratio images before and after."""


def register_scan(
    scan: Scan,
    asset: HeadAsset,
    settings: RegisterSettings,
    hints: Hints | None = None,
) -> Registration:
    """Fit the head model to a scan, then free vertices.

    hints: what is known of the scan beforehand. Raises InputError where there is no face, or two.
    """
    begun = placed_fitter(scan, asset, settings, hints)
    fitter, placed, person = begun.fitter, begun.placed, begun.person
    whole, notes = begun.samples()
    model = fitter.to_samples(whole)
    centre = model.vertices[asset.region("face")].mean(0)
    if scan.faces is not None:
        close, _ = sample_scan(placed.scan, FACE_SAMPLES, (centre, FACE_RADIUS), seed=1)
        whole = joined(whole, close)
    belief = 1.0 if person is None else BELIEF
    coupling = CoupledFitter(fitter, whole, placed.landmarks, belief=belief)
    coupled = coupling.run()
    stages = {"model": model.vertices, "coupled": coupled.vertices}
    texture, told = _with_texture(coupling, coupled, placed.scan, centre, person)
    if texture is not None:
        stages["texture"], coupled = texture.vertices, texture
    made = _measured(begun, stages, coupled, notes)
    if person is not None:
        made = replace(made, params=replace(made.params, shape=torch.as_tensor(person.shape, dtype=torch.float32)))
    return replace(made, texture=told)


@dataclass(frozen=True)
class Begun:
    """A scan with the model fitted to its landmarks: where all stages start."""

    fitter: ModelFitter
    placed: PlacedScan
    person: Person | None

    @property
    def middle(self) -> np.ndarray:
        """`[3]` metres: of the head at rest, in the model's frame."""
        return template_landmarks(self.fitter.asset, "mediapipe").mean(0) - np.array([0, 0, 0.06])

    def samples(self, count: int = HEAD_SAMPLES, seed: int = 0) -> tuple[Samples, list[str]]:
        """About `count` points of the scan's head, and notes."""
        return sample_scan(self.placed.scan, count, (self.middle, HEAD_RADIUS), seed)


def placed_fitter(scan: Scan, asset: HeadAsset, settings: RegisterSettings, hints: Hints | None = None) -> Begun:
    """Bring the scan into the model's frame, and the model to its landmarks. Raises as `register_scan`."""
    hints = hints or Hints()
    person, last = hints.person, hints.last
    head = asset if person is None else person.head(asset)
    placed = place_scan(scan, head, settings, hints)
    fitter = ModelFitter(head, placed.landmarks)
    if person is not None:
        fitter.hold_shape()
    if last is not None and last.params is not None:
        fitter.start_from(last.params)
    start = fitter.to_landmarks()
    placed = retriangulated(placed, landmark_normals(asset, start))
    fitter.landmarks = placed.landmarks
    return Begun(fitter, placed, person)


def _with_texture(
    coupling: CoupledFitter, coupled: CoupledFit, scan: Scan, centre: np.ndarray, person: Person | None
) -> tuple[CoupledFit | None, dict[str, Any]]:
    """The fit aligned with the person's texture, where there is one, and what the report says of it."""
    if not scan.has_colours:
        return None, {"used": False, "why": "the scan has no colours"}
    if person is None or person.colours is None:
        return None, {
            "used": False,
            "why": "colours are compared between scans of one person (--sequence): the head model has none of its own",
        }
    values = coupling.fitter.values.copy()
    made = TextureFitter(coupling, scan, person.colours, centre).run(coupled)
    if made is None:
        coupling.fitter.values = values
        return None, {"used": False, "why": "scan and texture have too little in common"}
    fit, difference = made
    if fit.flipped + fit.crossing > coupled.flipped + coupled.crossing:
        coupling.fitter.values = values
        return None, {"used": False, "why": "triangles of the face were turned or crossed by it", **difference}
    return fit, {"used": True, **difference}


def landmark_normals(asset: HeadAsset, fit: ModelFit) -> np.ndarray:
    """Unit normals `[478, 3]` of the posed head at MediaPipe's landmarks."""
    faces = torch.as_tensor(asset.faces).long()
    normals = vertex_normals(torch.as_tensor(fit.vertices), faces).numpy()
    corners = asset.faces[asset.mediapipe_faces]
    mixed = (normals[corners] * asset.mediapipe_barycentrics[..., None]).sum(1)
    return mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12)


def _measured(begun: Begun, reached: dict[str, np.ndarray], coupled: CoupledFit, notes: list[str]) -> Registration:
    """Everything in the frame in which the head is neither turned nor moved, with distances and warnings.

    reached: vertices `[V, 3]` after each stage. coupled: the last one.
    """
    fitter, placed = begun.fitter, begun.placed
    final, asset = fitter.fit(), fitter.asset
    upright = np.linalg.inv(final.pose.world_from_head[0].double().numpy())
    measured, _ = begun.samples(MEASURED_SAMPLES, seed=2)
    move: Callable[[np.ndarray], np.ndarray] = lambda points: apply(upright, points)  # noqa: E731
    samples = Samples(move(measured.points), measured.normals @ upright[:3, :3].T, measured.oriented)
    stages = {name: move(vertices) for name, vertices in reached.items()}
    distances = {name: head_distances(asset, fitter.surface, at, samples) for name, at in stages.items()}
    last = list(stages)[-1]
    vertices = stages[last]
    judged = [*_uncovered(fitter, vertices, samples), *_faults(distances[last], coupled)]
    nothing = torch.zeros(1, 3)
    return Registration(
        vertices=vertices,
        params=replace(final.params, rotation=nothing, translation=nothing.clone()),
        model_vertices=move(final.vertices),
        scan_to_model=upright @ placed.scan_to_model,
        scan=placed.scan.moved(upright),
        stages=stages,
        distances=distances,
        landmarks=placed.landmarks.moved(upright),
        flipped=coupled.flipped,
        crossing=coupled.crossing,
        warnings=[*placed.scan.notes, *placed.warnings, *notes, *judged],
    )


def _uncovered(fitter: ModelFitter, vertices: np.ndarray, samples: Samples) -> list[str]:
    """A warning where the scan does not hold enough of the face `[V, 3]`."""
    held = np.zeros(len(vertices), bool)
    held[fitter.surface.match(vertices, samples, 0.005).corners] = True
    covered = float(held[fitter.asset.region("face")].mean())
    if covered < FEWEST_COVERED and samples.oriented:
        return [f"the scan shows {covered:.0%} of the face: the rest follows the head model"]
    return []


def _faults(distances: Distances, coupled: CoupledFit) -> list[str]:
    """Warnings about what is wrong with the result."""
    said = []
    summary = distances.summary()["face_crop"]
    if summary is not None and summary["p95"] > FAR_OFF:
        said.append(f"a twentieth of the face lies more than {summary['p95']:.1f} mm off: look at heatmap.png")
    for count, what in ((coupled.flipped, "turned over"), (coupled.crossing, "crossing others")):
        if count:
            said.append(f"{count} triangles of the face are left {what}")
    return said
