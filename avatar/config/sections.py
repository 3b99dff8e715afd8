"""Every setting of the field, the renderer and the training, as typed dataclasses.

Each number carries its limits, each section the rules between its values (`problems`). The defaults are those of the
preset `cpu`; a preset's file in `configs/` holds overrides only (`avatar.config.reading`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from avatar.base.limits import MINUTES, SEED, Limits

LAYERS, LAYERS_OR_NONE, WIDTH = Limits(1, 16), Limits(0, 16), Limits(1, 1024)
LEVELS, ENTRIES, FEATURES = Limits(1, 32), Limits(4, 24), Limits(2, 4, even=True)
COARSEST, FINEST = Limits(1, 1024), Limits(1, 2**16)
BANDS, CODE = Limits(0, 20), Limits(0, 256)
SHARE, RATE, WEIGHT = Limits(0.0, 1.0), Limits(0.0, 1.0), Limits(0, 1000)
PER_RAY, EVERY, INTERVAL = Limits(1, 1024), Limits(1, 1_000_000), Limits(0, 10_000_000, "seconds")
MOST_TABLE_NUMBERS = 2**28
"""Numbers in all hash tables of a grid: 1 GiB, and twice as much again for the optimiser."""


class Problem(NamedTuple):
    """A setting whose value cannot work beside the others."""

    name: str
    expected: str
    found: object


@dataclass
class HashConfig:
    """A multiresolution hash grid (Mueller et al. 2022, section 3)."""

    levels: Annotated[int, LEVELS] = 12
    """Number of resolutions."""
    log2_entries: Annotated[int, ENTRIES] = 16
    """Each level's table holds at most two to this power entries."""
    features: Annotated[int, FEATURES] = 2
    """Features per entry."""
    base_resolution: Annotated[int, COARSEST] = 16
    """Cells along an axis of the coarsest level."""
    finest_resolution: Annotated[int, FINEST] = 384
    """Cells along an axis of the finest level."""

    def problems(self) -> list[Problem]:
        return table_problems(self, 1)


@dataclass
class BankConfig:
    """Blended hash grids: several small grids, blended by the expression inside the ray mask."""

    enabled: bool = True
    """Use them. Without them the hash field sees the expression by the warp only."""
    tables: Annotated[int, Limits(1, 64)] = 8
    """Grids, and coefficients the condition is projected to."""
    components: Annotated[int, Limits(0, 256)] = 16
    """Principal directions of the clip's conditions that the coefficients are made of. 0 takes the conditions as they
    are, those that never moved in the clip too."""
    levels: Annotated[int, LEVELS] = 8
    """Number of resolutions."""
    log2_entries: Annotated[int, ENTRIES] = 14
    """Each level's table holds at most two to this power entries."""
    features: Annotated[int, FEATURES] = 2
    """Features per entry."""
    base_resolution: Annotated[int, COARSEST] = 16
    """Cells along an axis of the coarsest level."""
    finest_resolution: Annotated[int, FINEST] = 256
    """Cells along an axis of the finest level."""

    def problems(self) -> list[Problem]:
        return table_problems(self, self.tables)


def table_problems(grid: HashConfig | BankConfig, tables: int) -> list[Problem]:
    """Sizes of a hash grid with so many tables that cannot work together."""
    found = []
    numbers = grid.levels * 2**grid.log2_entries * grid.features * tables
    if numbers > MOST_TABLE_NUMBERS:
        sizes = "levels times 2^log2_entries times features" + (" times tables" if tables > 1 else "")
        found.append(
            Problem(sizes, f"at most {MOST_TABLE_NUMBERS:,} numbers, for what memory there is", f"{numbers:,}")
        )
    if grid.finest_resolution < grid.base_resolution:
        expected = f"at least base_resolution, {grid.base_resolution}"
        found.append(Problem("finest_resolution", expected, grid.finest_resolution))
    return found


