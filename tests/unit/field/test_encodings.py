"""Encodings against values computed by hand."""

import math

import pytest
import torch

from avatar.field.encodings import band_window, frequency_size
from avatar.kernels.frequency.op import frequency_encode
from avatar.kernels.harmonics.op import spherical_harmonics


def test_window_at_known_places():
    # band 0 is fully open from alpha 1 on, band 1 at half its width gives (1 - cos(pi / 2)) / 2 = 0.5
    assert band_window(4, 0.0).tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(band_window(4, 1.5), torch.tensor([1.0, 0.5, 0.0, 0.0]))
    torch.testing.assert_close(band_window(3, 0.25), torch.tensor([(1 - math.sqrt(0.5)) / 2, 0.0, 0.0]))
    assert band_window(4, 4.0).tolist() == [1, 1, 1, 1]


def test_frequency_encoding_of_one_point():
    encoded = frequency_encode(torch.tensor([[0.25, -0.5]]), 2)
    s, c = math.sin, math.cos
    angles = [math.pi * 0.25, math.pi * -0.5, 2 * math.pi * 0.25, 2 * math.pi * -0.5]
    expected = [0.25, -0.5, *[s(a) for a in angles], *[c(a) for a in angles]]
    torch.testing.assert_close(encoded, torch.tensor([expected]))
    assert encoded.shape[-1] == frequency_size(2, 2) == 10


def test_a_closed_band_leaves_nothing_but_the_values():
    values = torch.randn(5, 3)
    encoded = frequency_encode(values, 4, band_window(4, 0.0))
    torch.testing.assert_close(encoded[:, :3], values)
    assert encoded[:, 3:].abs().max() == 0


def test_spherical_harmonics_are_orthonormal():
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(400_000, 3, generator=generator), dim=-1)
    values = spherical_harmonics(directions)
    product = 4 * math.pi * values.T @ values / len(directions)
    assert (product - torch.eye(9)).abs().max() < 0.02


@pytest.mark.parametrize("bands", [0, 1])
def test_size_matches(bands):
    assert frequency_encode(torch.zeros(2, 3), bands).shape[-1] == frequency_size(3, bands)
