"""A sequence of scans as a folder: a registration of each scan in it, and the person in person.npz."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
from capture_tools.scan.landmarks import ScanLandmarks, read_landmarks
from capture_tools.scan.output import ARRAYS, REGISTRATION, REPORT, write_registration
from capture_tools.scan.person import Last, Person
from capture_tools.scan.reading import read_scan
from capture_tools.scan.registering import Registration, register_scan
from capture_tools.scan.scan import Scan
from capture_tools.scan.sequence import find_neutral, person_of
from capture_tools.scan.settings import RegisterSettings
from capture_tools.scan.surface_colours import SurfaceColours

PERSON = "person.npz"


def register_sequence(
    scans: Sequence[Path],
    folders: Sequence[Path],
    out: Path,
    asset: HeadAsset,
    settings: RegisterSettings,
    marked: Sequence[Path | None] = (),
) -> list[Path]:
    """Register scans of one person, each into its folder in `out`; returns the folders.

    marked: the file of landmarks of each scan; faces are searched without.

    What the same command has finished before is left as it is. Raises InputError for scans that cannot be used or do
    not make a sequence, OutputError where a folder holds something else, is damaged or is being written.
    """
    if len(scans) < 2:
        raise InputError("a sequence has several scans", expected="two SCAN or more", found=len(scans))
    neutral = _numbers(scans, settings.neutral)
    hashes = [sha256_of_file(scan)[:16] for scan in scans]
    said = [*hashes, settings.unit, str(settings.pupil_distance), str(neutral)]
    said += [sha256_of_file(file)[:16] for file in marked if file is not None]
    identity = {
        "scans": hashlib.sha256(" ".join(said).encode()).hexdigest()[:16],
        "head_model": asset.fingerprint[:12],
    }
    with claimed_folder(out, "sequence", identity):
        try:
            landmarks = [read_landmarks(file) for file in marked if file is not None] or None
            _Sequence(scans, folders, out, ready_head(asset), settings, identity, landmarks).run(neutral)
        except InputError:
            withdraw_claim(out)
            raise
    return list(folders)


def _numbers(scans: Sequence[Path], named: Sequence[Path]) -> tuple[int, ...]:
    """The places of the named scans in the sequence."""
    places = {scan.absolute(): number for number, scan in enumerate(scans)}
    missing = [path for path in named if Path(path).absolute() not in places]
    if missing:
        raise InputError(
            "--neutral names a scan that is not in the sequence", where=missing[0], fix="add it to SCAN..."
        )
    return tuple(places[Path(path).absolute()] for path in named)


class _Sequence:
    """The scans of a sequence, their folders, and what is known of the person so far."""

    def __init__(
        self,
        scans: Sequence[Path],
        folders: Sequence[Path],
        out: Path,
        asset: HeadAsset,
        settings: RegisterSettings,
        identity: dict[str, Any],
        landmarks: Sequence[ScanLandmarks] | None,
    ) -> None:
        self.scans, self.folders, self.out = scans, folders, out
        self.asset, self.settings, self.identity = asset, settings, identity
        self.landmarks = landmarks
        self.neutral: tuple[int, ...] = ()

    def run(self, neutral: tuple[int, ...]) -> None:
        """Everything that is not there yet."""
        person = self._person(neutral)
        last = self._last(self.neutral[0])
        with Progress("sequence", len(self.scans), "scan") as bar:
            for number in range(len(self.scans)):
                if not self._finished(number):
                    given = None if self.landmarks is None else self.landmarks[number]
                    made = register_scan(self._read(number), self.asset, self.settings, given, person, last)
                    self._write(number, made)
                last = self._last(number)
                bar.update(number + 1)

    def _read(self, number: int) -> Scan:
        return read_scan(self.scans[number])

    def _finished(self, number: int) -> bool:
        return (self.folders[number] / REPORT).is_file()  # written last

    def _write(self, number: int, made: Registration) -> None:
        names = [self.scans[k].name for k in self.neutral]
        sequence = {"scan": number, "scans": len(self.scans), "neutral": names, "shape": "held at the neutral scans'"}
        own = self.identity | {"number": number, "scan": sha256_of_file(self.scans[number])[:16]}
        with claimed_folder(self.folders[number], "registration", own):
            write_registration(self.folders[number], self.scans[number], made, self.asset, sequence)

    def _person(self, neutral: tuple[int, ...]) -> Person:
        """The person, read or made; the registration of the first neutral scan is then there too."""
        if (self.out / PERSON).is_file():
            return self._read_person()
        count = len(self.scans)
        self.neutral = neutral or find_neutral(self._read, count, self.asset, self.settings, self.landmarks).chosen
        person, reference = person_of(self._read, self.neutral, self.asset, self.settings, self.landmarks)
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
        arrays = self._arrays(self.folders[number] / REGISTRATION, "scan_to_model", *ARRAYS)
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
