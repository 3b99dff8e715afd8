"""Every setting of the field, the renderer and the training, as typed dataclasses with presets in `configs/`.

The defaults below are the `cpu` preset's; a preset file holds overrides only. Reading never guesses: an unknown key or
a value of the wrong type is a ConfigError that names the key.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avatar.base.errors import ConfigError
from avatar.base.files import write_text
from avatar.config_rules import validate

CHECKOUT_PRESETS = Path(__file__).resolve().parent.parent / "configs"
INSTALLED_PRESETS = Path(sys.prefix) / "share" / "flame-avatar" / "configs"
PRESET_FOLDER = CHECKOUT_PRESETS if CHECKOUT_PRESETS.is_dir() else INSTALLED_PRESETS


@dataclass
class HashConfig:
    """A multiresolution hash grid (Mueller et al. 2022, section 3)."""

    levels: int = 12
    """Number of resolutions."""
    log2_entries: int = 16
    """Each level's table holds at most two to this power entries."""
    features: int = 2
    """Features per entry."""
    base_resolution: int = 16
    """Cells along an axis of the coarsest level."""
    finest_resolution: int = 384
    """Cells along an axis of the finest level."""


@dataclass
class BankConfig:
    """A bank of small hash tables mixed by the gated expression into a second grid."""

    enabled: bool = True
    """Use the bank. Without it the hash field sees the expression by the warp and `condition_networks` only."""
    tables: int = 8
    """Tables in the bank, and coefficients the condition is projected to."""
    components: int = 16
    """Principal directions of the clip's conditions that the coefficients are made of. 0 takes the conditions as they
    are, those that never moved in the clip too."""
    levels: int = 8
    """Number of resolutions."""
    log2_entries: int = 14
    """Each level's table holds at most two to this power entries."""
    features: int = 2
    """Features per entry."""
    base_resolution: int = 16
    """Cells along an axis of the coarsest level."""
    finest_resolution: int = 256
    """Cells along an axis of the finest level."""


@dataclass
class WarpConfig:
    """The FLAME warp: head motion and the surface's motion, undone before the field is asked."""

    enabled: bool = True
    """Warp samples to the reference pose and the neutral expression."""
    fade: float = 0.04
    """The surface's motion fades as exp(-distance / fade), in metres."""
    reach: float = 0.055
    """The surface's motion is zero beyond this distance from the mesh, in metres."""
    resolution: int = 40
    """Nodes along the longest axis of a frame's displacement grid around the head."""
    fine_cell: float = 0.0025
    """Cell of the finer displacement grids around mouth and eyes, in metres. 0 leaves them out."""
    neck_fade: float = 0.10
    """Over this height below the chin the head's rigid motion gives way to the torso's, in metres."""
    torso: bool = True
    """Learn how the torso goes along with the head. Without it the torso stands still."""
    refine_pose: bool = True
    """Learn a small correction of every training frame's tracked rigid pose."""


@dataclass
class DeformationConfig:
    """Nerfies' translation field on per-frame codes (Park et al. 2021)."""

    enabled: bool = True
    """Use the deformation field."""
    layers: int = 2
    """Hidden layers."""
    width: int = 32
    """Units per hidden layer."""
    skip: int = 0
    """The input is concatenated again before this layer. 0 for none."""
    bands: int = 6
    """Frequency bands of the position's encoding."""
    code_size: int = 8
    """Length of a frame's deformation code."""
    coarse_to_fine: bool = True
    """Open the frequency bands one after another."""
    coarse_to_fine_end: float = 0.6
    """Fraction of the training after which every band is open."""


@dataclass
class FieldConfig:
    """The deformable radiance field."""

    canonical: Literal["hash", "mlp"] = "hash"
    """What the canonical space is made of: a hash grid, or the paper's frequency encoding and large MLP."""
    hash: HashConfig = dataclasses.field(default_factory=HashConfig)
    bank: BankConfig = dataclasses.field(default_factory=BankConfig)
    warp: WarpConfig = dataclasses.field(default_factory=WarpConfig)
    deformation: DeformationConfig = dataclasses.field(default_factory=DeformationConfig)
    gate: bool = True
    """Let the expression reach a ray only inside the silhouette of the posed head."""
    background_in_field: bool = False
    """Where the camera moves, learn what stands around the person too, in the same field (needs hierarchical sampling
    and no FLAME warp). Otherwise the person is learned over plain grey."""
    expression_size: int = 0
    """Expression coefficients used as condition. 0 uses all the head model has."""
    condition_networks: bool = False
    """Give the gated condition to the networks too, not only to the bank (hash)."""
    appearance_code_size: int = 4
    """Length of a frame's appearance code. 0 for none."""
    hidden_layers: int = 1
    """Hidden layers of the density network (hash), or layers of the trunk (mlp)."""
    colour_layers: int = 1
    """Hidden layers of the colour network."""
    width: int = 64
    """Units per hidden layer."""
    skip: int = 0
    """The mlp's input is concatenated again before this layer. 0 for none."""
    position_bands: int = 10
    """Frequency bands of the canonical position (mlp)."""
    direction_bands: int = 0
    """Frequency bands of the view direction. 0 uses spherical harmonics up to degree 2."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the networks. auto takes bfloat16 where the processor has it."""


