"""The canonical radiance field F: density and colour, from hash grids or from the paper's MLP.

Both take the same inputs (`FieldInputs`), so the scene and the renderer depend on neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avatar.config import BankConfig, FieldConfig, HashConfig
from avatar.field.encodings import direction_size, encode_direction, frequency_size
from avatar.field.networks import Mlp
from avatar.field.tcnn import TcnnGrid, TcnnMlp
from avatar.kernels.blended_grid.op import blended_encode
from avatar.kernels.frequency.op import frequency_encode
from avatar.kernels.hash_grid.op import hash_encode
from avatar.kernels.hash_grid.types import HashGridSpec
from avatar.kernels.mlp.types import Part

GEOMETRY_FEATURES = 15
"""Features from the density network for the colour network."""
DENSITY_BIAS = -3.0
"""Raw density at the start: exp(-3) per centimetre. A ray then passes through the whole box, so that every sample gets
gradient, and empty space soon falls below the occupancy threshold."""
DENSITY_CEILING = 8.0
"""Largest raw density: exp(8) per centimetre."""


@dataclass
class FieldInputs:
    """The inputs of the radiance field at M samples, packed ray after ray."""

    positions: Tensor
    """`[M, 3]` canonical, normalised to [0, 1]."""
    frame: Tensor
    """`[M]` int64 index of the sample's frame among the B."""
    mask: Tensor
    """`[M]` bool ray mask: whether the posed head's silhouette covers the sample's pixel."""
    coefficients: Tensor
    """`[B, K]` projected conditions of the frames."""

    def select(self, wanted: Tensor) -> FieldInputs:
        """The inputs of the samples `wanted` `[P]` int64."""
        positions, frame, mask = (part.index_select(0, wanted) for part in (self.positions, self.frame, self.mask))
        return FieldInputs(positions, frame, mask, self.coefficients)

    def first(self, count: int) -> FieldInputs:
        """The inputs of the first `count` samples."""
        return FieldInputs(self.positions[:count], self.frame[:count], self.mask[:count], self.coefficients)

    def after(self, count: int) -> FieldInputs:
        """The inputs of the samples from number `count` on."""
        return FieldInputs(self.positions[count:], self.frame[count:], self.mask[count:], self.coefficients)


def density_activation(raw: Tensor) -> Tensor:
    """Densities per centimetre: the exponential of raw densities clamped at the ceiling (Mueller et al. 2022).

    An exponential fits the sharp edge of skin in few steps, a softplus in many. The clamp, whose gradient is zero,
    keeps diverging values finite.
    """
    return torch.exp(raw.float().clamp_max(DENSITY_CEILING))


def grid_spec(config: HashConfig | BankConfig) -> HashGridSpec:
    """The sizes of the hash grid that the settings ask for."""
    return HashGridSpec(
        levels=config.levels,
        log2_entries=config.log2_entries,
        features=config.features,
        base_resolution=config.base_resolution,
        finest_resolution=config.finest_resolution,
    )


class BlendedGrids(nn.Module):
    """K small hash grids; a frame's grid is their sum weighted by the frame's coefficients.

    Expression-blended hash grids as in NeRFBlendShape (Gao et al. 2022), with learned coefficients. Zero coefficients
    give zero features, for the neutral expression and, through the ray mask, everywhere outside the silhouette.
    """

    def __init__(self, config: BankConfig, backend: str = "auto") -> None:
        super().__init__()
        self.spec, self.backend = grid_spec(config), backend
        self.tables = nn.Parameter(torch.empty(self.spec.table_size, config.features, config.tables))
        nn.init.uniform_(self.tables, -1e-2, 1e-2)

    @property
    def size(self) -> int:
        return self.spec.levels * self.spec.features

    def forward(self, inputs: FieldInputs) -> Tensor:
        """Features `[M, levels * features]`; zero, without lookup, where the ray mask is false."""
        frame = torch.where(inputs.mask, inputs.frame, -1)
        arguments = (inputs.positions, self.tables, inputs.coefficients, frame, self.spec)
        return blended_encode(*arguments, backend=self.backend)


