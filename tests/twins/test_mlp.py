"""The fused perceptron against its twin: outputs and every gradient, in all shapes the field and the presets use."""

from itertools import pairwise

import pytest
import torch

from avatar.base.errors import InputError
from avatar.kernels.mlp import reference
from avatar.kernels.mlp.op import fused_mlp, multiplies_bfloat16

ROWS = 5
SHAPES = {
    # name: (columns of each part and whether it is indexed), hidden layers, width, outputs, skip, bias
    "density": (((24, False), (16, False)), 1, 64, 16, 0, True),
    "deformation": (((39, False), (8, True)), 3, 64, 3, 0, True),
    "colour": (((15, False), (9, False), (4, True)), 1, 64, 3, 0, True),
    "skip, odd widths": (((10, False), (3, True)), 4, 50, 5, 2, True),
    "wide skip": (((7, False),), 6, 128, 3, 4, True),
    "only an index, no bias": (((5, True),), 1, 16, 1, 0, False),
    "no hidden layer": (((20, False),), 0, 0, 33, 0, True),
    "three and two vectors wide": (((3, False),), 2, 48, 32, 0, True),
}


def make(shape, count, dtype=torch.float64):
    columns, hidden, width, outputs, skip, bias = shape
    generator = torch.Generator().manual_seed(count)

    def randn(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float32).to(dtype)

    parts = [
        (randn(ROWS, c), torch.randint(ROWS, (count,), generator=generator)) if indexed else (randn(count, c), None)
        for c, indexed in columns
    ]
    inputs = sum(c for c, _ in columns)
    sizes = [inputs, *[width] * hidden, outputs]
    weights = [
        randn(after, before + (inputs if skip and layer == skip else 0)) / before**0.5
        for layer, (before, after) in enumerate(pairwise(sizes))
    ]
    biases = [0.1 * randn(len(weight)) for weight in weights] if bias else None
    return parts, weights, biases, skip, randn(count, outputs)


def run(function, parts, weights, biases, skip, incoming):
    leaves = [value.requires_grad_() for value, _ in parts] + [w.requires_grad_() for w in weights]
    leaves += [] if biases is None else [bias.requires_grad_() for bias in biases]
    output = function(parts, weights, biases, skip)
    (output * incoming).sum().backward()
    return [output.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("count", [0, 1, 47, 48, 49, 1000])
@pytest.mark.parametrize("name", SHAPES)
def test_outputs_and_gradients_agree(name, count):
    kernel = run(lambda p, w, b, s: fused_mlp(p, w, b, skip=s), *make(SHAPES[name], count, torch.float32))
    twin = run(lambda p, w, b, s: reference.mlp(p, w, b, skip=s, dtype=torch.float64), *make(SHAPES[name], count))
    for ours, theirs in zip(kernel, twin, strict=True):
        assert ours.shape == theirs.shape
        if ours.numel():
            assert float((ours - theirs).abs().max()) <= 3e-6 * float(theirs.abs().max()) + 1e-12


@pytest.mark.skipif(not multiplies_bfloat16(), reason="no AVX-512 BF16")
@pytest.mark.parametrize("count", [0, 47, 48, 49, 1000])
@pytest.mark.parametrize("name", SHAPES)
def test_bfloat16_is_as_good_as_the_twin_in_bfloat16(name, count):
    def error(found, exact):
        return float((found - exact).norm()) / (float(exact.norm()) + 1e-12)

    def half_twin(p, w, b, s):
        return reference.mlp(p, w, b, skip=s, dtype=torch.bfloat16).float()

    kernel = run(
        lambda p, w, b, s: fused_mlp(p, w, b, skip=s, dtype=torch.bfloat16), *make(SHAPES[name], count, torch.float32)
    )
    twin = run(half_twin, *make(SHAPES[name], count, torch.float32))
    exact = run(lambda p, w, b, s: reference.mlp(p, w, b, skip=s, dtype=torch.float64), *make(SHAPES[name], count))
    assert kernel[0].dtype == torch.float32
    for ours, theirs, truth in zip(kernel, twin, exact, strict=True):
        assert ours.shape == truth.shape
        # with few samples one ReLU that falls to the other side shows
        assert error(ours, truth) <= (1.3 if count == 1000 else 2.5) * error(theirs, truth) + (
            2e-3 if count == 1000 else 0.03
        )


@pytest.mark.skipif(not multiplies_bfloat16(), reason="no AVX-512 BF16")
def test_bfloat16_lets_nan_through():
    parts, weights, biases, skip, _ = make(SHAPES["deformation"], 100, torch.float32)
    parts[0][0][17, 3] = torch.nan
    found = fused_mlp(parts, weights, biases, skip=skip, dtype=torch.bfloat16)
    assert found.isnan().any(1).nonzero().flatten().tolist() == [17]


def test_a_part_may_be_columns_of_a_wider_tensor_and_need_no_gradient():
    _, weights, biases, skip, incoming = make(SHAPES["density"], 100, torch.float32)
    wide = torch.randn(100, 40)
    views = [(wide[:, 3:27], None), (wide[:, 1:17], None)]
    for weight in weights:
        weight.requires_grad_()
    found = fused_mlp(views, weights, biases, skip=skip)
    expected = reference.mlp([(part.clone(), None) for part, _ in views], weights, biases, skip=skip)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    found.backward(incoming)
    gradient = weights[0].grad.clone()
    weights[0].grad = None
    expected.backward(incoming)
    torch.testing.assert_close(gradient, weights[0].grad, atol=1e-4, rtol=1e-4)


def test_a_value_that_is_not_a_number_stays_one_and_stays_in_its_row():
    parts, weights, biases, skip, incoming = make(SHAPES["deformation"], 100, torch.float32)
    parts[0][0][17, 3] = torch.nan
    for weight in weights:
        weight.requires_grad_()
    found = fused_mlp(parts, weights, biases, skip=skip)
    assert found.isnan().any(1).nonzero().flatten().tolist() == [17]
    assert found[17].isnan().all()
    found.backward(incoming)
    assert all(weight.grad.isnan().any() for weight in weights)


def test_the_result_does_not_depend_on_the_call_before():
    parts, weights, biases, skip, _ = make(SHAPES["deformation"], 600, torch.float32)
    first = fused_mlp(parts, weights, biases, skip=skip)
    fused_mlp([(value * 1e30, index) for value, index in parts], weights, biases, skip=skip)
    assert torch.equal(first, fused_mlp(parts, weights, biases, skip=skip))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, w, b: ([(p[0][0][:5], None), *p[1:]], w, b), "different lengths"),
        (lambda p, w, b: (p[:1], w, b), "layer 0 does not fit"),
        (lambda p, w, b: (p, w, [b[0][:3], *b[1:]]), "bias of layer 0"),
        (lambda p, w, b: ([p[0], (p[1][0], p[1][1] + 1)], w, b), "does not fit its rows"),
        (lambda p, w, b: ([p[0], (p[1][0], p[1][1].int())], w, b), "does not fit its rows"),
        (lambda p, w, b: (p, [], b), "needs an input and a layer"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    parts, weights, biases, *_ = make(SHAPES["deformation"], 30, torch.float32)
    with pytest.raises(InputError, match=message):
        fused_mlp(*change(parts, weights, biases))
