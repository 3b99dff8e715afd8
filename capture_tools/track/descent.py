"""Descent of an energy over variables of different kinds, by L-BFGS (Liu and Nocedal 1989) with a strong Wolfe line
search.

The curvatures of rotations, pixels and coefficients differ by orders of magnitude, so each variable is descended in a
unit of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

MEMORY = 20
"""Steps whose gradients tell the curvature."""
GRADIENT, CHANGE = 1e-6, 1e-7
"""Largest gradient, and change of the variables, at which nothing is left to gain."""


def descend(
    start: Mapping[str, Tensor],
    units: Mapping[str, float],
    energy: Callable[[dict[str, Tensor]], Tensor],
    steps: int,
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, Tensor]:
    """The values at which `energy` is lower than at `start`, after at most `steps` steps of L-BFGS.

    Args:
        start: variables of any shapes.
        units: of each variable, about what a step may change it by.
        energy: a scalar, differentiable in the variables.
        progress: called after each evaluation with the steps done (at most `steps`) and the energy.

    Returns `start` where the descent left the range of finite numbers.
    """
    free = {name: torch.zeros_like(value).requires_grad_() for name, value in start.items()}

    def values() -> dict[str, Tensor]:
        return {name: value.detach() + units[name] * free[name] for name, value in start.items()}

    optimizer = torch.optim.LBFGS(
        list(free.values()),
        max_iter=steps,
        history_size=MEMORY,
        tolerance_grad=GRADIENT,
        tolerance_change=CHANGE,
        line_search_fn="strong_wolfe",
    )
    done = 0

    def evaluate() -> float:
        nonlocal done
        optimizer.zero_grad()
        total = energy(values())
        total.backward()
        done += 1
        reached = float(total.detach())
        if progress is not None:
            progress(min(done, steps), reached)
        return reached

    optimizer.step(evaluate)
    found = {name: value.detach() for name, value in values().items()}
    finite = all(bool(value.isfinite().all()) for value in found.values())
    return found if finite else {name: value.detach().clone() for name, value in start.items()}