class HashRadiance(nn.Module):
    """A hash grid, blended hash grids and small MLPs.

    Density depends on the grids' features; colour depends on geometry features, view direction and appearance code.
    With the encoding `tcnn` the grid and the MLPs are tinycudann's and ignore `dtype`; the blended grids stay with
    Warp.
    """

    def __init__(self, config: FieldConfig, dtype: torch.dtype, encoding: str = "auto") -> None:
        super().__init__()
        self.spec = grid_spec(config.hash)
        self.grid = TcnnGrid(self.spec) if encoding == "tcnn" else None
        self.backend = "warp" if encoding == "tcnn" else encoding
        if self.grid is None:
            self.table = nn.Parameter(torch.empty(self.spec.table_size, config.hash.features))
            nn.init.uniform_(self.table, -1e-4, 1e-4)
        self.blended = BlendedGrids(config.bank, self.backend) if config.bank.enabled else None
        self.direction_bands = config.direction_bands
        encoded = self.spec.levels * self.spec.features + (self.blended.size if self.blended else 0)
        seen = GEOMETRY_FEATURES + direction_size(config.direction_bands) + config.appearance_code_size
        density = (encoded, config.width, config.hidden_layers, 1 + GEOMETRY_FEATURES)
        colour = (seen, config.width, config.colour_layers, 3)
        if self.grid is not None:
            self.density_network, self.colour_network = TcnnMlp(*density), TcnnMlp(*colour)
        else:
            self.density_network = Mlp(*density, dtype=dtype, backend=encoding)
            self.colour_network = Mlp(*colour, dtype=dtype, backend=encoding)

    def encode(self, positions: Tensor) -> Tensor:
        """Features `[M, levels * features]` of the canonical grid."""
        if self.grid is not None:
            return self.grid(positions)
        return hash_encode(positions, self.table, self.spec, backend=self.backend)

    def density(self, inputs: FieldInputs) -> tuple[Tensor, Tensor]:
        """Densities `[M]` per centimetre and geometry features `[M, 15]`."""
        parts = [self.encode(inputs.positions)]
        if self.blended is not None:
            parts.append(self.blended(inputs))
        return split_density(self.density_network([(part, None) for part in parts]))

    def colour(self, features: Tensor, inputs: FieldInputs, directions: Tensor, appearance: Tensor | None) -> Tensor:
        """Colours `[M, 3]` in [0, 1] of samples seen along unit `directions` `[M, 3]`.

        features: `[M, 15]` from `density`. appearance: `[B, code]` codes of the frames, or None.
        """
        encoded = encode_direction(directions, self.direction_bands, backend=self.backend)
        parts: list[Part] = [(features, None), (encoded, None)]
        if appearance is not None:
            parts.append((appearance, inputs.frame))
        return torch.sigmoid(self.colour_network(parts).float())


class MlpRadiance(nn.Module):
    """The paper's canonical field: a frequency-encoded MLP with a skip, conditioned on the masked expression."""

    def __init__(self, config: FieldConfig, coefficients: int, dtype: torch.dtype, encoding: str = "auto") -> None:
        super().__init__()
        self.position_bands, self.direction_bands = config.position_bands, config.direction_bands
        inputs = frequency_size(3, config.position_bands) + coefficients
        self.backend = encoding
        arithmetic = {"dtype": dtype, "backend": encoding}
        self.density_network = Mlp(
            inputs, config.width, config.hidden_layers, 1 + config.width, skip=config.skip, **arithmetic
        )
        seen = config.width + direction_size(config.direction_bands) + config.appearance_code_size
        self.colour_network = Mlp(seen, max(config.width // 2, 1), config.colour_layers, 3, **arithmetic)

    def density(self, inputs: FieldInputs) -> tuple[Tensor, Tensor]:
        """Densities `[M]` per centimetre and geometry features `[M, width]`."""
        encoded = frequency_encode(2 * inputs.positions - 1, self.position_bands, backend=self.backend)
        return split_density(self.density_network([(encoded, None), (masked_coefficients(inputs), None)]))

    def colour(self, features: Tensor, inputs: FieldInputs, directions: Tensor, appearance: Tensor | None) -> Tensor:
        """Colours `[M, 3]` in [0, 1]; see `HashRadiance.colour`."""
        encoded = encode_direction(directions, self.direction_bands, backend=self.backend)
        parts: list[Part] = [(features, None), (encoded, None)]
        if appearance is not None:
            parts.append((appearance, inputs.frame))
        return torch.sigmoid(self.colour_network(parts).float())


def split_density(out: Tensor) -> tuple[Tensor, Tensor]:
    """Densities `[M]` per centimetre and geometry features `[M, C]` from a density network's outputs `[M, 1 + C]`."""
    raw, features = out.split([1, out.shape[1] - 1], -1)
    return density_activation(raw.squeeze(1) + DENSITY_BIAS), features


def masked_coefficients(inputs: FieldInputs) -> Tensor:
    """Coefficients `[M, K]` of the samples, zero where the ray mask is false: m_i(p) psi_i of the paper."""
    return inputs.coefficients.index_select(0, inputs.frame) * inputs.mask.to(inputs.coefficients.dtype).unsqueeze(-1)


def make_radiance(
    config: FieldConfig, coefficients: int, dtype: torch.dtype, encoding: str = "auto"
) -> HashRadiance | MlpRadiance:
    """The canonical field that the settings ask for; `encoding` is resolved by `avatar.kernels.runtime.backends`."""
    if config.canonical == "hash":
        return HashRadiance(config, dtype, encoding)
    return MlpRadiance(config, coefficients, dtype, encoding)
