"""The sizes of a hash grid, and the primes of its spatial hash."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from avatar.base.errors import ConfigError

PRIMES = (1, 2654435761, 805459861)
"""Factors of x, y and z in the spatial hash (Mueller et al. 2022, equation 4)."""
MAX_LOG2_ENTRIES = 24


@dataclass(frozen=True)
class HashGridSpec:
    """The sizes of a hash grid. Raises ConfigError for sizes that the kernels do not support."""

    levels: int = 12
    """Number of resolutions L."""
    log2_entries: int = 16
    """Base 2 logarithm of the most entries of a level."""
    features: int = 2
    """Features F of an entry: 2 or 4."""
    base_resolution: int = 16
    """Cells along an axis of the coarsest level."""
    finest_resolution: int = 512
    """Cells along an axis of the finest level."""

    def __post_init__(self) -> None:
        checks = (
            (self.levels >= 1, "levels of at least 1", self.levels),
            (1 <= self.log2_entries <= MAX_LOG2_ENTRIES, f"log2_entries of 1 to {MAX_LOG2_ENTRIES}", self.log2_entries),
            (self.features in (2, 4), "features of 2 or 4", self.features),
            (self.base_resolution >= 1, "base_resolution of at least 1", self.base_resolution),
            (
                self.base_resolution <= self.finest_resolution <= 2**20,
                "finest_resolution from base_resolution to 2^20",
                self.finest_resolution,
            ),
        )
        for fine, expected, found in checks:
            if not fine:
                raise ConfigError("a hash grid cannot have this size", expected=expected, found=found)

    @cached_property
    def level_resolutions(self) -> tuple[int, ...]:
        """N_l: cells along an axis of each level, growing geometrically (equations 2 and 3)."""
        if self.levels == 1:
            return (self.base_resolution,)
        growth = math.log(self.finest_resolution / self.base_resolution) / (self.levels - 1)
        # 1e-6 keeps the finest level at finest_resolution in spite of rounding
        return tuple(int(self.base_resolution * math.exp(growth * level) + 1e-6) for level in range(self.levels))

    @cached_property
    def level_hashed(self) -> tuple[bool, ...]:
        """Whether a level's corners outnumber its table, so that they are hashed."""
        return tuple((n + 1) ** 3 > 2**self.log2_entries for n in self.level_resolutions)

    @cached_property
    def level_sizes(self) -> tuple[int, ...]:
        """Entries of each level."""
        return tuple(min((n + 1) ** 3, 2**self.log2_entries) for n in self.level_resolutions)

    @cached_property
    def level_offsets(self) -> tuple[int, ...]:
        """First entry of each level in the table, and the table's size at the end: L + 1 numbers."""
        offsets = [0]
        for size in self.level_sizes:
            offsets.append(offsets[-1] + size)
        return tuple(offsets)

    @property
    def table_size(self) -> int:
        """Entries T of all levels together."""
        return self.level_offsets[-1]

    @property
    def output_size(self) -> int:
        """Features L * F of an encoded point."""
        return self.levels * self.features
