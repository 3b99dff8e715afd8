"""Runs by each choice of the section `backends`: twins train and render like kernels, what is missing is said."""

import pytest
import torch

from avatar.base.errors import ConfigError, MissingDependencyError
from avatar.base.optional import INSTALL_LINES, is_installed
from avatar.config import read_config, write_config
from avatar.data.capture import read_capture
from avatar.data.checkpoint import load_avatar
from avatar.field import identity as identity
from avatar.flame.library import load_head
from avatar.kernels.hash_grid import autograd as hash_grid
from avatar.kernels.march import op as ray_march
from avatar.kernels.mlp import autograd as mlp
from avatar.kernels.runtime import backends
from avatar.kernels.volume import autograd as volume
from avatar.kernels.warp import autograd as warp
from avatar.training import step as learner
from avatar.training.prepare import load_training_data, make_avatar
from avatar.training.trainer import train

STEPS = 3


def run_steps(monkeypatch, capture, config, run):
    """Train a few steps; the losses of each step."""
    losses, compute = [], learner.training_losses

    def recording(*arguments, **named):
        result = compute(*arguments, **named)
        values = {name: float(value.detach()) for name, value in result.losses.items()}
        losses.append(values | {"samples": result.sample_count})
        return result

    with monkeypatch.context() as patch:
        patch.setattr(learner, "training_losses", recording)
        train(capture, run, config, progress=False, device="cpu")
    return losses


def forbid_kernels(patch):
    """Let every launch of a kernel of the field, the march and the renderer fail."""

    def fail(*arguments, **named):
        raise AssertionError("a kernel ran where its twin was asked for")

    for module in (hash_grid, mlp, ray_march, warp, volume):
        launches = [name for name in vars(module) if name.startswith("launch_")]
        assert launches, module
        for name in launches:
            patch.setattr(module, name, fail)


@pytest.mark.slow
def test_the_twins_train_and_render_like_the_kernels(tiny_capture, tiny_config, tmp_path, monkeypatch):
    config, results = tiny_config, {}
    config.training.steps, config.training.rays, config.field.precision = STEPS, 64, "float32"
    for name in ("warp", "torch"):
        config.backends.encoding = config.backends.marching = name
        with monkeypatch.context() as patch:
            if name == "torch":
                forbid_kernels(patch)
            losses = run_steps(monkeypatch, tiny_capture, config, tmp_path / name)
            avatar = load_avatar(tmp_path / name, device="cpu")
            results[name] = losses, avatar.render_frame(avatar.parameters.frame(0), avatar.camera)
    (kernel_losses, kernel_frame), (twin_losses, twin_frame) = results["warp"], results["torch"]
    assert len(twin_losses) == STEPS
    for kernel, twin in zip(kernel_losses, twin_losses, strict=True):
        # a step on the border of a cell may fall on either side
        assert twin.pop("samples") == pytest.approx(kernel.pop("samples"), rel=2e-3)
        assert twin == pytest.approx(kernel, rel=2e-3)
    assert torch.equal(twin_frame.mask, kernel_frame.mask)
    assert float((twin_frame.image - kernel_frame.image).abs().max()) < 0.02
    assert float((twin_frame.image - kernel_frame.image).abs().mean()) < 1e-3


def test_an_avatar_of_the_kernels_opens_with_the_twins(tiny_capture, bare_config, tmp_path):
    """The encodings `warp` and `torch` share the layout of their tables; `config.yaml` chooses."""
    bare_config.training.steps = 1
    train(tiny_capture, tmp_path, bare_config, progress=False, device="cpu")
    first = load_avatar(tmp_path, device="cpu")
    config = read_config(tmp_path / "config.yaml")
    assert config.backends == bare_config.backends
    config.backends.encoding = config.backends.marching = "torch"
    write_config(tmp_path / "config.yaml", config)
    second = load_avatar(tmp_path, device="cpu")
    assert second.scene.backends.encoding.name == "torch"
    frames = [avatar.render_frame(avatar.parameters.frame(0), avatar.camera).image for avatar in (first, second)]
    assert float((frames[0] - frames[1]).abs().max()) < 0.05


