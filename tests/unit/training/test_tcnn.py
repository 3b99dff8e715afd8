"""tinycudann's grid and networks: our side of the bargain with a stand-in on any machine, the real one on CUDA."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from avatar.base.errors import ConfigError, MissingDependencyError
from avatar.base.optional import is_installed
from avatar.data.checkpoint import checkpoint_path, load_avatar, read_checkpoint
from avatar.field.tcnn import TcnnGrid, TcnnMlp, grid_settings, network_settings
from avatar.kernels.hash_grid.types import HashGridSpec
from avatar.kernels.runtime import backends
from avatar.training import step as learner
from avatar.training.trainer import train

SPEC = HashGridSpec(levels=4, log2_entries=10, base_resolution=8, finest_resolution=64)


class StandInEncoding(nn.Module):
    """The signature and the conventions of tinycudann.Encoding; features are products with random directions."""

    def __init__(self, n_input_dims, encoding_config, seed=1337, dtype=None):
        super().__init__()
        assert encoding_config["otype"] == "Grid"
        self.n_output_dims = encoding_config["n_levels"] * encoding_config["n_features_per_level"]
        generator = torch.Generator().manual_seed(seed)
        self.params = nn.Parameter(torch.rand(n_input_dims * self.n_output_dims, generator=generator))

    def forward(self, x):
        assert len(x), "tinycudann is not asked for nothing"
        return (x.float() @ self.params.view(x.shape[1], -1)).half()


class StandInNetwork(nn.Module):
    """The signature and the conventions of tinycudann.Network: one list of parameters, no bias, half precision out."""

    def __init__(self, n_input_dims, n_output_dims, network_config, seed=1337):
        super().__init__()
        assert network_config["otype"] == "FullyFusedMLP"
        width, hidden = network_config["n_neurons"], network_config["n_hidden_layers"]
        self.sizes = [n_input_dims, *[width] * hidden, n_output_dims]
        count = sum(a * b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True))
        self.params = nn.Parameter(torch.rand(count, generator=torch.Generator().manual_seed(seed)) - 0.5)

    def forward(self, x):
        assert len(x), "tinycudann is not asked for nothing"
        assert x.dtype == torch.float32
        h, start = x, 0
        for layer, (before, after) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            h = h @ self.params[start : start + before * after].view(before, after) / before**0.5
            start += before * after
            h = h if layer + 2 == len(self.sizes) else F.relu(h)
        return h.half()


@pytest.fixture
def stand_in(monkeypatch):
    module = ModuleType("tinycudann")
    module.Encoding, module.Network = StandInEncoding, StandInNetwork
    monkeypatch.setitem(sys.modules, "tinycudann", module)
    monkeypatch.setattr(backends, "is_installed", lambda name: name == "tinycudann")
    known = backends.IMPLEMENTATIONS["encoding"]
    monkeypatch.setitem(known, "tcnn", replace(known["tcnn"], needs_cuda=False))


def test_settings_say_what_the_spec_says():
    settings = grid_settings(SPEC)
    assert (settings["n_levels"], settings["n_features_per_level"], settings["log2_hashmap_size"]) == (4, 2, 10)
    assert settings["base_resolution"] * settings["per_level_scale"] ** 3 == pytest.approx(64)
    assert grid_settings(replace(SPEC, levels=1))["per_level_scale"] == 1.0
    assert network_settings(64, 2)["n_hidden_layers"] == 2


@pytest.mark.parametrize(("width", "hidden"), [(48, 1), (256, 1), (64, 0)])
def test_sizes_without_a_fused_kernel_are_refused(width, hidden):
    with pytest.raises(ConfigError, match="no fused network of this size"):
        network_settings(width, hidden)


def test_they_take_and_give_what_ours_do(stand_in):
    torch.manual_seed(3)
    grid, network = TcnnGrid(SPEC), TcnnMlp(SPEC.output_size + 5, 64, 2, 16)
    positions = torch.rand(7, 3, requires_grad=True)
    codes, frame = torch.rand(2, 5, requires_grad=True), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    output = network([(grid(positions), None), (codes, frame)])
    assert (output.shape, output.dtype) == ((7, 16), torch.float16)
    output.float().sum().backward()
    for tensor in (positions, codes, grid.encoding.params, network.network.params):
        assert tensor.grad.abs().sum() > 0
    torch.manual_seed(3)
    assert torch.equal(TcnnGrid(SPEC).encoding.params, grid.encoding.params)  # drawn from torch's state


def test_no_samples_give_none_and_a_zero_gradient(stand_in):
    grid, network = TcnnGrid(SPEC), TcnnMlp(SPEC.output_size, 16, 1, 3)
    output = network([(grid(torch.empty(0, 3)), None)])
    assert output.shape == (0, 3)
    output.float().sum().backward()
    assert not network.network.params.grad.any()


def test_training_saving_and_opening(stand_in, tiny_capture, bare_config, tmp_path, monkeypatch):
    bare_config.backends.encoding, bare_config.training.steps = "tcnn", 2
    groups, make = [], learner.make_optimizer

    def recording(scene, settings):
        optimizer = make(scene, settings)
        names = {id(parameter): name for name, parameter in scene.named_parameters()}
        groups.extend({names[id(part)] for part in group["params"]} for group in optimizer.param_groups)
        return optimizer

    monkeypatch.setattr(learner, "make_optimizer", recording)
    train(tiny_capture, tmp_path, bare_config, progress=False, device="cpu")
    assert groups[:2] == [{"radiance.grid.encoding.params"}, {"radiance.blended.tables"}]
    assert {"radiance.density_network.network.params", "radiance.colour_network.network.params"} <= groups[2]
    assert "encoding: tcnn" in (tmp_path / "config.yaml").read_text()
    saved = read_checkpoint(checkpoint_path(tmp_path))[1]
    assert saved["scene.radiance.grid.encoding.params"].dtype == torch.float32
    avatar = load_avatar(tmp_path, device="cpu")
    assert torch.equal(avatar.scene.radiance.grid.encoding.params, saved["scene.radiance.grid.encoding.params"])
    assert torch.isfinite(avatar.render_frame(avatar.parameters.frame(0), avatar.camera).image).all()


@pytest.mark.skipif(is_installed("tinycudann"), reason="tinycudann is installed")
def test_without_the_package_the_line_that_installs_it_is_given():
    with pytest.raises(MissingDependencyError, match=r"pip install .*tiny-cuda-nn"):
        TcnnGrid(SPEC)


@pytest.mark.gpu
@pytest.mark.skipif(
    not (torch.cuda.is_available() and is_installed("tinycudann")), reason="no CUDA, or tinycudann is not installed"
)
class TestTheRealOne:
    def test_shapes_gradients_and_repetition(self):
        torch.manual_seed(0)
        grid, network = TcnnGrid(SPEC), TcnnMlp(SPEC.output_size, 64, 1, 16)
        positions = torch.rand(1000, 3, device="cuda", requires_grad=True)
        features = grid(positions)
        assert features.shape == (1000, SPEC.output_size)
        output = network([(features, None)])
        output.float().square().sum().backward()
        assert output.shape == (1000, 16)
        for tensor in (positions, grid.encoding.params, network.network.params):
            assert torch.isfinite(tensor.grad).all()
        assert network.network.params.grad.abs().sum() > 0
        assert torch.equal(grid(positions), features)

    def test_it_learns_a_function(self):
        torch.manual_seed(0)
        grid, network = TcnnGrid(SPEC), TcnnMlp(SPEC.output_size, 64, 1, 1)
        optimizer = torch.optim.Adam([*grid.parameters(), *network.parameters()], lr=1e-2)
        for _ in range(200):
            positions = torch.rand(4096, 3, device="cuda")
            truth = (6 * positions).sin().prod(-1, keepdim=True)
            loss = (network([(grid(positions), None)]).float() - truth).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert float(loss) < 5e-3

    def test_no_samples(self):
        assert TcnnGrid(SPEC)(torch.empty(0, 3, device="cuda")).shape == (0, SPEC.output_size)
