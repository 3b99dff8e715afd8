"""The joint regressor: how joints lie in a mesh, near the starting model's."""

from __future__ import annotations

import torch
from torch import Tensor

ENTRY_DEVIATION = 0.01
"""Standard deviation of a change of the regressor's entries."""
JOINT_DEVIATION = 1e-4
"""Metres between a person's joints and what is regressed."""


def fit_regressor(start: Tensor, neutrals: Tensor, joints: Tensor) -> Tensor:
    """The regressor `[5, V]` nearest to `start` that puts the joints of people `[S, V, 3]` at `joints` `[S, 5, 3]`.

    Only the vertices that `start` uses are used, and rows keep their sums, so that joints move with the head.
    """
    fitted = start.clone()
    for index, row in enumerate(start):
        wanted = joints[:, index] - torch.einsum("v,svi->si", row, neutrals)
        used = torch.nonzero(row).squeeze(1)
        places = neutrals[:, used].permute(0, 2, 1).flatten(0, 1)  # [3 S, U]
        places = places - places.mean(1, keepdim=True)  # sums of changes are zero
        inner = places @ places.T
        inner += (JOINT_DEVIATION / ENTRY_DEVIATION) ** 2 * torch.eye(len(inner), dtype=inner.dtype)
        fitted[index, used] += places.T @ torch.linalg.solve(inner, wanted.flatten())
    return fitted