@dataclass
class WarpConfig:
    """The FLAME warp: rigid head motion and surface motion, undone before the field is evaluated."""

    enabled: bool = True
    """Warp samples to the reference pose and the neutral expression."""
    fade: Annotated[float, Limits(0, 1, "metres", above=True)] = 0.04
    """The surface's motion fades as exp(-distance / fade), in metres."""
    reach: Annotated[float, Limits(0, 1, "metres", above=True)] = 0.055
    """The surface's motion is zero beyond this distance from the mesh, in metres."""
    resolution: Annotated[int, Limits(8, 256)] = 40
    """Nodes along the longest axis of a frame's displacement grid around the head."""
    fine_cell: Annotated[float, Limits(0, 0.1, "metres")] = 0.0025
    """Cell of the finer displacement grids around mouth and eyes, in metres. 0 leaves them out."""
    neck_fade: Annotated[float, Limits(0, 1, "metres")] = 0.10
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
    layers: Annotated[int, LAYERS] = 2
    """Hidden layers."""
    width: Annotated[int, WIDTH] = 32
    """Units per hidden layer."""
    skip: Annotated[int, LAYERS_OR_NONE] = 0
    """The input is concatenated again before this layer. 0 for none."""
    bands: Annotated[int, BANDS] = 6
    """Frequency bands of the position's encoding."""
    code_size: Annotated[int, Limits(1, 256)] = 8
    """Length of a frame's deformation code."""
    coarse_to_fine: bool = True
    """Open the frequency bands one after another."""
    coarse_to_fine_end: Annotated[float, SHARE] = 0.6
    """Fraction of the training after which every band is open."""


@dataclass
class RoomConfig:
    """The room around the person, a field of its own where the camera moves."""

    enabled: bool = True
    """Learn it. Otherwise the person stands before plain grey."""
    hash: HashConfig = dataclasses.field(
        default_factory=lambda: HashConfig(levels=12, log2_entries=18, finest_resolution=1536)
    )
    width: Annotated[int, WIDTH] = 32
    """Units per hidden layer."""
    samples: Annotated[int, PER_RAY] = 16
    """Samples per ray."""


@dataclass
class FieldConfig:
    """The deformable radiance field."""

    canonical: Literal["hash", "mlp"] = "hash"
    """What the canonical space is made of: a hash grid, or the paper's frequency encoding and large MLP."""
    hash: HashConfig = dataclasses.field(default_factory=HashConfig)
    bank: BankConfig = dataclasses.field(default_factory=BankConfig)
    warp: WarpConfig = dataclasses.field(default_factory=WarpConfig)
    deformation: DeformationConfig = dataclasses.field(default_factory=DeformationConfig)
    room: RoomConfig = dataclasses.field(default_factory=RoomConfig)
    gate: bool = True
    """The expression reaches a ray only inside the silhouette of the posed head."""
    background_in_field: bool = False
    """Where the camera moves, learn what stands around the person in the person's own field, as the paper does (needs
    hierarchical sampling and no FLAME warp). Otherwise it is learned apart (room)."""
    expression_size: Annotated[int, Limits(0, 1000)] = 0
    """Expression coefficients used as condition. 0 uses all the head model has."""
    appearance_code_size: Annotated[int, CODE] = 4
    """Length of a frame's appearance code. 0 for none."""
    hidden_layers: Annotated[int, LAYERS] = 1
    """Hidden layers of the density network (hash), or layers of the trunk (mlp)."""
    colour_layers: Annotated[int, LAYERS_OR_NONE] = 1
    """Hidden layers of the colour network."""
    width: Annotated[int, WIDTH] = 64
    """Units per hidden layer."""
    skip: Annotated[int, LAYERS_OR_NONE] = 0
    """The mlp's input is concatenated again before this layer. 0 for none."""
    position_bands: Annotated[int, BANDS] = 10
    """Frequency bands of the canonical position (mlp)."""
    direction_bands: Annotated[int, BANDS] = 0
    """Frequency bands of the view direction. 0 uses spherical harmonics up to degree 2."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the networks. auto takes bfloat16 where the processor has it."""