@dataclass
class RenderConfig:
    """How rays are sampled and composed."""

    sampling: Literal["occupancy", "hierarchical"] = "occupancy"
    """Fixed steps through occupied cells, or the paper's coarse and fine samples."""
    step: float = 0.005
    """Distance between samples, in metres (occupancy)."""
    max_samples: int = 32
    """Most live samples on a ray (occupancy)."""
    coarse_samples: int = 64
    """Stratified samples per ray (hierarchical)."""
    fine_samples: int = 64
    """Samples drawn from the coarse weights (hierarchical)."""
    occupancy_resolution: int = 80
    """Cells along the longest axis of the occupancy grid."""
    occupancy_alpha: float = 0.01
    """A cell is kept while one step through it is at least this opaque."""
    chunk: int = 65536
    """Rays rendered at a time."""
    burst: int = 8
    """Live samples of a ray that a picture takes before it is seen whether any light is left (occupancy)."""


@dataclass
class BackendConfig:
    """Which implementation does the heavy work. `avatar doctor` says what `auto` takes here, and why."""

    encoding: Literal["auto", "warp", "tcnn", "torch"] = "auto"
    """Hash grids. tcnn (CUDA) has its own table layout and networks: such an avatar opens with tinycudann only."""
    marching: Literal["auto", "warp", "nerfacc", "torch"] = "auto"
    """Ray marching and the composition of samples. nerfacc (CUDA) marches straight rays only: no FLAME warp."""
    rasterising: Literal["auto", "warp", "pytorch3d"] = "auto"
    """Silhouettes of the posed head."""


@dataclass
class LossConfig:
    """Weights of the losses. The paper does not publish its own; these are ours."""

    huber_delta: float = 0.1
    """Colour errors beyond this count linearly."""
    dssim: float = 0.0
    """Structural dissimilarity of patches of the mouth, late in the training (`training.dssim_start`)."""
    opacity: float = 0.06
    """Rendered opacity against the matte."""
    entropy: float = 0.001
    """Opacity is driven towards 0 or 1."""
    vertex: float = 1.0
    """L1 of the deformation at FLAME's vertices, in centimetres: the code may not move the head."""
    code: float = 0.001
    """Squared length of the codes."""
    pose: float = 0.01
    """Squared size of the pose corrections, in units of one degree and one millimetre."""
    surface: float = 0.01
    """Seen from anywhere, the neutral head is solid at its mesh, and bare skin has nothing before it (FLAME warp)."""


@dataclass
class TrainingConfig:
    """The training loop."""

    seed: int = 0
    """Seed of everything drawn at random."""
    steps: int = 4000
    """Most steps. More than some thousands make the training frames better and others worse."""
    minutes: float = 6.0
    """Longest time. Schedules follow the share of the steps or of the time that is done, whichever is larger. 0 for no
    limit."""
    rays: int = 1024
    """Rays per step."""
    frames_per_batch: int = 8
    """Frames the rays of a step come from."""
    mouth_share: float = 0.33
    """Share of the rays drawn from the mouth's box."""
    eye_share: float = 0.08
    """Share of the rays drawn from the eyes' boxes."""
    background_share: float = 0.1
    """Share of the rays drawn anywhere in the picture. The rest falls on the person."""
    dssim_start: float = 0.5
    """Share of the training after which the mouth's rays come in patches for the DSSIM."""
    table_rate: float = 2e-2
    """Learning rate of the hash tables."""
    network_rate: float = 5e-3
    """Learning rate of the networks."""
    deformation_rate: float = 1e-3
    """Learning rate of the deformation field."""
    code_rate: float = 2e-3
    """Learning rate of the per-frame codes."""
    pose_rate: float = 2e-4
    """Learning rate of the pose corrections (radians and metres)."""
    final_rate: float = 0.05
    """Learning rates end at this fraction of their start, on an exponential path."""
    condition_noise: float = 0.25
    """Noise on the condition, in standard deviations: expressions that are close look alike."""
    bank_decay: float = 1.0
    """What the mixed tables lose of themselves in a step, times their learning rate: what needs no expression goes to
    the base."""
    condition_dropout: float = 0.0
    """Share of the frames that are rendered without condition: what is common to all expressions goes to the base."""
    warmup: int = 20
    """Steps over which the learning rates rise from zero."""
    occupancy_interval: int = 16
    """Steps between updates of the occupancy."""
    checkpoint_interval: float = 60.0
    """Seconds between checkpoints."""
    checkpoint_steps: int = 0
    """Steps between checkpoints, besides the interval. 0 for none."""
    keep_checkpoints: int = 2
    """Checkpoints kept. With 1 there is none to fall back on."""
    preview_interval: float = 60.0
    """Seconds between preview pictures; more where those take long."""
    log_interval: int = 25
    """Steps between lines of the log."""
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)


