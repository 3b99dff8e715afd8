"""The bank of mixed grids against its twin: features and the gradients to points, bank and coefficients."""

import pytest
import torch

from avatar.base.errors import InputError
from avatar.kernels.blended_grid import reference
from avatar.kernels.blended_grid.op import blended_encode
from avatar.kernels.hash_grid.types import HashGridSpec

GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")])
SPECS = {
    "mixed": HashGridSpec(levels=5, log2_entries=9, base_resolution=4, finest_resolution=61),
    "four features": HashGridSpec(levels=3, log2_entries=8, features=4, base_resolution=5, finest_resolution=33),
    "all hashed": HashGridSpec(levels=2, log2_entries=4, base_resolution=8, finest_resolution=16),
}


def make(spec, count, tables, device="cpu"):
    generator = torch.Generator().manual_seed(count + tables)
    positions = torch.rand(count, 3, generator=generator) * 1.2 - 0.1
    positions[::4] = (positions[::4] * spec.base_resolution).round() / spec.base_resolution
    bank = torch.randn(spec.table_size, spec.features, tables, generator=generator)
    coefficients = torch.randn(4, tables, generator=generator)
    frame = torch.randint(-1, 4, (count,), generator=generator)
    incoming = torch.randn(count, spec.output_size, generator=generator)
    return [part.to(device) for part in (positions, bank, coefficients, frame, incoming)]


def run(function, positions, bank, coefficients, frame, incoming, spec):
    leaves = [part.detach().clone().requires_grad_() for part in (positions, bank, coefficients)]
    features = function(*leaves, frame, spec)
    (features * incoming).sum().backward()
    return [part.detach().double().cpu() for part in (features, *(leaf.grad for leaf in leaves))]


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("tables", [1, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 65, 9001])
@pytest.mark.parametrize("name", SPECS)
def test_features_and_gradients_agree(name, count, tables, device):
    spec = SPECS[name]
    arguments = make(spec, count, tables, device)
    ours, twin = run(blended_encode, *arguments, spec), run(reference.blended_encode, *arguments, spec)
    for found, expected in zip(ours, twin, strict=True):
        assert found.shape == expected.shape
        if found.numel():
            assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max()) + 1e-12


def test_points_without_a_frame_get_and_give_nothing():
    spec = SPECS["mixed"]
    positions, bank, coefficients, _, incoming = make(spec, 100, 3)
    none = torch.full((100,), -1)
    features, *gradients = run(blended_encode, positions, bank, coefficients, none, incoming, spec)
    assert not features.any()
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (0, lambda p: p.index_fill(0, torch.tensor([7]), torch.nan), "not finite"),
        (0, lambda p: p.double(), "positions"),
        (1, lambda b: b[:-1], "the bank"),
        (2, lambda c: c[:, :2], "coefficients"),
        (3, lambda f: f + 2, "frame"),
        (3, lambda f: f - 2, "frame"),
        (3, lambda f: f.float(), "frames"),
    ],
)
def test_what_does_not_fit_is_refused(place, change, message):
    arguments = make(SPECS["mixed"], 20, 3)[:4]
    arguments[place] = change(arguments[place])
    with pytest.raises(InputError, match=message):
        blended_encode(*arguments, SPECS["mixed"])
