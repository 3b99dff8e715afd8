"""The formats of `avatar export`, each by its name: what is checked before any work, and the writing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from avatar.base.errors import ConfigError, InputError
from avatar.base.files import refuse_existing_file
from avatar.base.provenance import Source
from avatar.export.terms import Terms
from avatar.media.manifest import attach_manifest, require_signing

if TYPE_CHECKING:
    from avatar.animation.driver_files import Driver
    from avatar.avatar import Avatar

Format = Literal["glb", "arkit-csv", "npz", "capture", "ply", "html", "vrm"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[str, str] = {
    "glb": ".glb",
    "arkit-csv": ".csv",
    "npz": ".npz",
    "ply": ".ply",
    "html": ".html",
    "vrm": ".vrm",
}
"""Ending of the file of each format; a capture is a folder."""
DRIVEN = ("glb", "arkit-csv", "npz", "html")
"""Formats that hold a performance: the run's clip, or a driver's."""

SYNTHETIC = ("glb", "html", "vrm", "ply")
"""Formats that show the avatar, and say that it is synthetic."""


class Exported(NamedTuple):
    """What an export wrote."""

    path: Path
    notes: tuple[str, ...]
    """What a person should be told, a sentence each."""


def check_export(
    format: str, out: Path, *, driven: bool, points: bool, overwrite: bool, terms: Terms | None = None
) -> None:
    """Raise, before any work, what an export cannot do.

    ConfigError for an unknown format or an option that is not the format's, InputError for an ending that the file
    cannot have, OutputError where `out` exists (a file, and `overwrite` is False), for what shows the avatar what
    `require_signing` raises.
    """
    if format not in FORMATS:
        raise ConfigError("the format is unknown", expected=", ".join(FORMATS), found=format)
    if driven and format not in DRIVEN:
        raise ConfigError(f"--driver is for {', '.join(DRIVEN)}: the others hold no performance", found=format)
    if points and format != "ply":
        raise ConfigError("--points is for ply", found=format)
    if terms is not None and terms != Terms():
        if format != "vrm":
            raise ConfigError("--author and --licence are for vrm", found=format)
        terms.check()
    if format in SYNTHETIC:
        require_signing()
    if format == "capture":
        from avatar.export.capture_copy import require_new_folder

        return require_new_folder(out)
    if Path(out).suffix.lower() != SUFFIXES[format]:
        expected = f"a name ending in {SUFFIXES[format]}"
        raise InputError("the output file has another ending than the format", where=out, expected=expected)
    return refuse_existing_file(out, overwrite)


def export_run(
    run: Path,
    out: Path,
    format: Format,
    *,
    load_avatar: Callable[[Path], Avatar],
    load_driver: Callable[[Avatar], Driver] | None = None,
    points: bool = False,
    overwrite: bool = False,
    terms: Terms | None = None,
) -> Exported:
    """Write a run in one of the formats.

    load_avatar: opens a run (`avatar.data.checkpoint.load_avatar`); a capture is copied without it. load_driver: the
    performance for an avatar, in place of the run's clip; as it is in arkit-csv and npz, put on the avatar as
    `reanimate` does in glb and html. points: of ply, the surface's points without faces. terms: of vrm. Raises as
    `check_export`, RunError, CaptureError and HeadModelError where run or capture are damaged (HeadModelError too for a
    head without the names that a format needs), MissingDependencyError where html finds no three.js, OutputError where
    nothing can be written.
    """
    run, out = Path(run), Path(out)
    check_export(format, out, driven=load_driver is not None, points=points, overwrite=overwrite, terms=terms)
    if format == "capture":
        from avatar.data.capture_reference import open_run_capture
        from avatar.export.capture_copy import copy_capture

        return Exported(copy_capture(open_run_capture(run), out), ())
    avatar = load_avatar(run)
    exported = _written(run, out, format, avatar, load_driver, points, terms or Terms())
    if format in SYNTHETIC:
        attach_manifest(exported.path, Source.RENDERED)
    return exported


def _written(
    run: Path,
    out: Path,
    format: Format,
    avatar: Avatar,
    load_driver: Callable[[Avatar], Driver] | None,
    points: bool,
    terms: Terms,
) -> Exported:
    """`export_run` of what an avatar shows, without its manifest."""
    if format == "ply":
        from avatar.export.ply import write_ply
        from avatar.export.surface import field_surface

        return Exported(write_ply(out, field_surface(avatar), points=points), ())
    if format == "vrm":
        return _vrm(run, out, avatar, terms)
    return _performance(run, out, format, avatar, None if load_driver is None else load_driver(avatar))


def _vrm(run: Path, out: Path, avatar: Avatar, terms: Terms) -> Exported:
    """Write the head of a run as a VRM avatar, which holds no performance."""
    from avatar.export.appearance import read_appearance
    from avatar.export.clip import clip_of_run
    from avatar.export.vrm import write_vrm

    appearance = read_appearance(clip_of_run(run, avatar).capture, avatar.asset)
    name = run.resolve().name
    written = write_vrm(out, avatar.identity.params, avatar.asset, appearance, name, terms)
    return Exported(written, (appearance.note,) if appearance.note else ())


def _performance(run: Path, out: Path, format: Format, avatar: Avatar, driver: Driver | None) -> Exported:
    """Write the clip of a run, or a driver's, in one of the formats that hold a performance."""
    from dataclasses import replace

    from avatar.export.clip import clip_of_driver, clip_of_run

    own = clip_of_run(run, avatar)
    clip = own if driver is None else clip_of_driver(driver)
    if format == "arkit-csv":
        from avatar.export.arkit_csv import write_arkit_csv

        return Exported(write_arkit_csv(out, clip, avatar.asset), clip.notes)
    if format == "npz":
        from avatar.export.npz import write_parameters

        return Exported(write_parameters(out, clip, avatar.asset), clip.notes)
    from avatar.animation.driving import retarget, smooth_tracking
    from avatar.export.appearance import read_appearance

    if driver is not None:
        clip = replace(clip, params=retarget(own.params, smooth_tracking(clip.params)))
    appearance = read_appearance(own.capture, avatar.asset)
    notes = (*clip.notes, *([appearance.note] if appearance.note else []))
    if format == "html":
        from avatar.export.html import write_html

        title = run.resolve().name
        return Exported(write_html(out, clip, avatar.identity.params, avatar.asset, appearance, title), notes)
    from avatar.export.glb import write_glb

    return Exported(write_glb(out, clip, avatar.identity.params, avatar.asset, appearance), notes)