@dataclass
class Config:
    """All settings of one run. `config.yaml` in a run folder holds every value."""

    preset: str = "cpu"
    """Name of the preset the settings started from."""
    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    render: RenderConfig = dataclasses.field(default_factory=RenderConfig)
    backends: BackendConfig = dataclasses.field(default_factory=BackendConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)


def list_presets(folder: Path = PRESET_FOLDER) -> list[str]:
    """Names `load_preset` knows: the YAML files of `configs/`, ablations as `ablations/NAME`."""
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def load_preset(name: str, folder: Path = PRESET_FOLDER) -> Config:
    """The settings of a preset.

    A preset file may name another one as its `base`. Raises ConfigError for an unknown name, listing the known ones.
    """
    if name not in list_presets(folder):
        raise ConfigError("unknown preset", expected=", ".join(list_presets(folder)), found=name)
    values = _read_yaml(folder / f"{name}.yaml")
    base = values.pop("base", None)
    config = load_preset(base, folder) if base is not None else Config()
    config = merge(config, values, where=str(folder / f"{name}.yaml"))
    config.preset = name
    return validate(config, where=str(folder / f"{name}.yaml"))


def read_config(path: Path) -> Config:
    """Read a file of settings, such as a run's `config.yaml`. Raises ConfigError.

    What it leaves out keeps its default, or the value of the preset that it names as its `base`.
    """
    values = _read_yaml(Path(path))
    base = values.pop("base", None)
    config = Config() if base is None else load_preset(str(base))
    return validate(merge(config, values, where=str(path)), where=str(path))


def write_config(path: Path, config: Config) -> Path:
    """Write every value of `config` as YAML, atomically."""
    import yaml

    return write_text(path, yaml.safe_dump(dataclasses.asdict(config), sort_keys=False))


def merge(config: Any, values: dict[str, Any], *, where: str, prefix: str = "") -> Any:
    """A copy of a config dataclass with `values` (nested dicts) put in; types are checked. Raises ConfigError."""
    if not isinstance(values, dict):
        raise ConfigError(
            "a section of the settings is not a mapping", where=where, found=f"{prefix or 'file'}: {values!r}"
        )
    hints = typing.get_type_hints(type(config))
    unknown = sorted(set(map(str, values)) - set(hints))
    if unknown:
        raise ConfigError(
            f"unknown setting{'s' if len(unknown) > 1 else ''} {', '.join(prefix + key for key in unknown)}",
            where=where,
            expected=", ".join(prefix + key for key in hints),
        )
    merged = {}
    for key, hint in hints.items():
        value = getattr(config, key)
        if key in values:
            value = _checked(value, values[key], hint, where, prefix + key)
        elif dataclasses.is_dataclass(value):
            value = merge(value, {}, where=where)
        merged[key] = value
    return type(config)(**merged)


def _checked(current: Any, value: Any, hint: Any, where: str, key: str) -> Any:
    """`value` as the type `hint` says, or ConfigError."""
    if dataclasses.is_dataclass(hint):
        return merge(current, value or {}, where=where, prefix=f"{key}.")
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise ConfigError(
                f"{key} cannot be this", where=where, expected=", ".join(typing.get_args(hint)), found=value
            )
        return value
    if hint is float:
        if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
            try:
                return float(value)
            except ValueError:
                pass
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value) if abs(value) < sys.float_info.max else math.inf
    elif type(value) is hint:
        return value
    raise ConfigError(f"{key} has the wrong type", where=where, expected=hint.__name__, found=f"{value!r}")


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError as cause:
        raise ConfigError("the settings file is missing", where=path) from cause
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as cause:
        raise ConfigError("the settings file cannot be read", where=path, expected="YAML", found=cause) from cause
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError("the settings file is not a mapping", where=path, found=type(values).__name__)
    return values
