"""The deformation field: still at the start, coarse to fine, per code."""

import torch

from avatar.config import DeformationConfig
from avatar.field.deformation import TranslationField


def test_nothing_moves_at_the_start():
    torch.manual_seed(0)
    field = TranslationField(DeformationConfig(layers=6, width=128, skip=4))
    points = torch.rand(100, 3) * 2 - 1
    assert field(points, torch.randn(4, 8), torch.arange(100) % 4, 6.0).abs().max() < 1e-3


def test_the_window_rises_linearly_then_stays():
    field = TranslationField(DeformationConfig(bands=6, coarse_to_fine_end=0.5))
    assert [field.window(p) for p in (0.0, 0.25, 0.5, 1.0)] == [0.0, 3.0, 6.0, 6.0]
    open_field = TranslationField(DeformationConfig(bands=6, coarse_to_fine=False))
    assert open_field.window(0.0) == 6.0


def test_codes_and_open_bands_change_the_translation():
    torch.manual_seed(0)
    field = TranslationField(DeformationConfig())
    torch.nn.init.normal_(field.network.layers[-1].weight)
    points = torch.rand(50, 3) * 2 - 1
    code, frame = torch.randn(1, 8), torch.zeros(50, dtype=torch.int64)
    moved = field(points, code, frame, 2.0)
    assert (field(points, -code, frame, 2.0) - moved).abs().max() > 1e-3
    assert (field(points, code, frame, 3.0) - moved).abs().max() > 1e-3
    # with every band closed a translation is a smooth function: a far smaller change over a small step
    near = points + 1e-3
    rough = (field(near, code, frame, 6.0) - field(points, code, frame, 6.0)).norm(dim=-1).mean()
    smooth = (field(near, code, frame, 0.0) - field(points, code, frame, 0.0)).norm(dim=-1).mean()
    assert smooth < 0.2 * rough
