"""Texture spaces as files: captures in, SPACE.npz, its report and its people out; pictures of sampled people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.errors import InputError, OutputError
from avatar.base.files import refuse_existing_file, refuse_inputs, require_free_space, require_place_for, write_json
from avatar.base.folder_lock import claimed_folder
from avatar.base.limits import SEED
from avatar.flame.assets import HeadAsset
from avatar.flame.library import open_head_model
from avatar.media.images import to_uint8, write_png
from capture_tools.embed.embedding import ready_head
from capture_tools.model_learning.from_clips.reading import find_captures
from capture_tools.texture_space.building import Built, build
from capture_tools.texture_space.pictures import draw_people, draw_sheet
from capture_tools.texture_space.reading import SeenTexture, check_enough, map_of, read_textures
from capture_tools.texture_space.settings import SAMPLES, TextureSettings
from capture_tools.texture_space.space import TextureSpace, read_space, require_same_map, save_space, space_identity

ENDING, PICTURE, SHEET = ".npz", ".png", "sheet.png"
NEEDED_BYTES = 64 * 2**20
FEW_SEEN = 0.15
"""Share of the map below which a warning is written."""
WIDEST = 2.0
"""Standard deviations at which sampled coefficients are cut, so that no person is a caricature."""


@dataclass(frozen=True)
class BuiltFiles:
    """What building wrote, and what there is to say."""

    space: Path
    report: Path
    people: Path
    content: dict[str, Any]
    """Of the report."""


def build_files(places: Sequence[Path], out: Path, settings: TextureSettings, *, overwrite: bool = False) -> BuiltFiles:
    """Build a texture space from captures and write it, with SPACE.report.json and SPACE.people.png beside it.

    Raises InputError, CaptureError or HeadModelError for captures that cannot be used, OutputError for `out`; all
    before anything is computed.
    """
    settings, out = settings.check(), Path(out)
    report, people = (out.with_suffix(end) for end in (".report.json", ".people.png"))
    check_output(out, overwrite)
    places = find_captures(places)
    check_enough(len(places), settings.components)
    asset = open_head_model(settings.head_model)
    place = map_of(asset, settings.size).place.numpy()
    for folder in places:
        refuse_inputs(out, folder)
    textures = read_textures(places, asset, place, settings.size)
    require_free_space(out.parent, NEEDED_BYTES)
    built = build(textures, asset, place, settings)
    content = report_of(built, textures, asset, settings)
    save_space(out, built.space)
    write_png(people, draw_people(built.space, textures, built.completed))
    write_json(report, content)
    return BuiltFiles(out, report, people, content)


def check_output(out: Path, overwrite: bool) -> None:
    """Raise OutputError unless a texture space can be written to `out`."""
    if out.suffix.lower() != ENDING:
        raise OutputError(
            "a texture space cannot be written there",
            where=out,
            expected=f"a file SPACE{ENDING}",
            found=out.name,
            fix="choose another --out",
        )
    require_place_for(out, overwrite)


def report_of(
    built: Built, textures: Sequence[SeenTexture], asset: HeadAsset, settings: TextureSettings
) -> dict[str, Any]:
    """The content of the report."""
    space = built.space
    seen = {one.name: float((one.seen > 0.5).mean()) for one in textures}
    notes = [
        f"{name} shows {share:.0%} of the map: most of it is guessed"
        for name, share in seen.items()
        if share < FEW_SEEN
    ]
    kept = len(space.components)
    if kept < settings.components:
        notes.append(f"the captures vary in {kept} components only, not {settings.components}")
    tenth = max(1, len(built.losses) // 10)
    return {
        "head": {"name": asset.name, "fingerprint": asset.fingerprint},
        "uv_fingerprint": asset.uv_fingerprint,
        "settings": asdict(settings),
        "captures": {name: {"seen_share": round(share, 4)} for name, share in seen.items()},
        "components": kept,
        "explained_variance": [round(float(share), 5) for share in space.explained],
        "explained_by_components": round(float(space.explained[:kept].sum()), 5),
        "completion_loss": None
        if not built.losses
        else {
            "first": round(float(np.mean(built.losses[:tenth])), 5),
            "last": round(float(np.mean(built.losses[-tenth:])), 5),
            "unit": "root mean square error of hidden texels, sRGB in [0, 1]",
        },
        "warnings": notes,
    }


def sample_coefficients(space: TextureSpace, count: int, seed: int) -> np.ndarray:
    """Coefficients `[N, K]` of people who do not exist: the unit normal, cut at WIDEST."""
    return np.random.default_rng([seed, 92]).standard_normal((count, len(space.components))).clip(-WIDEST, WIDEST)


def sample_files(
    path: Path,
    out: Path,
    *,
    count: int = 9,
    seed: int = 0,
    head_model: str | None = None,
    overwrite: bool = False,
) -> list[tuple[Path, str]]:
    """Draw sampled people: a folder `out` with their albedo pictures and a sheet of heads, or a PNG file, the sheet.

    head_model: name or file of the head that the sheet shows, by default the one that the space names. Returns each
    file with a word on what it is. Raises InputError for a file that is no space, OutputError for `out`, HeadModelError
    where the space's head model is not to be found.
    """
    path, out = Path(path), Path(out)
    SAMPLES.require("--count", count, error=InputError)
    SEED.require("--seed", seed, error=InputError)
    space = read_space(path)
    asset = open_head_model(head_model or space.head_name)
    require_same_map(space, asset, path)
    asset = ready_head(asset)
    pictures = [to_uint8(space.picture(space.albedo(one))) for one in sample_coefficients(space, count, seed)]
    if out.suffix.lower() == PICTURE:
        refuse_existing_file(out, overwrite)
        return [(write_png(out, draw_sheet(asset, pictures), synthetic=True), "heads of the sampled people")]
    with claimed_folder(out, "texture sample", {"space": space_identity(path), "count": count, "seed": seed}):
        written = [
            write_png(out / f"albedo_{number:03d}{PICTURE}", picture, synthetic=True)
            for number, picture in enumerate(pictures)
        ]
        sheet = write_png(out / SHEET, draw_sheet(asset, pictures), synthetic=True)
    first = "the albedo of a person" if count == 1 else f"the albedo of the first of {count} people"
    return [(written[0], first), (sheet, "their heads")]
