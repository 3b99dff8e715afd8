"""tinycudann's hash grid and fully fused MLPs (Mueller et al. 2021 and 2022) behind our interface; CUDA only.

They compute in half precision from float32 parameters and scale gradients themselves. The grid has the same hash,
growth and features as ours, but one vertex less per level and a shifted origin, and the MLPs have no bias. Parameters
of one backend are therefore meaningless in the other; a checkpoint tells them apart by their names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import cast

import torch
from torch import Tensor, nn

from avatar.base.errors import ConfigError
from avatar.base.optional import require
from avatar.kernels.hash_grid.types import HashGridSpec
from avatar.kernels.mlp.types import Part

WIDTHS = (16, 32, 64, 128)
"""Units per hidden layer for which tinycudann has fused kernels."""


class TcnnGrid(nn.Module):
    """The multiresolution hash grid of `spec` in tinycudann's layout, seeded from torch's random state."""

    def __init__(self, spec: HashGridSpec) -> None:
        super().__init__()
        self.encoding = load_tinycudann().Encoding(3, grid_settings(spec), seed=draw_seed())
        self.size = spec.output_size

    def forward(self, positions: Tensor) -> Tensor:
        """Features `[M, L * F]`, half precision, of positions `[M, 3]` in [0, 1]."""
        return run(self.encoding, positions, self.size)


class TcnnMlp(nn.Module):
    """Layers without bias and ReLU between them, in one kernel; the input is that of `networks.Mlp`."""

    def __init__(self, inputs: int, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        settings = network_settings(width, hidden)
        self.network = load_tinycudann().Network(inputs, outputs, settings, seed=draw_seed())
        self.outputs = outputs

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Outputs `[N, outputs]`, half precision, of an input in parts (see `avatar.kernels.mlp.types.Part`)."""
        columns = [value if index is None else value.index_select(0, index) for value, index in parts]
        return run(self.network, torch.cat([column.float() for column in columns], -1), self.outputs)


def load_tinycudann() -> ModuleType:
    """The package. Raises MissingDependencyError where it is not installed; its import fails without a GPU."""
    return require("tinycudann", "backends.encoding tcnn (and every avatar that was trained with it)")


def grid_settings(spec: HashGridSpec) -> dict[str, object]:
    """tinycudann's settings of a grid with the sizes of `spec`."""
    growth = 1.0
    if spec.levels > 1:
        growth = math.exp(math.log(spec.finest_resolution / spec.base_resolution) / (spec.levels - 1))
    return {
        "otype": "Grid",
        "type": "Hash",
        "n_levels": spec.levels,
        "n_features_per_level": spec.features,
        "log2_hashmap_size": spec.log2_entries,
        "base_resolution": spec.base_resolution,
        "per_level_scale": growth,
        "interpolation": "Linear",
    }


def network_settings(width: int, hidden: int) -> dict[str, object]:
    """tinycudann's settings of a fused network. Raises ConfigError for a size it has no kernel for."""
    if width not in WIDTHS or hidden < 1:
        raise ConfigError(
            "tinycudann has no fused network of this size",
            expected=f"field.width of {', '.join(map(str, WIDTHS))} and at least one hidden layer",
            found=f"{hidden} of {width}",
            fix="change field.width, or set backends.encoding to warp",
        )
    return {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": width,
        "n_hidden_layers": hidden,
    }


def draw_seed() -> int:
    """A seed for tinycudann's own generator, from torch's."""
    return int(torch.randint(2**31 - 1, ()))


def run(module: nn.Module, rows: Tensor, outputs: int) -> Tensor:
    """`module(rows)`; for no rows, which tinycudann's kernels do not support, an empty result with zero gradient."""
    if len(rows) == 0:
        return rows.new_zeros(0, outputs, dtype=torch.float16) + 0 * cast("Tensor", module.params)[0].half()
    return module(rows)
