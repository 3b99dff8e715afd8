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
from capture_tools.scan.person import Hints, Last, Person, personal_template
from capture_tools.scan.registering import Registration, placed_fitter, register_scan
from capture_tools.scan.scan import Scan
from capture_tools.scan.settings import RegisterSettings
from capture_tools.scan.surface_colours import colours_of_scan

LOOKED_AT = 8
"""Scans, spread over the sequence, among which those of a neutral face are sought."""
MOST_NEUTRAL = 3
NEARLY = 1.2
"""Times the smallest expression up to which a face is neutral too."""


@dataclass(frozen=True)
class ScanSeries:
    """Scans of one person in order of time."""

    count: int
    read: Callable[[int], Scan]
    """A scan by its number: scans are large, so that few are held at a time."""
    landmarks: Sequence[ScanLandmarks] | None = None
    """Of each scan in its own frame. They are found on the scans by default."""

    def hints(self, number: int, person: Person | None = None, last: Last | None = None) -> Hints:
        """What is known of a scan."""
        return Hints(None if self.landmarks is None else self.landmarks[number], person, last)


@dataclass(frozen=True)
class NeutralScans:
    """The scans that the personal template comes from."""

    chosen: tuple[int, ...]
    """The one with the least expression first: its colours become the registered texture."""
    unrest: dict[int, float]
    """How far expression and jaw are from rest, in standard deviations, of the scans that were looked at."""


def find_neutral(series: ScanSeries, asset: HeadAsset, settings: RegisterSettings) -> NeutralScans:
    """The scans of a neutral face, by fits of the model alone to some of them."""
    looked = sorted({round(i) for i in np.linspace(0, series.count - 1, min(series.count, LOOKED_AT))})
    unrest, last = {}, None
    for number in looked:
        begun = placed_fitter(series.read(number), asset, settings, series.hints(number, last=last))
        last = last or Last(begun.placed.scan_to_model)
        begun.fitter.to_samples(begun.samples()[0])
        unrest[number] = begun.fitter.unrest()
    order = sorted(looked, key=lambda number: unrest[number])
    near = [number for number in order if unrest[number] <= NEARLY * unrest[order[0]]]
    return NeutralScans(tuple(near[:MOST_NEUTRAL]), unrest)


def person_of(
    series: ScanSeries, neutral: Sequence[int], asset: HeadAsset, settings: RegisterSettings
) -> tuple[Person, Registration]:
    """The person with template and texture, and the registration of the first of the neutral scans."""
    made: list[Registration] = []
    for number in neutral:
        last = Last(made[0].scan_to_model, made[0].params) if made else None
        made.append(register_scan(series.read(number), asset, settings, series.hints(number, last=last)))
    person = Person(*personal_template(asset, [(one.vertices, one.params) for one in made]))
    reference = made[0]
    if len(made) > 1:  # the template is the mean of several: the first is fitted to it as all others are
        last = Last(reference.scan_to_model, reference.params)
        hints = series.hints(neutral[0], person, last)
        reference = register_scan(series.read(neutral[0]), asset, settings, hints)
    if not reference.scan.has_colours:
        return person, reference
    inside = np.any([asset.regions[name] for name in INSIDE if name in asset.regions], axis=0)
    wanted = ~inside[asset.faces].any(1)
    colours = colours_of_scan(reference.scan, reference.vertices, asset.faces, wanted)
    told = {"used": False, "why": "its colours are the registered texture that the other scans are aligned with"}
    return replace(person, colours=colours), replace(reference, texture=told)