@dataclass
class RenderConfig:
    """How rays are sampled and composed."""

    sampling: Literal["occupancy", "hierarchical"] = "occupancy"
    """Fixed steps through occupied cells, or the paper's coarse and fine samples."""
    step: Annotated[float, Limits(0.0002, 0.1, "metres")] = 0.005
    """Distance between samples, in metres (occupancy)."""
    max_samples: Annotated[int, PER_RAY] = 32
    """Most live samples on a ray (occupancy)."""
    coarse_samples: Annotated[int, PER_RAY] = 64
    """Stratified samples per ray (hierarchical)."""
    fine_samples: Annotated[int, PER_RAY] = 64
    """Samples drawn from the coarse weights (hierarchical)."""
    occupancy_resolution: Annotated[int, Limits(8, 384)] = 80
    """Cells along the longest axis of the occupancy grid."""
    occupancy_alpha: Annotated[float, SHARE] = 0.01
    """A cell is kept while one step through it is at least this opaque."""
    chunk: Annotated[int, Limits(1, 2**20, "rays")] = 65536
    """Rays rendered at a time."""
    burst: Annotated[int, PER_RAY] = 8
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

    huber_delta: Annotated[float, Limits(0, 10, above=True)] = 0.1
    """Colour errors beyond this count linearly."""
    opacity: Annotated[float, WEIGHT] = 0.06
    """Rendered opacity against the mask."""
    entropy: Annotated[float, WEIGHT] = 0.001
    """Opacity is driven towards 0 or 1."""
    vertex: Annotated[float, WEIGHT] = 1.0
    """L1 of the deformation at FLAME's vertices, in centimetres: the code may not move the head."""
    code: Annotated[float, WEIGHT] = 0.001
    """Squared length of the codes."""
    pose: Annotated[float, WEIGHT] = 0.01
    """Squared size of the pose corrections, in units of one degree and one millimetre."""
    surface: Annotated[float, WEIGHT] = 0.01
    """Seen from anywhere, the neutral head is solid at its mesh, and bare skin has nothing before it (FLAME warp)."""
    room: Annotated[float, WEIGHT] = 1.0
    """Colours of the room beside the person (moving camera)."""
    room_clear: Annotated[float, WEIGHT] = 0.1
    """Opacity of the room between the camera and the person, who is seen there (moving camera)."""
    completion: Annotated[float, WEIGHT] = 0.03
    """Where the clip never shows the head, it has the colours of its other side or of what is around (with surface)."""
    mouth: Annotated[float, WEIGHT] = 0.03
    """Opened wider than in the clip, the mouth shows the head model's own teeth, tongue and palate (FLAME warp)."""
    lids: Annotated[float, WEIGHT] = 0.03
    """Shut, which the clip hardly shows, the lids have the colours of the head's surface (FLAME warp)."""


