"""Learning from clips as files: capture folders in; MODEL.npz, its report and its curves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from avatar.base.files import refuse_inputs, require_free_space
from avatar.flame.assets import HeadAsset
from avatar.flame.importing import model_name
from avatar.flame.library import open_head_model
from capture_tools.embed.embedding import ready_head
from capture_tools.model_learning.folder import NEEDED_BYTES, ModelFiles, check_output, write_model
from capture_tools.model_learning.from_clips.learning import LearnedBases, learn
from capture_tools.model_learning.from_clips.reading import Clip, check_enough, find_captures, read_clips
from capture_tools.model_learning.from_clips.settings import ClipLearnSettings
from capture_tools.model_learning.measures import Curves, space_curves

FEW_FRAMES = 3
"""Frames of a clip below which a warning is written."""


def learn_files(
    places: Sequence[Path], out: Path, settings: ClipLearnSettings, *, overwrite: bool = False
) -> ModelFiles:
    """Learn a head model from captures and write it, with MODEL.report.json and MODEL.curves.png beside it.

    Raises InputError, CaptureError or HeadModelError for captures that cannot be used, OutputError for `out`; all
    before anything is computed.
    """
    settings = settings.check()
    out = Path(out)
    check_output(out, overwrite)
    places = find_captures(places)
    check_enough(len(places), settings.directions, settings.albedo_directions)
    asset = ready_head(open_head_model(settings.head_model))
    for place in places:
        refuse_inputs(out, place)
    clips = read_clips(places, asset, settings.frames)
    require_free_space(out.parent, NEEDED_BYTES)
    learned = learn(clips, asset, settings, model_name(out))
    samples = learned.people
    directions = len(learned.shape.directions)
    space = space_curves(samples, torch.arange(len(samples)), directions, learned.shape.variances, centred=True)
    content = report_of(learned, clips, asset, space, settings)
    return write_model(out, learned.head, {"shape": space}, content)


def report_of(
    learned: LearnedBases, clips: Sequence[Clip], asset: HeadAsset, space: Curves, settings: ClipLearnSettings
) -> dict[str, Any]:
    """The content of the report."""
    shares = [
        variances / variances.sum().clamp_min(1e-30)
        for variances in (learned.shape.variances, learned.albedo.variances)
    ]
    kept = (len(learned.shape.directions), len(learned.albedo.directions))
    few = [clip.name for clip in clips if len(clip.times) < FEW_FRAMES]
    notes = [f"{name} has fewer than {FEW_FRAMES} frames with a face: its depth is hardly known" for name in few]
    return {
        "model": {"name": learned.head.name, "fingerprint": learned.head.fingerprint},
        "start": {"name": asset.name, "fingerprint": asset.fingerprint},
        "uv_fingerprint": asset.uv_fingerprint,
        "settings": asdict(settings),
        "captures": {clip.name: {"frames": len(clip.times)} for clip in clips},
        "directions": {"shape": kept[0], "albedo": kept[1]},
        "explained_variance": {
            name: round(float(share[:count].sum()), 5)
            for name, share, count in zip(("shape", "albedo"), shares, kept, strict=True)
        },
        "largest_cosine_to_expressions": {
            "principal_span": round(learned.cosines[0], 6),
            "whole_span": round(learned.cosines[1], 6),
        },
        "landmark_error_iod_by_round": [round(value, 5) for value in learned.landmark_errors],
        "unexplained_mm_by_round": [round(value, 4) for value in learned.changes],
        "spaces": {"shape": space.summary()},
        "warnings": notes,
    }
