"""Which values of the settings can work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avatar.errors import ConfigError

if TYPE_CHECKING:
    from avatar.config import Config


def validate(config: Config, where: str | None = None) -> Config:
    """Return `config`, or raise ConfigError for a value that cannot work."""
    f, r, t = config.field, config.render, config.training
    shares = (t.mouth_share, t.eye_share, t.background_share)
    rules = [
        ("field.hash.levels", f.hash.levels >= 1, "at least 1", f.hash.levels),
        ("field.hash.log2_entries", 4 <= f.hash.log2_entries <= 24, "4 to 24", f.hash.log2_entries),
        ("field.bank.tables", f.bank.tables >= 1, "at least 1", f.bank.tables),
        ("field.bank.components", f.bank.components >= 0, "0 or more", f.bank.components),
        ("field.bank.log2_entries", 4 <= f.bank.log2_entries <= 24, "4 to 24", f.bank.log2_entries),
        ("field.warp.fade", f.warp.fade > 0, "above 0", f.warp.fade),
        ("field.warp.reach", f.warp.reach > 0, "above 0", f.warp.reach),
        ("field.warp.resolution", f.warp.resolution >= 8, "at least 8", f.warp.resolution),
        ("field.warp.fine_cell", f.warp.fine_cell >= 0, "0 or more", f.warp.fine_cell),
        ("field.deformation.layers", f.deformation.layers >= 1, "at least 1", f.deformation.layers),
        ("field.deformation.code_size", f.deformation.code_size >= 1, "at least 1", f.deformation.code_size),
        (
            "field.background_in_field",
            not f.background_in_field or (r.sampling == "hierarchical" and not f.warp.enabled),
            "false with render.sampling: occupancy and with field.warp.enabled",
            f.background_in_field,
        ),
        ("field.expression_size", f.expression_size >= 0, "0 or more", f.expression_size),
        ("field.appearance_code_size", f.appearance_code_size >= 0, "0 or more", f.appearance_code_size),
        ("field.hidden_layers", f.hidden_layers >= 1, "at least 1", f.hidden_layers),
        ("field.width", f.width >= 1, "at least 1", f.width),
        (
            "backends.encoding",
            f.canonical == "hash" or config.backends.encoding != "tcnn",
            "auto, warp or torch where field.canonical is mlp",
            config.backends.encoding,
        ),
        ("render.step", r.step > 0, "above 0", r.step),
        ("render.max_samples", r.max_samples >= 1, "at least 1", r.max_samples),
        ("render.occupancy_resolution", r.occupancy_resolution >= 8, "at least 8", r.occupancy_resolution),
        ("render.chunk", r.chunk >= 1, "at least 1", r.chunk),
        ("render.burst", r.burst >= 1, "at least 1", r.burst),
        ("training.steps", t.steps >= 1, "at least 1", t.steps),
        ("training.minutes", t.minutes >= 0, "0 or more", t.minutes),
        ("training.rays", t.rays >= 1, "at least 1", t.rays),
        ("training.frames_per_batch", t.frames_per_batch >= 1, "at least 1", t.frames_per_batch),
        (
            "training.mouth_share, eye_share and background_share",
            min(shares) >= 0 and sum(shares) <= 1,
            "at least 0, at most 1 in all",
            shares,
        ),
        ("training.bank_decay", t.bank_decay >= 0, "0 or more", t.bank_decay),
        ("training.final_rate", 0 < t.final_rate <= 1, "above 0, up to 1", t.final_rate),
        ("training.keep_checkpoints", t.keep_checkpoints >= 1, "at least 1", t.keep_checkpoints),
        ("training.seed", t.seed >= 0, "0 or more", t.seed),
    ]
    for name, holds, expected, found in rules:
        if not holds:
            raise ConfigError(f"{name} cannot be this", where=where, expected=expected, found=found)
    return config