@pytest.mark.parametrize(
    ("part", "name", "package"),
    [("encoding", "tcnn", "tinycudann"), ("marching", "nerfacc", "nerfacc"), ("rasterising", "pytorch3d", "pytorch3d")],
)
def test_a_missing_package_stops_before_any_work(tiny_capture, bare_config, tmp_path, monkeypatch, part, name, package):
    monkeypatch.setattr(backends, "is_installed", lambda package: False)
    setattr(bare_config.backends, part, name)
    with pytest.raises(MissingDependencyError) as error:
        train(tiny_capture, tmp_path, bare_config, progress=False, device="cpu")
    assert INSTALL_LINES[package] in str(error.value)
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.slow
def test_a_run_of_tinycudann_opens_with_it_only(tiny_capture, bare_config, tmp_path, monkeypatch):
    bare_config.training.steps = 1
    train(tiny_capture, tmp_path, bare_config, progress=False, device="cpu")
    config = read_config(tmp_path / "config.yaml")
    config.backends.encoding = "tcnn"
    write_config(tmp_path / "config.yaml", config)
    monkeypatch.setattr(backends, "is_installed", lambda package: False)
    with pytest.raises(MissingDependencyError) as error:
        load_avatar(tmp_path, device="cpu")
    assert INSTALL_LINES["tinycudann"] in str(error.value)
    monkeypatch.setattr(backends, "is_installed", lambda package: True)
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        load_avatar(tmp_path, device="cpu")


@pytest.mark.parametrize("name", ["auto", "pytorch3d"])
def test_silhouettes_are_drawn_by_the_rasteriser_of_the_settings(tiny_capture, bare_config, monkeypatch, name):
    """In training, and in an avatar's pictures."""
    asked, draw = [], identity.rasterize

    def recording(*arguments, backend):
        asked.append(backend)
        return draw(*arguments, backend="warp")

    monkeypatch.setattr(identity, "rasterize", recording)
    monkeypatch.setattr(backends, "is_installed", lambda package: True)
    bare_config.backends.rasterising = name
    training = load_training_data(read_capture(tiny_capture), load_head(), bare_config, torch.device("cpu"))
    frames = len(training.frames)
    avatar = make_avatar(bare_config, training)
    avatar.render_frame(avatar.parameters.frame(0), avatar.camera)
    assert asked == [name] * (frames + 1)


@pytest.mark.skipif(not is_installed("pytorch3d"), reason="pytorch3d is not installed")
def test_pytorch3d_gives_the_same_silhouettes(tiny_capture, tiny_config):
    masks = []
    for name in ("warp", "pytorch3d"):
        tiny_config.backends.rasterising = name
        data = load_training_data(read_capture(tiny_capture), load_head(), tiny_config, torch.device("cpu"))
        masks.append(data.silhouettes)
    assert float((masks[0] != masks[1]).float().mean()) < 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(
    not (torch.cuda.is_available() and is_installed("tinycudann")), reason="no CUDA, or tinycudann is not installed"
)
def test_tinycudann_trains_saves_and_opens(tiny_capture, tiny_config, tmp_path):
    tiny_config.backends.encoding, tiny_config.training.steps = "tcnn", 20
    training = load_training_data(read_capture(tiny_capture), load_head(), tiny_config, torch.device("cuda"))
    scene = make_avatar(tiny_config, training).scene
    optimizer = learner.make_optimizer(make_avatar(tiny_config, training), tiny_config)
    grid = dict(scene.named_parameters())["radiance.grid.encoding.params"]
    tables = next(group for group in optimizer.param_groups if group["eps"] == learner.TABLE_EPSILON)
    assert {len(grid)} <= {len(part.flatten()) for part in tables["params"]}
    train(tiny_capture, tmp_path, tiny_config, progress=False, device="cuda")
    avatar = load_avatar(tmp_path, device="cuda")
    again = load_avatar(tmp_path, device="cuda")
    first, second = (one.render_frame(one.parameters.frame(0), one.camera).image for one in (avatar, again))
    assert torch.isfinite(first).all()
    assert float((first - second).abs().max()) < 0.01


@pytest.mark.gpu
@pytest.mark.skipif(
    not (torch.cuda.is_available() and is_installed("nerfacc")), reason="no CUDA, or nerfacc is not installed"
)
@pytest.mark.parametrize("warped", [True, False])
def test_nerfacc_trains_like_warp(tiny_capture, tiny_config, tmp_path, warped):
    pictures = []
    tiny_config.field.warp.enabled, tiny_config.training.steps = warped, 4
    for name in ("warp", "nerfacc"):
        tiny_config.backends.marching = name
        train(tiny_capture, tmp_path / name, tiny_config, progress=False, device="cuda")
        avatar = load_avatar(tmp_path / name, device="cuda")
        pictures.append(avatar.render_frame(avatar.parameters.frame(0), avatar.camera).image)
    assert float((pictures[0] - pictures[1]).abs().mean()) < 0.01
