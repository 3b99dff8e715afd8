"""nerfacc against our own march and volume rendering, on CUDA; and what it says where it cannot run."""

import pytest
import torch

from avatar.base.errors import ConfigError, MissingDependencyError
from avatar.base.optional import is_installed
from avatar.kernels.march.op import march
from avatar.kernels.march.types import MarchMotion, MarchSpace
from avatar.kernels.runtime import backends
from avatar.rendering.sampling import Samples
from avatar.rendering.volume import render_weights

HERE = torch.cuda.is_available() and is_installed("nerfacc")
gpu = [pytest.mark.gpu, pytest.mark.skipif(not HERE, reason="no CUDA, or nerfacc is not installed")]


class TestOnCuda:
    pytestmark = gpu

    def test_straight_rays_get_the_same_samples(self):
        generator = torch.Generator().manual_seed(0)
        counts = (14, 12, 10)
        space = MarchSpace(torch.tensor([-0.35, -0.3, -0.25]), torch.full((3,), 0.05), counts, (0, -1), torch.eye(4))
        space = MarchSpace(space.low.cuda(), space.cell.cuda(), counts, space.neck, torch.eye(4).cuda())
        origins = torch.tensor([0.0, 0.0, 1.0]) + 0.02 * torch.rand(500, 3, generator=generator)
        aim = (torch.rand(500, 3, generator=generator) - 0.5) * 0.5 - origins
        cells = torch.rand(2, *counts, generator=generator) < 0.6
        arguments = {
            "origins": origins.cuda(),
            "directions": torch.nn.functional.normalize(aim, dim=-1).cuda(),
            "frame": torch.zeros(500, dtype=torch.int64).cuda(),
            "near": torch.full((500,), 0.6).cuda(),
            "far": torch.full((500,), 1.4).cuda(),
            "step": 0.02,
            "offset": torch.rand(500, generator=generator).cuda(),
            "dilated": cells[0].cuda(),
            "occupied": cells[1].cuda(),
            "max_samples": 6,
        }
        still = MarchMotion(None, None, None)
        ours, theirs = (march(space, still, **arguments, backend=backend) for backend in ("warp", "nerfacc"))
        same = ours.count == theirs.count  # a step on a cell's border may fall on either side
        assert same.float().mean() > 0.97
        chosen = same[ours.ray], same[theirs.ray]
        assert (ours.depth[chosen[0]] - theirs.depth[chosen[1]]).abs().quantile(0.98) < 1e-4

    def test_weights_and_their_gradient(self):
        generator = torch.Generator().manual_seed(1)
        ray = torch.randint(300, (5000,), generator=generator).sort().values.cuda()
        parts = [torch.rand(5000, generator=generator).cuda() for _ in range(3)]
        samples = Samples(ray, parts[0], parts[1] * 0.01, 300)
        incoming, results = torch.rand(5000, generator=generator).cuda(), []
        for backend in ("torch", "nerfacc"):
            density = parts[2].clone().requires_grad_()
            weights, light = render_weights(density, samples, backend=backend)
            (weights * incoming).sum().backward()
            results.append((weights.detach(), light.detach(), density.grad))
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)


def test_without_the_package_the_line_that_installs_it_is_given(monkeypatch):
    monkeypatch.setattr(backends, "is_installed", lambda name: False)
    samples = Samples(torch.zeros(1, dtype=torch.int64), torch.ones(1), torch.ones(1), 1)
    with pytest.raises(MissingDependencyError, match="pip install nerfacc"):
        render_weights(torch.ones(1), samples, backend="nerfacc")


def test_without_cuda_it_says_so(monkeypatch):
    monkeypatch.setattr(backends, "is_installed", lambda name: True)
    samples = Samples(torch.zeros(1, dtype=torch.int64), torch.ones(1), torch.ones(1), 1)
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        render_weights(torch.ones(1), samples, backend="nerfacc")
