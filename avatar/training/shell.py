"""Rays that meet a mesh in canonical space, and what they have to see there: what the surface prior is made of."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor


@dataclass
class Shell:
    """Rays that meet a mesh in canonical space."""

    origins: Tensor
    """`[P, 3]` metres."""
    directions: Tensor
    """`[P, 3]` unit."""
    depth: Tensor
    """`[P]` of the mesh, metres."""
    tolerance: Tensor
    """`[P]` metres in front of the mesh; the ray has to be empty further out."""
    colour: Tensor
    """`[P, 3]` sRGB of the surface met, completed where it was not seen."""
    unseen: Tensor
    """`[P]` in [0, 1]: 1 where the clip never shows the surface, 0 where it shows it well."""
    on_torso: Tensor
    """`[P]` bool: the surface is the torso's."""

    def __len__(self) -> int:
        return len(self.depth)

    def select(self, index: Tensor) -> Shell:
        """The rays `index` `[K]`."""
        return Shell(*(getattr(self, part.name)[index] for part in fields(self)))

    def joined(self, other: Shell) -> Shell:
        """These rays and then the others."""
        pairs = ((getattr(self, part.name), getattr(other, part.name)) for part in fields(self))
        return Shell(*(torch.cat(pair) for pair in pairs))

    def drawn(self, count: int, generator: torch.Generator) -> Shell:
        """`count` rays at random, half of them from those that meet a surface hardly seen, where there are any."""
        device = self.depth.device
        chosen = torch.randint(len(self), (count,), generator=generator, device=device)
        if len(self.pool):
            half = torch.randint(len(self.pool), (count // 2,), generator=generator, device=device)
            chosen[: count // 2] = self.pool[half]
        return self.select(chosen)

    @cached_property
    def pool(self) -> Tensor:
        """Indices of rays that meet a surface hardly seen."""
        return (self.unseen > 0.5).nonzero().squeeze(1)

    def points(self, offset: Tensor) -> Tensor:
        """Points `[P, S, 3]` at `offset` `[P, S]` metres behind the mesh along each ray."""
        return self.origins[:, None] + (self.depth[:, None] + offset)[..., None] * self.directions[:, None]
