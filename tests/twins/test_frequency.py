"""The frequency encoding's native kernel against its twin in double precision."""

import pytest
import torch

from avatar.base.errors import InputError
from avatar.kernels.frequency import reference
from avatar.kernels.frequency.op import MOST_ANGLES, frequency_encode


@pytest.mark.parametrize(("dimensions", "bands"), [(3, 6), (3, 10), (1, 1), (2, 4), (3, 16), (5, 9)])
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_values_and_gradients_agree(count, dimensions, bands):
    assert dimensions * bands <= MOST_ANGLES
    generator = torch.Generator().manual_seed(bands)
    values = torch.rand(count, dimensions, generator=generator) * 4 - 2
    values[: count // 10] = (values[: count // 10] * 8).round() / 8  # where sines and cosines are 0 and 1
    window = torch.rand(bands, generator=generator)
    incoming = torch.randn(count, dimensions * (1 + 2 * bands), generator=generator)
    found = []
    for function, kind in ((frequency_encode, torch.float32), (reference.frequency_encode, torch.float64)):
        leaf = values.detach().to(kind).clone().requires_grad_()
        encoded = function(leaf, bands, window)
        (encoded * incoming).sum().backward()
        found.append((encoded.detach().double(), leaf.grad.double()))
    (ours, our_gradient), (twin, twin_gradient) = found
    torch.testing.assert_close(ours, twin, atol=3e-7, rtol=0)
    scale = 3.2 * 2 ** (bands - 1)
    torch.testing.assert_close(our_gradient, twin_gradient, atol=3e-6 * scale, rtol=0)


def test_more_angles_than_the_kernel_holds_go_to_the_twin():
    values = torch.rand(10, 3)
    assert torch.equal(frequency_encode(values, 17), reference.frequency_encode(values, 17, torch.ones(17)))


@pytest.mark.parametrize(("values", "window"), [(torch.zeros(3), None), (torch.zeros(2, 3), torch.ones(5))])
def test_what_does_not_fit_is_refused(values, window):
    with pytest.raises(InputError):
        frequency_encode(values, 4, window)
