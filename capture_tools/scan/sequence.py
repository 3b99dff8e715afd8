"""Scans of one person in order: a template of the person from neutral scans, then every scan from the last one.

Li et al., ACM TOG 36(6), 2017, section 5: the personal template comes from coupled fits of neutral frames, the shape
is held at it, every frame starts where the last one ended, and the registered texture of the neutral frame is carried
along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from avatar.flame.assets import HeadAsset
from capture_tools.scan.landmarks import ScanLandmarks
from capture_tools.scan.matching import INSIDE
from capture_tools.scan.person import Last, Person, personal_template
from capture_tools.scan.registering import HEAD_RADIUS, HEAD_SAMPLES, Registration, placed_fitter, register_scan
from capture_tools.scan.sampling import sample_scan
from capture_tools.scan.scan import Scan
from capture_tools.scan.settings import RegisterSettings
from capture_tools.scan.surface_colours import colours_of_scan

LOOKED_AT = 8
"""Scans, spread over the sequence, among which those of a neutral face are sought."""
MOST_NEUTRAL = 3
NEARLY = 1.2
"""Times the smallest expression up to which a face is neutral too."""

Read = Callable[[int], Scan]
"""A scan of the sequence, by its number: scans are large, so that few are held at a time."""


@dataclass(frozen=True)
class NeutralScans:
    """The scans that the personal template comes from."""

    chosen: tuple[int, ...]
    """The one with the least expression first: its colours become the registered texture."""
    unrest: dict[int, float]
    """How far expression and jaw are from rest, in standard deviations, of the scans that were looked at."""


def find_neutral(
    read: Read,
    count: int,
    asset: HeadAsset,
    settings: RegisterSettings,
    landmarks: Sequence[ScanLandmarks] | None = None,
) -> NeutralScans:
    """The scans of a neutral face, by fits of the model alone to some of `count` scans."""
    looked = sorted({round(i) for i in np.linspace(0, count - 1, min(count, LOOKED_AT))})
    unrest, last = {}, None
    for number in looked:
        scan = read(number)
        given = None if landmarks is None else landmarks[number]
        fitter, placed, middle = placed_fitter(scan, asset, settings, given, None, last)
        last = last or Last(placed.scan_to_model)
        fitter.to_samples(sample_scan(placed.scan, HEAD_SAMPLES, (middle, HEAD_RADIUS))[0])
        unrest[number] = fitter.unrest()
    order = sorted(looked, key=lambda number: unrest[number])
    near = [number for number in order if unrest[number] <= NEARLY * unrest[order[0]]]
    return NeutralScans(tuple(near[:MOST_NEUTRAL]), unrest)


def person_of(
    read: Read,
    neutral: Sequence[int],
    asset: HeadAsset,
    settings: RegisterSettings,
    landmarks: Sequence[ScanLandmarks] | None = None,
) -> tuple[Person, Registration]:
    """The person with template and texture, and the registration of the first of the neutral scans."""
    made: list[Registration] = []
    for number in neutral:
        given = None if landmarks is None else landmarks[number]
        last = Last(made[0].scan_to_model, made[0].params) if made else None
        made.append(register_scan(read(number), asset, settings, given, last=last))
    person = Person(*personal_template(asset, [(one.vertices, one.params) for one in made]))
    reference = made[0]
    if len(made) > 1:  # the template is the mean of several: the first is fitted to it as all others are
        given = None if landmarks is None else landmarks[neutral[0]]
        last = Last(reference.scan_to_model, reference.params)
        reference = register_scan(read(neutral[0]), asset, settings, given, person, last)
    if not reference.scan.has_colours:
        return person, reference
    inside = np.any([asset.regions[name] for name in INSIDE if name in asset.regions], axis=0)
    wanted = ~inside[asset.faces].any(1)
    colours = colours_of_scan(reference.scan, reference.vertices, asset.faces, wanted)
    told = {"used": False, "why": "its colours are the registered texture that the other scans are aligned with"}
    return replace(person, colours=colours), replace(reference, texture=told)
