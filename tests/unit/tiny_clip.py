"""Settings small enough to train in a test."""

from __future__ import annotations

from avatar.config import Config


def shrink(config: Config) -> Config:
    """The same settings, small enough for a test."""
    field, render, training = config.field, config.render, config.training
    field.hash.levels, field.hash.log2_entries, field.hash.finest_resolution = 4, 12, 64
    field.bank.levels, field.bank.log2_entries, field.bank.tables = 3, 10, 4
    field.bank.finest_resolution = 48
    field.warp.resolution, field.warp.fine_cell = 14, 0.006
    render.step, render.occupancy_resolution = 0.01, 24
    render.coarse_samples, render.fine_samples, render.chunk = 8, 8, 512
    if field.canonical == "mlp":
        field.hidden_layers, field.width, field.skip = 3, 32, 2
    training.rays, training.frames_per_batch, training.minutes, training.steps = 128, 4, 0.0, 8
    training.log_interval, training.preview_interval, training.checkpoint_interval = 2, 1e6, 1e6
    return config


def bare(config: Config) -> Config:
    """The same settings without torso and priors, which take longer to prepare than a test's steps."""
    config.field.warp.torso = False
    loss = config.training.loss
    loss.surface = loss.mouth = loss.lids = 0.0
    return config