@dataclass
class TrainingConfig:
    """The training loop."""

    seed: Annotated[int, SEED] = 0
    """Seed of everything drawn at random."""
    steps: Annotated[int, Limits(1, 10_000_000)] = 4000
    """Most steps. More than some thousands make the training frames better and others worse."""
    minutes: Annotated[float, Limits(0, MINUTES.high, MINUTES.unit)] = 6.0
    """Longest time. Schedules follow the share of the steps or of the time that is done, whichever is larger. 0 for no
    limit."""
    rays: Annotated[int, Limits(1, 2**18)] = 1024
    """Rays per step."""
    frames_per_batch: Annotated[int, Limits(1, 1024)] = 8
    """Frames the rays of a step come from."""
    mouth_share: Annotated[float, SHARE] = 0.33
    """Share of the rays drawn from the mouth's box."""
    eye_share: Annotated[float, SHARE] = 0.08
    """Share of the rays drawn from the eyes' boxes."""
    background_share: Annotated[float, SHARE] = 0.1
    """Share of the rays drawn anywhere in the picture. The rest falls on the person."""
    expected_body: bool = True
    """Where a pixel shows hair or shoulders, the person stands where a body of that outline has them (FLAME warp)."""
    room_rays: Annotated[int, Limits(1, 2**18)] = 1536
    """Rays per step, besides, that the room is learned from (moving camera)."""
    table_rate: Annotated[float, RATE] = 2e-2
    """Learning rate of the hash tables."""
    network_rate: Annotated[float, RATE] = 5e-3
    """Learning rate of the networks."""
    deformation_rate: Annotated[float, RATE] = 1e-3
    """Learning rate of the deformation field."""
    code_rate: Annotated[float, RATE] = 2e-3
    """Learning rate of the per-frame codes."""
    pose_rate: Annotated[float, RATE] = 2e-4
    """Learning rate of the pose corrections (radians and metres)."""
    room_rate: Annotated[float, RATE] = 1e-2
    """Learning rate of the room's hash tables (moving camera)."""
    room_network_rate: Annotated[float, RATE] = 1e-2
    """Learning rate of the room's networks (moving camera)."""
    camera_rate: Annotated[float, RATE] = 5e-5
    """Learning rate of the corrections of a moving camera (radians and metres)."""
    final_rate: Annotated[float, Limits(0, 1, above=True)] = 0.05
    """Learning rates end at this fraction of their start, on an exponential path."""
    condition_noise: Annotated[float, Limits(0, 100)] = 0.25
    """Noise on the condition, in standard deviations: expressions that are close look alike."""
    bank_decay: Annotated[float, WEIGHT] = 1.0
    """Weight decay of the blended grids: what needs no expression moves to the hash grid."""
    warmup: Annotated[int, Limits(0, 1_000_000, "steps")] = 20
    """Steps over which the learning rates rise from zero."""
    occupancy_interval: Annotated[int, EVERY] = 16
    """Steps between updates of the occupancy."""
    checkpoint_interval: Annotated[float, INTERVAL] = 60.0
    """Seconds between checkpoints."""
    checkpoint_steps: Annotated[int, Limits(0, 10_000_000, "steps")] = 0
    """Steps between checkpoints, besides the interval. 0 for none."""
    keep_checkpoints: Annotated[int, Limits(1, 1000)] = 2
    """Checkpoints kept. With 1 there is none to fall back on."""
    preview_interval: Annotated[float, INTERVAL] = 60.0
    """Seconds between preview pictures; more where those take long."""
    log_interval: Annotated[int, EVERY] = 25
    """Steps between lines of the log."""
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)

    def problems(self) -> list[Problem]:
        shares = (self.mouth_share, self.eye_share, self.background_share)
        if sum(shares) <= 1:
            return []
        return [Problem("mouth_share, eye_share and background_share", "at most 1 in all", shares)]


@dataclass
class Config:
    """All settings of one run. `config.yaml` in a run folder holds every value."""

    preset: str = "cpu"
    """Name of the preset the settings started from."""
    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    render: RenderConfig = dataclasses.field(default_factory=RenderConfig)
    backends: BackendConfig = dataclasses.field(default_factory=BackendConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def problems(self) -> list[Problem]:
        found = []
        if self.field.background_in_field and (self.render.sampling != "hierarchical" or self.field.warp.enabled):
            expected = "false with render.sampling: occupancy and with field.warp.enabled"
            found.append(Problem("field.background_in_field", expected, True))
        if self.field.canonical == "mlp" and self.backends.encoding == "tcnn":
            expected = "auto, warp or torch where field.canonical is mlp"
            found.append(Problem("backends.encoding", expected, self.backends.encoding))
        return found
