"""How good learned spaces are: explained variance, generalisation and specificity, for each number of directions.

Generalisation: how near the space of all others comes to people who were left out. Specificity: how near random members
of the space come to one that was learned from (Davies, "Learning shape: optimal models for analysing natural
variability", 2002; as for FLAME, Li et al., ACM TOG 36(6), 2017, section 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from capture_tools.model_learning.linear import principal_directions
from capture_tools.model_learning.state import Registrations
from capture_tools.model_learning.training import TrainedModel

DRAWN = 100
"""Random members of a space."""
POINTS = 12
"""Numbers of directions, at most, at which a curve is measured."""


@dataclass(frozen=True)
class Curves:
    """Measures of one space, by the number of directions."""

    counts: list[int]
    explained: list[float]
    """Share of the variance."""
    generalisation: list[float] | None
    """Mean distance in millimetres to people left out; None where there are too few."""
    specificity: list[float]
    """Mean distance in millimetres of random members to the nearest sample."""

    def summary(self) -> dict[str, Any]:
        """For report.json."""
        return {
            "directions": self.counts,
            "explained_variance": [round(value, 6) for value in self.explained],
            "generalisation_mm": None if self.generalisation is None else [round(v, 4) for v in self.generalisation],
            "specificity_mm": [round(value, 4) for value in self.specificity],
        }


def counts_of(most: int) -> list[int]:
    """At most POINTS numbers from 1 to `most`, denser at the beginning."""
    steps = torch.logspace(0, torch.log10(torch.tensor(float(most))).item(), POINTS).round().int().tolist()
    return sorted({*steps, most})


def shape_curves(trained: TrainedModel) -> Curves:
    """Of the shape space; the samples are the people."""
    samples = trained.state.neutrals.flatten(1)
    return space_curves(samples, torch.arange(len(samples)), len(trained.shapes), trained.shape_variances, centred=True)


def expression_curves(trained: TrainedModel, data: Registrations) -> Curves:
    """Of the expression space; the samples are the expressions, and whole people are left out."""
    state = trained.state
    residual = state.unposed(data) - state.bends() - state.neutrals[data.subjects]
    samples = residual[data.expressive].flatten(1)
    _, _, variances = principal_directions(samples, 1)
    return space_curves(samples, data.subjects[data.expressive], len(state.directions), variances, centred=False)


def space_curves(samples: Tensor, groups: Tensor, most: int, variances: Tensor, *, centred: bool) -> Curves:
    """Measures of the space of samples, up to `most` directions.

    samples: `[N, 3 V]`; groups: `[N]`, samples of one group are left out together."""
    counts = counts_of(most)
    total = float(variances.sum().clamp_min(1e-30))
    explained = [float(variances[:count].sum()) / total for count in counts]
    generalisation = [_left_out(samples, groups, count, centred) for count in counts]
    generator = torch.Generator().manual_seed(0)
    middle = samples.mean(0) if centred else torch.zeros_like(samples[0])
    directions, _, _ = principal_directions(samples - middle, most)
    drawn = torch.randn(DRAWN, len(directions), generator=generator, dtype=samples.dtype)
    specificity = [_nearest(middle + drawn[:, :count] @ directions[:count], samples) for count in counts]
    known = [value for value in generalisation if value is not None]
    return Curves(counts, explained, known if len(known) == len(counts) else None, specificity)


def _left_out(samples: Tensor, groups: Tensor, count: int, centred: bool) -> float | None:
    """Mean distance in millimetres between samples and their nearest in the space of the other groups."""
    distances = []
    for group in torch.unique(groups):
        others, mine = samples[groups != group], samples[groups == group]
        if len(others) < 2:
            return None
        middle = others.mean(0) if centred else torch.zeros_like(others[0])
        directions, _, _ = principal_directions(others - middle, count)
        basis = torch.nn.functional.normalize(directions, dim=1)
        away = mine - middle
        distances.append(_lengths(away - (away @ basis.T) @ basis).mean(1))
    return 1000 * float(torch.cat(distances).mean())


def _nearest(drawn: Tensor, samples: Tensor) -> float:
    """Mean over members `[D, 3 V]` of the mean distance in millimetres to the nearest sample."""
    drawn, samples = drawn.float(), samples.float()  # half the time, and a thousandth of a millimetre is enough
    return 1000 * float(torch.stack([_lengths(one - samples).mean(1).min() for one in drawn]).mean())


def _lengths(rows: Tensor) -> Tensor:
    """Distances `[N, V]` of offsets `[N, 3 V]`."""
    return rows.unflatten(-1, (-1, 3)).norm(dim=-1)
