"""Descent of an energy over variables of very different sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from capture_tools.track.descent import descend

START = {"angle": torch.zeros(2), "pixels": torch.full((3, 2), 50.0)}
UNITS = {"angle": 0.01, "pixels": 10.0}
ANGLE, PIXELS = torch.tensor([0.02, -0.01]), torch.tensor([[300.0, 40.0]])


def energy(values: dict[str, Tensor]) -> Tensor:
    """Least at ANGLE and PIXELS, whose curvatures differ by eight orders of magnitude, and joined by a product."""
    angle, pixels = values["angle"] - ANGLE, values["pixels"] - PIXELS
    return 1e4 * angle.square().sum() + 1e-4 * pixels.square().sum() + 0.1 * angle[0] * pixels[0, 0]


def test_variables_of_different_sizes_arrive_together():
    told: list[tuple[int, float]] = []
    found = descend(START, UNITS, energy, 30, lambda done, reached: told.append((done, reached)))
    assert torch.allclose(found["angle"], ANGLE, atol=1e-4)
    assert torch.allclose(found["pixels"], PIXELS.expand(3, 2), atol=0.1)
    steps = [done for done, _ in told]
    assert steps == sorted(steps)
    assert steps[-1] <= 30
    assert told[-1][1] < 1e-3 * told[0][1]
    assert not START["angle"].any()  # what it is given stays as it is
    assert float(START["pixels"].min()) == 50


def test_no_more_steps_are_taken_than_asked_for():
    evaluations = []
    descend(START, UNITS, energy, 4, lambda done, _: evaluations.append(done))
    assert max(evaluations) == 4
    assert len(evaluations) <= 6  # the line search may look twice


def test_what_is_not_finite_leads_nowhere():
    found = descend(START, UNITS, lambda values: (values["pixels"] * torch.nan).sum() + values["angle"].sum(), 5)
    assert torch.equal(found["pixels"], START["pixels"])
    assert torch.equal(found["angle"], START["angle"])
