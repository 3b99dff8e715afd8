"""A scan brought into the head model's frame: upright, in metres, with landmarks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from avatar.base.errors import InputError
from avatar.base.limits import PUPIL_DISTANCE
from avatar.flame.assets import HeadAsset
from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.scan.finding import MOST_FACES, find_face
from capture_tools.scan.landmarks import (
    FEWEST_VIEWS,
    VIEWS,
    CloseView,
    ScanLandmarks,
    check_face,
    close_views,
    template_landmarks,
    triangulate,
)
from capture_tools.scan.person import Hints, Last
from capture_tools.scan.rendering import ScanPainter
from capture_tools.scan.scan import Scan, scale_of
from capture_tools.scan.settings import UNITS, USUAL_PUPIL_DISTANCE, RegisterSettings

OTHER_SCALE = 0.15
"""Share by which a person's scan may differ in size from the others."""


@dataclass(frozen=True)
class PlacedScan:
    """A scan in the head model's frame."""

    scan: Scan
    """Vertices in metres, near the model at rest."""
    scan_to_model: np.ndarray
    """`[4, 4]` similarity from the scan's own frame."""
    landmarks: ScanLandmarks
    """In the model's frame."""
    views: list[CloseView]
    """The close pictures that the landmarks come from; empty where landmarks were given."""
    views_to_model: np.ndarray
    """`[4, 4]`: from the cameras' frame to the model's."""
    warnings: list[str]


def place_scan(scan: Scan, asset: HeadAsset, settings: RegisterSettings, hints: Hints | None = None) -> PlacedScan:
    """Find the face and bring the scan into the model's frame.

    Known landmarks spare the search. The scale of another scan of the person is kept, and the face is looked for where
    it was there. Raises InputError where there is no face, or two.
    """
    hints = hints or Hints()
    given, last, warnings = hints.landmarks, hints.last, []
    if given is not None:
        to_model, _ = check_face(given, template_landmarks(asset, given.kind), scan.name)
        landmarks, views, back = given.moved(to_model), [], np.eye(4)
        if missing := np.flatnonzero(~given.known[17:]).tolist():
            warnings.append(f"landmarks missing: {', '.join(str(i + 1) for i in missing)} of 51")
    else:
        to_model, landmarks, views, back = _detected(scan, asset, None if last is None else last.scan_to_model)
        if len(views) < len(VIEWS):
            warnings.append(f"the face was seen in {len(views)} of {len(VIEWS)} views")
    scale, said = _metric(to_model, landmarks, settings) if last is None else _like_others(to_model, last)
    sized = np.diag([scale, scale, scale, 1.0])
    # the template's centre stays where it is, so that the model starts on the scan
    middle = template_landmarks(asset, landmarks.kind).mean(0)
    sized[:3, 3] = (1 - scale) * middle
    to_model = sized @ to_model
    return PlacedScan(scan.moved(to_model), to_model, landmarks.moved(sized), views, sized @ back, warnings + said)


def _detected(
    scan: Scan, asset: HeadAsset, start: np.ndarray | None
) -> tuple[np.ndarray, ScanLandmarks, list[CloseView], np.ndarray]:
    """Similarity to the model, landmarks in the model's frame, views and their frame's map to the model's.

    start: a similarity `[4, 4]` near which the face is tried first.
    """
    template = template_landmarks(asset, "mediapipe")
    with LandmarkDetector(static=True, max_faces=MOST_FACES) as detector:
        if start is not None:
            try:
                return _close_to(scan, template, start, detector)
            except InputError:  # the scan stands elsewhere than the last: searched from all sides
                pass
        return _close_to(scan, template, find_face(scan, template, detector), detector)


def _close_to(
    scan: Scan, template: np.ndarray, to_model: np.ndarray, detector: LandmarkDetector
) -> tuple[np.ndarray, ScanLandmarks, list[CloseView], np.ndarray]:
    """What `_detected` returns, from close views of a face whose place is known roughly."""
    again, landmarks, views = np.eye(4), None, []
    for angles in (VIEWS[:5], VIEWS):  # the second time from where a face is upright and centred, however it came
        to_model = again @ to_model
        views = close_views(ScanPainter(scan.moved(to_model)), template.mean(0), angles, detector)
        if len(views) < min(FEWEST_VIEWS, len(angles) - 1):
            raise InputError(
                "no face was found on the scan",
                where=scan.name,
                expected=f"a face in at least {FEWEST_VIEWS} of {len(VIEWS)} close views",
                found=len(views),
                fix="give its landmarks in FLAME's order: --landmarks FILE",
            )
        landmarks = triangulate(views)
        again, _ = check_face(landmarks, template, scan.name)
    assert landmarks is not None
    return again @ to_model, landmarks.moved(again), views, again


def _like_others(to_model: np.ndarray, last: Last) -> tuple[float, list[str]]:
    """The factor that gives the scan the scale of the person's others, and what there is to say about it."""
    factor = scale_of(last.scan_to_model) / scale_of(to_model)
    if abs(factor - 1) < OTHER_SCALE:
        return factor, []
    return 1.0, [
        f"at the scale of the person's other scans this head would be {factor:.3g} times as large: "
        "it was given their size"
    ]


def retriangulated(placed: PlacedScan, normals: np.ndarray) -> PlacedScan:
    """The landmarks again, without views in which they are turned away.

    normals: `[478, 3]` of the model's skin at the landmarks, in the model's frame.
    """
    if not placed.views:
        return placed
    inverse = np.linalg.inv(placed.views_to_model)
    turned = normals @ (inverse[:3, :3] / scale_of(inverse)).T
    facing = []
    for view in placed.views:
        towards = view.camera.position - placed.landmarks.moved(inverse).points
        cosine = (turned * towards).sum(1) / np.linalg.norm(towards, axis=1)
        facing.append(cosine > FACING)
    landmarks = triangulate(placed.views, np.stack(facing).astype(float))
    return replace(placed, landmarks=landmarks.moved(placed.views_to_model))


FACING = 0.15
"""Cosine between a landmark's skin and the camera from which on it is seen."""


def _metric(to_model: np.ndarray, landmarks: ScanLandmarks, settings: RegisterSettings) -> tuple[float, list[str]]:
    """The factor that gives the scan its size, and what there is to say about it."""
    apart = 1000 * float(np.linalg.norm(np.subtract(*landmarks.pupils())))
    if settings.unit != "auto":
        factor = UNITS[settings.unit] / scale_of(to_model)
        if PUPIL_DISTANCE.hold(factor * apart):
            return factor, []
        return factor, [f"in {settings.unit} the pupils lie {factor * apart:.3g} mm apart: is the unit right?"]
    if settings.pupil_distance is not None:
        return settings.pupil_distance / apart, []
    return USUAL_PUPIL_DISTANCE / apart, [
        f"scale guessed: the scan's unit is not known, so its pupils are taken to lie {USUAL_PUPIL_DISTANCE:.0f} mm "
        "apart; --unit or --pupil-distance say it"
    ]
