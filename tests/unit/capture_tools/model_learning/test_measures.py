"""Curves of learned spaces, on spaces that are known, and their picture."""

from __future__ import annotations

import pytest
import torch

from capture_tools.model_learning.measures import Curves, counts_of, space_curves
from capture_tools.model_learning.pictures import HEIGHT, WIDTH, draw_curves, nice_limit


def test_numbers_of_directions_begin_densely():
    assert counts_of(1) == [1]
    assert counts_of(5) == [1, 2, 3, 4, 5]
    many = counts_of(300)
    assert (many[0], many[-1]) == (1, 300)
    assert len(many) <= 13


def test_a_space_that_others_span_is_general():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(60, 2, generator=generator, dtype=torch.float64))[0].T
    samples = torch.randn(8, 2, generator=generator, dtype=torch.float64) @ (basis * torch.tensor([[4.0], [1.0]]))
    variances = torch.linalg.svdvals(samples - samples.mean(0)) ** 2 / 8
    curves = space_curves(samples, torch.arange(8), 2, variances, centred=True)
    assert curves.counts == [1, 2]
    assert curves.explained == pytest.approx([float(variances[0] / variances[:2].sum()), 1.0])
    assert curves.generalisation is not None
    assert curves.generalisation[0] > 1  # millimetres
    assert curves.generalisation[1] < 1e-9
    assert curves.specificity[1] > 0


def test_one_group_cannot_be_left_out():
    samples = torch.randn(4, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert space_curves(samples, torch.zeros(4), 2, torch.ones(4), centred=False).generalisation is None


def test_a_picture_has_a_panel_for_each_measure():
    shape = Curves([1, 2, 5], [0.5, 0.8, 1.0], [3.0, 2.0, 1.0], [1.0, 1.5, 2.0])
    one = draw_curves({"shape": shape})
    assert one.shape == (HEIGHT, 3 * WIDTH, 3)
    expression = Curves([1, 4], [0.6, 1.0], None, [0.5, 0.9])
    both = draw_curves({"shape": shape, "expression": expression})
    changed = [
        (panel != other).any()
        for panel, other in zip(*(p.reshape(HEIGHT, 3, WIDTH, 3).swapaxes(0, 1) for p in (one, both)), strict=True)
    ]
    assert changed[0]
    assert changed[2]
    none = draw_curves({"expression": expression})
    assert none.shape == one.shape


def test_axes_end_at_round_numbers():
    assert [nice_limit(v) for v in (0, 0.9, 1, 1.1, 2.2, 3, 70, 0.03)] == pytest.approx([1, 1, 1, 2, 2.5, 5, 100, 0.05])
