"""From an avatar and its drivers' files to a video of it: what `avatar reanimate` and the function share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avatar.animation.comparison import require_pictures
from avatar.animation.driver_files import Driver, find_driver, is_parameters, load_driver
from avatar.animation.expressions import jaw_share_of
from avatar.animation.kept_drivers import read_driver, write_driver
from avatar.animation.options import DrivenPresentation, DriverPart, Retarget
from avatar.animation.reanimate import reanimate, require_drivable
from avatar.animation.transfer import parse_gains
from avatar.animation.work import Work, identity_of, work_beside
from avatar.app.workflow import track_driver
from avatar.base.conventions import VERSION
from avatar.base.errors import ConfigError
from avatar.base.files import sha256_of_file

if TYPE_CHECKING:
    from avatar.avatar import Avatar
    from avatar.flame.assets import HeadAsset
    from avatar.flame.model import HeadParameters


@dataclass(frozen=True)
class Performance:
    """Drivers that were found and options that were checked, before an avatar is loaded."""

    sources: list[Path]
    """Files and folders that drive, in the order given."""
    out: Path
    settings: list[Retarget]
    """One for each source."""
    part: DriverPart
    presentation: DrivenPresentation


def planned(
    drivers: Sequence[Path],
    out: Path,
    settings: Retarget,
    neutral: Sequence[float],
    part: DriverPart,
    presentation: DrivenPresentation,
) -> Performance:
    """What can be told at once is told before anything is loaded or tracked.

    neutral: seconds at which each driver's face is neutral; found by default. Raises as `animation.reanimate` and
    `find_driver`; ConfigError for numbers of them that do not fit, or a part of several drivers.
    """
    require_drivable(out, presentation, drivers)
    parse_gains(settings.gain)
    if not drivers:
        raise ConfigError("--driver names no driver", expected="one or several")
    if neutral and len(neutral) != len(drivers):
        raise ConfigError(
            "--neutral does not fit the drivers", expected=f"a second for each of {len(drivers)}", found=len(neutral)
        )
    if len(drivers) > 1 and part.is_cut:
        raise ConfigError("--start and --end are for a single driver", found=f"{len(drivers)} drivers")
    sources = [find_driver(driver, part) for driver in drivers]
    for source in sources if presentation.compare else ():
        require_pictures(not is_parameters(source))
    each = [replace(settings, neutral=moment) for moment in neutral] or [settings] * len(sources)
    return Performance(sources, out, each, part, presentation)


def perform(avatar: Avatar, plan: Performance) -> tuple[Path, list[str]]:
    """Write the avatar performing what was planned; returns the output and what a person should be told.

    A call that was interrupted goes on when it is repeated: videos that were tracked are not tracked again.
    """
    with work_beside(plan.out) as work:
        drivers = [kept_driver(avatar.parameters, avatar.asset, source, plan.part, work) for source in plan.sources]
        written = reanimate(avatar, drivers, plan.out, plan.presentation, settings=plan.settings, work=work)
    return written, list(dict.fromkeys(note for driver in drivers for note in driver.notes))


def driver_for(avatar: Avatar, source: Path, part: DriverPart | None = None) -> Driver:
    """The performance of a driver for an avatar, whose mouth a CSV opens as its own clip did; of a video the part,
    the whole by default. Raises as `load_driver`."""
    return _load(avatar.parameters, avatar.asset, source, part)


def kept_driver(own: HeadParameters, asset: HeadAsset, source: Path, part: DriverPart, work: Work) -> Driver:
    """`driver_for` of the person of parameters `own`, which keeps what it tracked with the work."""
    if source.is_dir() or is_parameters(source):
        return _load(own, asset, source, part)
    kept = work.driver(identity_of(VERSION, sha256_of_file(source), asset.fingerprint, asdict(part))[:16])
    found = read_driver(kept, source)
    if found is None:
        found = _load(own, asset, source, part)
        write_driver(kept, found)
    return found


def _load(own: HeadParameters, asset: HeadAsset, source: Path, part: DriverPart | None) -> Driver:
    return load_driver(source, asset, part, track=track_driver, jaw_share=jaw_share_of(own, asset))
