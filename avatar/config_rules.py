"""Which values of the settings can work: a range for every number, and rules between them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from avatar.base.errors import ConfigError
from avatar.base.limits import MINUTES, SEED, Limits

if TYPE_CHECKING:
    from avatar.config import BankConfig, Config, HashConfig

MOST_TABLE_NUMBERS = 2**28
"""Numbers in the hash tables of a grid, in all: 1 GiB, and twice as much again for the optimiser."""
_LAYERS, _LAYERS_OR_NONE, _WIDTH = Limits(1, 16), Limits(0, 16), Limits(1, 1024)
_LEVELS, _ENTRIES, _FEATURES = Limits(1, 32), Limits(4, 24), Limits(2, 4, even=True)
_COARSEST, _FINEST = Limits(1, 1024), Limits(1, 2**16)
_BANDS, _CODE = Limits(0, 20), Limits(0, 256)
_SHARE, _RATE, _WEIGHT = Limits(0.0, 1.0), Limits(0.0, 1.0), Limits(0, 1000)
_PER_RAY, _EVERY, _INTERVAL = Limits(1, 1024), Limits(1, 1_000_000), Limits(0, 10_000_000, "seconds")

LIMITS = {
    "field.hash.levels": _LEVELS,
    "field.hash.log2_entries": _ENTRIES,
    "field.hash.features": _FEATURES,
    "field.hash.base_resolution": _COARSEST,
    "field.hash.finest_resolution": _FINEST,
    "field.bank.tables": Limits(1, 64),
    "field.bank.components": Limits(0, 256),
    "field.bank.levels": _LEVELS,
    "field.bank.log2_entries": _ENTRIES,
    "field.bank.features": _FEATURES,
    "field.bank.base_resolution": _COARSEST,
    "field.bank.finest_resolution": _FINEST,
    "field.warp.fade": Limits(0, 1, "metres", above=True),
    "field.warp.reach": Limits(0, 1, "metres", above=True),
    "field.warp.resolution": Limits(8, 256),
    "field.warp.fine_cell": Limits(0, 0.1, "metres"),
    "field.warp.neck_fade": Limits(0, 1, "metres"),
    "field.deformation.layers": _LAYERS,
    "field.deformation.width": _WIDTH,
    "field.deformation.skip": _LAYERS_OR_NONE,
    "field.deformation.bands": _BANDS,
    "field.deformation.code_size": Limits(1, 256),
    "field.deformation.coarse_to_fine_end": _SHARE,
    "field.expression_size": Limits(0, 1000),
    "field.appearance_code_size": _CODE,
    "field.hidden_layers": _LAYERS,
    "field.colour_layers": _LAYERS_OR_NONE,
    "field.width": _WIDTH,
    "field.skip": _LAYERS_OR_NONE,
    "field.position_bands": _BANDS,
    "field.direction_bands": _BANDS,
    "render.step": Limits(0.0002, 0.1, "metres"),
    "render.max_samples": _PER_RAY,
    "render.coarse_samples": _PER_RAY,
    "render.fine_samples": _PER_RAY,
    "render.occupancy_resolution": Limits(8, 384),
    "render.occupancy_alpha": _SHARE,
    "render.chunk": Limits(1, 2**20, "rays"),
    "render.burst": _PER_RAY,
    "training.seed": SEED,
    "training.steps": Limits(1, 10_000_000),
    "training.minutes": Limits(0, MINUTES.high, MINUTES.unit),
    "training.rays": Limits(1, 2**18),
    "training.frames_per_batch": Limits(1, 1024),
    "training.mouth_share": _SHARE,
    "training.eye_share": _SHARE,
    "training.background_share": _SHARE,
    "training.dssim_start": _SHARE,
    "training.table_rate": _RATE,
    "training.network_rate": _RATE,
    "training.deformation_rate": _RATE,
    "training.code_rate": _RATE,
    "training.pose_rate": _RATE,
    "training.final_rate": Limits(0, 1, above=True),
    "training.condition_noise": Limits(0, 100),
    "training.bank_decay": _WEIGHT,
    "training.condition_dropout": _SHARE,
    "training.warmup": Limits(0, 1_000_000, "steps"),
    "training.occupancy_interval": _EVERY,
    "training.checkpoint_interval": _INTERVAL,
    "training.checkpoint_steps": Limits(0, 10_000_000, "steps"),
    "training.keep_checkpoints": Limits(1, 1000),
    "training.preview_interval": _INTERVAL,
    "training.log_interval": _EVERY,
    "training.loss.huber_delta": Limits(0, 10, above=True),
    "training.loss.dssim": _WEIGHT,
    "training.loss.opacity": _WEIGHT,
    "training.loss.entropy": _WEIGHT,
    "training.loss.vertex": _WEIGHT,
    "training.loss.code": _WEIGHT,
    "training.loss.pose": _WEIGHT,
    "training.loss.surface": _WEIGHT,
}
"""The range of every number of the settings, by its name."""


def validate(config: Config, where: str | None = None) -> Config:
    """Return `config`, or raise ConfigError for a value that cannot work."""
    for name, limits in LIMITS.items():
        value = functools.reduce(getattr, name.split("."), config)
        limits.require(name, value, where=where, fix="leave the setting out to take its default")
    f, r, t = config.field, config.render, config.training
    shares = (t.mouth_share, t.eye_share, t.background_share)
    rules = [
        *_table_rules("field.hash", f.hash, 1),
        *_table_rules("field.bank", f.bank, f.bank.tables),
        (
            "field.background_in_field",
            not f.background_in_field or (r.sampling == "hierarchical" and not f.warp.enabled),
            "false with render.sampling: occupancy and with field.warp.enabled",
            f.background_in_field,
        ),
        (
            "backends.encoding",
            f.canonical == "hash" or config.backends.encoding != "tcnn",
            "auto, warp or torch where field.canonical is mlp",
            config.backends.encoding,
        ),
        ("training.mouth_share, eye_share and background_share", sum(shares) <= 1, "at most 1 in all", shares),
    ]
    for name, holds, expected, found in rules:
        if not holds:
            raise ConfigError(f"{name} cannot be this", where=where, expected=expected, found=found)
    return config


def _table_rules(name: str, grid: HashConfig | BankConfig, tables: int) -> list[tuple[str, bool, str, object]]:
    """Rules between the sizes of a hash grid of so many tables."""
    numbers = grid.levels * 2**grid.log2_entries * grid.features * tables
    return [
        (
            f"{name}: levels times 2^log2_entries times features{' times tables' if tables > 1 else ''}",
            numbers <= MOST_TABLE_NUMBERS,
            f"at most {MOST_TABLE_NUMBERS:,} numbers, for what memory there is",
            f"{numbers:,}",
        ),
        (
            f"{name}.finest_resolution",
            grid.finest_resolution >= grid.base_resolution,
            f"at least base_resolution, {grid.base_resolution}",
            grid.finest_resolution,
        ),
    ]
