"""Spherical harmonics against their twin."""

import pytest
import torch

from avatar.kernels.harmonics import reference
from avatar.kernels.harmonics.op import spherical_harmonics

GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")])


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_harmonics_agree(count, device):
    generator = torch.Generator().manual_seed(count)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1).to(device)
    torch.testing.assert_close(
        spherical_harmonics(directions), reference.spherical_harmonics(directions), atol=1e-6, rtol=1e-6
    )
