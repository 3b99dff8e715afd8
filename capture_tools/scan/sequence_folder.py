"""A sequence of scans as a folder: a registration of each scan in it, and the person in person.npz."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar.base.errors import InputError, OutputError
from avatar.base.files import sha256_of_file, withdraw_claim, write_npz
from avatar.base.folder_lock import claimed_folder
from avatar.base.npz import read_npz
from avatar.base.progress import Progress
from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from capture_tools.embed.embedding import ready_head
from capture_tools.scan.landmarks import read_landmarks
from capture_tools.scan.output import ARRAYS, REGISTRATION, REPORT, ScanFiles, write_registration
from capture_tools.scan.person import Last, Person
from capture_tools.scan.reading import read_scan
from capture_tools.scan.registering import Registration, register_scan
from capture_tools.scan.sequence import ScanSeries, find_neutral, person_of
from capture_tools.scan.settings import RegisterSettings
from capture_tools.scan.surface_colours import SurfaceColours

PERSON = "person.npz"


def register_sequence(
    files: Sequence[ScanFiles], out: Path, asset: HeadAsset, settings: RegisterSettings
) -> list[Path]:
    """Register scans of one person, in order of time, each into its folder in `out`; returns the folders.

    All scans have a file of landmarks, or none. What the same command has finished before is left as it is. Raises
    InputError for scans that cannot be used or do not make a sequence, OutputError where a folder holds something
    else, is damaged or is being written.
    """
    if len(files) < 2:
        raise InputError("a sequence has several scans", expected="two SCAN or more", found=len(files))
    scans, marked = [one.scan for one in files], [one.landmarks for one in files if one.landmarks is not None]
    neutral = _numbers(scans, settings.neutral)
    hashes = [sha256_of_file(scan)[:16] for scan in scans]
    said = [*hashes, settings.unit, str(settings.pupil_distance), str(neutral)]
    said += [sha256_of_file(file)[:16] for file in marked]
    identity = {
        "scans": hashlib.sha256(" ".join(said).encode()).hexdigest()[:16],
        "head_model": asset.fingerprint[:12],
    }
    with claimed_folder(out, "sequence", identity):
        try:
            landmarks = [read_landmarks(file) for file in marked] or None
            series = ScanSeries(len(scans), lambda number: read_scan(scans[number]), landmarks)
            _Sequence(files, out, series, ready_head(asset), settings, identity).run(neutral)
        except InputError:
            withdraw_claim(out)
            raise
    return [one.folder for one in files]


def _numbers(scans: Sequence[Path], named: Sequence[Path]) -> tuple[int, ...]:
    """The places of the named scans in the sequence."""
    places = {scan.absolute(): number for number, scan in enumerate(scans)}
    missing = [path for path in named if Path(path).absolute() not in places]
    if missing:
        raise InputError(
            "--neutral names a scan that is not in the sequence", where=missing[0], fix="add it to SCAN..."
        )
    return tuple(places[Path(path).absolute()] for path in named)


@dataclass
class _Sequence:
    """The scans of a sequence, their folders, and what is known of the person so far."""

    files: Sequence[ScanFiles]
    out: Path
    series: ScanSeries
    asset: HeadAsset
    settings: RegisterSettings
    identity: dict[str, Any]
    neutral: tuple[int, ...] = ()

    def run(self, neutral: tuple[int, ...]) -> None:
        """Everything that is not there yet."""
        person = self._person(neutral)
        last = self._last(self.neutral[0])
        with Progress("sequence", len(self.files), "scan") as bar:
            for number in range(len(self.files)):
                if not self._finished(number):
                    hints = self.series.hints(number, person, last)
                    made = register_scan(self.series.read(number), self.asset, self.settings, hints)
                    self._write(number, made)
                last = self._last(number)
                bar.update(number + 1)

    def _finished(self, number: int) -> bool:
        return (self.files[number].folder / REPORT).is_file()  # written last

    def _write(self, number: int, made: Registration) -> None:
        scan, folder = self.files[number].scan, self.files[number].folder
        names = [self.files[k].scan.name for k in self.neutral]
        sequence = {"scan": number, "scans": len(self.files), "neutral": names, "shape": "held at the neutral scans'"}
        own = self.identity | {"number": number, "scan": sha256_of_file(scan)[:16]}
        with claimed_folder(folder, "registration", own):
            write_registration(folder, scan, made, self.asset, sequence)

    def _person(self, neutral: tuple[int, ...]) -> Person:
        """The person, read or made; the registration of the first neutral scan is then there too."""
        if (self.out / PERSON).is_file():
            return self._read_person()
        self.neutral = neutral or find_neutral(self.series, self.asset, self.settings).chosen
        person, reference = person_of(self.series, self.neutral, self.asset, self.settings)
        self._write(self.neutral[0], reference)
        arrays = {"template": person.template, "shape": person.shape, "neutral": np.array(self.neutral)}
        if person.colours is not None:
            arrays |= {"colours": np.rint(255 * person.colours.values).astype(np.uint8), "known": person.colours.known}
        write_npz(self.out / PERSON, arrays, compressed=True)
        return person

    def _read_person(self) -> Person:
        arrays = self._arrays(self.out / PERSON, "template", "shape", "neutral")
        self.neutral = tuple(int(number) for number in arrays["neutral"])
        colours = None
        if "colours" in arrays:
            colours = SurfaceColours(arrays["colours"].astype(np.float32) / 255, arrays["known"])
        return Person(arrays["template"], arrays["shape"], colours)

    def _last(self, number: int) -> Last:
        arrays = self._arrays(self.files[number].folder / REGISTRATION, "scan_to_model", *ARRAYS)
        values = {name: torch.as_tensor(arrays[name]) for name in ARRAYS}
        params = HeadParameters(**{key: v if key == "shape" else v[None] for key, v in values.items()})
        return Last(arrays["scan_to_model"], params)

    def _arrays(self, path: Path, *names: str) -> dict[str, np.ndarray]:
        try:
            arrays = read_npz(path)
            missing = [name for name in names if name not in arrays]
            if missing:
                raise ValueError(f"it lacks {', '.join(missing)}")
        except (OSError, ValueError) as cause:
            raise OutputError(
                "a file of this sequence is damaged", where=path, found=cause, fix="remove the folder, and start again"
            ) from cause
        return arrays
