"""The placement of samples against its twin: points, directions and the gradients to the head's motion."""

import pytest
import torch

from avatar.base.errors import InputError
from avatar.geometry.rotations import axis_angle_to_matrix
from avatar.kernels.warp import reference
from avatar.kernels.warp.op import to_canonical

GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")])
NECK = (-0.05, -0.15)


def make(count, *, frames=3, rays=40, device="cpu", dtype=torch.float32):
    generator = torch.Generator().manual_seed(count)

    def randn(*size):
        return torch.randn(*size, generator=generator).to(device, dtype)

    matrix = torch.cat([axis_angle_to_matrix(0.4 * randn(frames, 3)), 0.05 * randn(frames, 3, 1)], -1)
    # heights from far below to far above the neck's blend
    height = torch.cat([0.1 * randn(frames, 1), torch.ones(frames, 1, device=device, dtype=dtype), randn(frames, 2)], 1)
    arguments = {
        "origins": 0.1 * randn(rays, 3) - torch.tensor([0.0, 0.1, 1.0], device=device, dtype=dtype),
        "directions": torch.nn.functional.normalize(randn(rays, 3) * 0.1 + torch.eye(3)[2].to(device, dtype), dim=-1),
        "frame": torch.randint(frames, (rays,), generator=generator).to(device),
        "ray": torch.randint(rays, (count,), generator=generator).sort().values.to(device),
        "depth": (1 + 0.1 * randn(count)),
        "displacement": 0.01 * randn(count, 3),
        "canonical_from_world": matrix.contiguous(),
        "height": height * torch.tensor([1, 1, 0.1, 0.02], device=device, dtype=dtype),
    }
    return arguments, randn(count, 3)


def run(function, arguments, incoming):
    motion = [arguments["canonical_from_world"].requires_grad_(), arguments["height"].requires_grad_()]
    points, views = function(**arguments, neck=NECK)
    (points * incoming).sum().backward()
    return [part.detach().double().cpu() for part in (points, views, *(leaf.grad for leaf in motion))]


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("count", [0, 1, 777, 5000])
def test_kernel_agrees_with_the_twin(count, device):
    ours = run(to_canonical, *make(count, device=device))
    twin = run(reference.to_canonical, *make(count, device=device, dtype=torch.float64))
    for found, expected in zip(ours, twin, strict=True):
        assert found.shape == expected.shape
        if found.numel():
            assert float((found - expected).abs().max()) <= 3e-6 * max(1.0, float(expected.abs().max()))


def test_the_test_sees_every_part_of_the_blend():
    arguments, _ = make(5000)
    points = arguments["origins"][arguments["ray"]] + (
        arguments["depth"].unsqueeze(1) * arguments["directions"][arguments["ray"]]
    )
    row = arguments["height"][arguments["frame"][arguments["ray"]]]
    height = (row[:, :3] * points).sum(-1) + row[:, 3]
    above, below = (height > NECK[0]).float().mean(), (height < NECK[1]).float().mean()
    assert min(above, below, 1 - above - below) > 0.1


def test_a_still_head_only_shifts():
    arguments, _ = make(200)
    still = {key: value for key, value in arguments.items() if key not in ("canonical_from_world", "height")}
    points, views = to_canonical(**still)
    directions = arguments["directions"][arguments["ray"]]
    expected = arguments["origins"][arguments["ray"]] + arguments["depth"].unsqueeze(1) * directions
    torch.testing.assert_close(points, expected - arguments["displacement"])
    torch.testing.assert_close(views, directions)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth", torch.zeros(7)),
        ("frame", torch.zeros(40)),
        ("height", torch.zeros(3, 3)),
        ("canonical_from_world", torch.zeros(3, 4, 4)),
        ("directions", torch.zeros(40, 3).double()),
    ],
)
def test_what_does_not_fit_is_refused(name, value):
    arguments, _ = make(20)
    with pytest.raises(InputError):
        to_canonical(**{**arguments, name: value})
