"""Training as files: registration folders in; MODEL.npz, its report and its curves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from avatar.base.conventions import OPEN_HEAD
from avatar.base.errors import OutputError
from avatar.base.files import refuse_inputs, require_free_space, require_place_for, write_json
from avatar.flame.assets import JOINT_NAMES, HeadAsset, save_head
from avatar.flame.importing import model_name
from avatar.flame.library import open_head_model
from avatar.media.images import write_png
from capture_tools.embed.embedding import ready_head
from capture_tools.model_learning.measures import Curves, expression_curves, shape_curves
from capture_tools.model_learning.pictures import draw_curves
from capture_tools.model_learning.reading import check_enough, read_registrations
from capture_tools.model_learning.rounds import find_scans, register_again
from capture_tools.model_learning.settings import LearnSettings
from capture_tools.model_learning.state import PoseSpace, Registrations
from capture_tools.model_learning.training import TrainedModel, head_of, train_model
from capture_tools.scan.output import REGISTRATION

ENDING = ".npz"
NEEDED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ModelFiles:
    """A learned head model as files, and what there is to say."""

    model: Path
    report: Path
    curves: Path
    asset: HeadAsset
    content: dict[str, Any]
    """Of the report."""


def train_files(places: Sequence[Path], out: Path, settings: LearnSettings, *, overwrite: bool = False) -> ModelFiles:
    """Train a head model from registrations and write it, with MODEL.report.json and MODEL.curves.png beside it.

    Raises InputError or HeadModelError for registrations that cannot be used, OutputError for `out`; all before
    anything is computed.
    """
    settings = settings.check()
    out = Path(out)
    check_output(out, overwrite)
    asset = open_head_model(settings.head_model)
    data, folders, notes = read_registrations(places, asset, settings.subjects)
    for folder in folders:
        refuse_inputs(out, folder / REGISTRATION)
    check_enough(data, settings.shape_components, settings.expression_components)
    scans = find_scans(folders, settings.scans) if settings.scans is not None and settings.rounds > 1 else []
    require_free_space(out.parent, NEEDED_BYTES)
    asset = ready_head(asset)
    name = model_name(out)
    trained = _trained(data, asset, settings, None)
    for number in range(2, settings.rounds + 1):
        better = head_of(trained, asset, name)
        data, folders = register_again(data, folders, scans, better, out.with_suffix(".rounds") / f"round_{number}")
        trained = _trained(data, asset, settings, better)
    made = head_of(trained, asset, name)
    spaces = {"shape": shape_curves(trained), "expression": expression_curves(trained, data)}
    content = report_of(trained, data, asset, made, spaces, notes, settings)
    return write_model(out, made, spaces, content)


def _trained(data: Registrations, asset: HeadAsset, settings: LearnSettings, first: HeadAsset | None) -> TrainedModel:
    return train_model(
        data,
        asset,
        first=first,
        expressions=settings.expression_components,
        shapes=settings.shape_components,
    )


def write_model(out: Path, made: HeadAsset, spaces: dict[str, Curves], content: dict[str, Any]) -> ModelFiles:
    """Write MODEL.npz, MODEL.curves.png and MODEL.report.json. Raises OutputError."""
    report, curves, picture = out.with_suffix(".report.json"), out.with_suffix(".curves.png"), draw_curves(spaces)
    save_head(out, made)
    write_png(curves, picture)
    write_json(report, content)
    return ModelFiles(out, report, curves, made, content)


def check_output(out: Path, overwrite: bool) -> None:
    """Raise OutputError unless a head model can be written to `out`."""
    if out.suffix.lower() != ENDING or model_name(out) == OPEN_HEAD:
        raise OutputError(
            "a head model cannot be written there",
            where=out,
            expected=f"a file MODEL{ENDING}; MODEL is the head's name from then on, and not {OPEN_HEAD}",
            found=out.name,
            fix="choose another --out",
        )
    require_place_for(out, overwrite)


def report_of(
    trained: TrainedModel,
    data: Registrations,
    asset: HeadAsset,
    made: HeadAsset,
    spaces: dict[str, Curves],
    notes: list[str],
    settings: LearnSettings,
) -> dict[str, Any]:
    """The content of the report."""
    state, start = trained.state, PoseSpace.of(asset)
    distances = 1000 * state.distances(data)
    moved = 1000 * ((state.space.regressor - start.regressor) @ state.neutrals).norm(dim=-1)
    worst = distances.mean(1).argsort(descending=True)[:5]
    return {
        "model": {"name": made.name, "fingerprint": made.fingerprint},
        "start": {"name": asset.name, "fingerprint": asset.fingerprint},
        "rounds": settings.rounds,
        "registrations": len(data.names),
        "subjects": {
            name: {
                "registrations": int((data.subjects == index).sum()),
                "neutral": next(
                    n for n, s, k in zip(data.names, data.subjects, data.neutral, strict=True) if k and s == index
                ),
            }
            for index, name in enumerate(data.subject_names)
        },
        "directions": {"shape": len(trained.shapes), "expression": len(state.directions)},
        "distance_mm": _summary(distances),
        "distance_mm_by_round": [round(value, 5) for value in trained.history],
        "worst_registrations_mm": {data.names[i]: round(float(distances[i].mean()), 4) for i in worst.tolist()},
        "joints_moved_mm": {joint: round(float(moved[:, i].mean()), 3) for i, joint in enumerate(JOINT_NAMES)},
        "weights_changed": round(float((state.space.weights - start.weights).abs().mean()), 5),
        "spaces": {name: curves.summary() for name, curves in spaces.items()},
        "warnings": notes,
    }


def _summary(distances: torch.Tensor) -> dict[str, float]:
    flat = distances.flatten()
    ordered = flat.sort().values
    return {
        "median": round(float(ordered[len(flat) // 2]), 4),
        "mean": round(float(flat.mean()), 4),
        "p95": round(float(ordered[int(0.95 * (len(flat) - 1))]), 4),
    }
