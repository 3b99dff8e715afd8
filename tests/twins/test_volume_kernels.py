"""Packed volume rendering against its twin: weights, light, sums and every gradient."""

import pytest
import torch

from avatar.base.errors import InputError
from avatar.kernels.volume import op as volume
from avatar.kernels.volume import reference

GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")])
COUNTS = {
    "no ray": [],
    "no sample": [0, 0, 0],
    "one sample": [1],
    "gaps": [0, 3, 0, 0, 1, 7, 0],
    "many": [(7 * ray * ray + ray) % 33 for ray in range(2000)],
}


def make(counts, device="cpu", dtype=torch.float32):
    generator = torch.Generator().manual_seed(len(counts))
    first = torch.cat([torch.zeros(1, dtype=torch.int64), torch.tensor(counts, dtype=torch.int64).cumsum(0)])
    count = int(first[-1])
    optical_depth = torch.rand(count, generator=generator) ** 4 * 20
    optical_depth[::5] = 0.0
    values = torch.randn(count, 3, generator=generator)
    incoming = torch.randn(count, generator=generator), torch.randn(len(counts), 4, generator=generator)
    return [
        part.to(device, dtype if part.is_floating_point() else part.dtype) for part in (first, optical_depth, values)
    ], [part.to(device, dtype) for part in incoming]


def outputs(kernels, counts, device="cpu", dtype=torch.float32):
    (first, optical_depth, values), (on_weights, on_rays) = make(counts, device, dtype)
    optical_depth.requires_grad_()
    values.requires_grad_()
    weights, transmittance = kernels.render_weights(optical_depth, first)
    weights.retain_grad()
    colour, opacity = kernels.sum_along_rays(weights, first, values), kernels.sum_along_rays(weights, first)
    ((weights * on_weights).sum() + (torch.cat([colour, opacity[:, None]], 1) * on_rays).sum()).backward()
    found = (weights, transmittance, colour, opacity, optical_depth.grad, values.grad, weights.grad)
    return [part.detach().double().cpu() for part in found]


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("name", COUNTS)
def test_kernels_agree_with_the_twin(name, device):
    ours = outputs(volume, COUNTS[name], device)
    twin = outputs(reference, COUNTS[name], device, torch.float64)
    for part, expected in zip(ours, twin, strict=True):
        assert part.shape == expected.shape
        if part.numel():
            assert float((part - expected).abs().max()) <= 2e-6 * max(1.0, float(expected.abs().max()))


def test_an_opaque_sample_hides_all_behind_it():
    first = torch.tensor([0, 3])
    optical_depth = torch.tensor([0.0, 1e30, 5.0], requires_grad=True)
    weights, transmittance = volume.render_weights(optical_depth, first)
    assert weights.tolist() == [0.0, 1.0, 0.0]
    assert transmittance.tolist() == [1.0, 1.0, 0.0]
    weights.sum().backward()
    assert optical_depth.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("first", "optical_depth", "message"),
    [
        (torch.tensor([0, 2]), torch.zeros(3), "do not fit the rays"),
        (torch.tensor([0, 3], dtype=torch.int32), torch.zeros(3), "where their samples begin"),
        (torch.tensor([], dtype=torch.int64), torch.zeros(0), "where their samples begin"),
        (torch.tensor([0, 3]), torch.zeros(3).double(), "float32"),
    ],
)
def test_what_does_not_fit_is_refused(first, optical_depth, message):
    with pytest.raises(InputError, match=message):
        volume.render_weights(optical_depth, first)
