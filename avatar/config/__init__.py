"""The settings of the field, the renderer and the training: typed sections, and reading them from files."""

from avatar.config.reading import (
    list_presets,
    load_preset,
    merge,
    presets_folder,
    read_config,
    validate,
    write_config,
)
from avatar.config.sections import (
    BackendConfig,
    BankConfig,
    Config,
    DeformationConfig,
    FieldConfig,
    HashConfig,
    LossConfig,
    RenderConfig,
    RoomConfig,
    TrainingConfig,
    WarpConfig,
)

__all__ = [
    "BackendConfig",
    "BankConfig",
    "Config",
    "DeformationConfig",
    "FieldConfig",
    "HashConfig",
    "LossConfig",
    "RenderConfig",
    "RoomConfig",
    "TrainingConfig",
    "WarpConfig",
    "list_presets",
    "load_preset",
    "merge",
    "presets_folder",
    "read_config",
    "validate",
    "write_config",
]
