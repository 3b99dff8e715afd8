"""The unit tests notice a wrong line: it is changed in a copy of its module, and the module's own tests must fail."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parent
PLUGIN = """
import importlib.util, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return importlib.util.spec_from_file_location(name, {copy!r}) if name == {module!r} else None

sys.meta_path.insert(0, Finder)
"""
LOSSES = ("avatar.training.losses", "training/test_losses.py")
CAMERAS = ("avatar.geometry.cameras", "geometry/test_cameras.py")
PATHS = ("avatar.geometry.cameras", "animation/test_camera_paths.py")
SAMPLER = ("avatar.data.sampler", "data/test_sampler.py")
DEPTHS = ("avatar.rendering.sampling", "rendering/test_volume.py")
OCCUPANCY = ("avatar.rendering.occupancy", "rendering/test_occupancy.py")
MUTATIONS = [
    # module and its tests, line, changed line
    (LOSSES, "2 * F.huber_loss", "F.huber_loss"),
    (LOSSES, "(1 - p) * (1 - p).log()", "(1 - p) * p.log()"),
    (LOSSES, "F.mse_loss(opacity, mask)", "F.l1_loss(opacity, mask)"),
    (LOSSES, "100 * translations", "1000 * translations"),
    (LOSSES, "codes.square().sum(-1)", "codes.square()"),
    (LOSSES, "[180 / torch.pi]", "[1.0]"),
    (CAMERAS, "points @ rotation.T + translation", "points @ rotation + translation"),
    (CAMERAS, "(pixels[..., 1] - camera.cy) / camera.fl_y", "(pixels[..., 1] - camera.cy) / camera.fl_x"),
    (PATHS, "-elevation * side", "elevation * side"),
    (SAMPLER, "mouth_share + eye_share, 1 - background_share", "mouth_share + eye_share, background_share"),
    (SAMPLER, "(draws[3] >= 0.5)", "(draws[3] >= 1.5)"),
    (SAMPLER, "torch.isin(fresh, taken)", "torch.isin(fresh, fresh)"),
    (DEPTHS, "torch.maximum(a, b).amin(-1)", "torch.maximum(a, b).amax(-1)"),
    (DEPTHS, "start + part * (end - start)", "start + (end - start)"),
    (OCCUPANCY, "self.density >= threshold", "self.density < threshold"),
    (OCCUPANCY, "cells // self.counts[2] % self.counts[1]", "cells // self.counts[2] % self.counts[0]"),
    (OCCUPANCY, "self.visibility >= HIDDEN", "self.visibility >= 0"),
]


def run_tests_of(tested: tuple[str, str], folder: Path, old: str, new: str) -> subprocess.CompletedProcess[str]:
    """Run a module's tests in a process of their own, with `old` exchanged for `new` in the module."""
    module, tests = tested
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text()
    assert old in source, "the mutation's line is no longer there: choose another"
    copy = folder / "copy_of_module.py"
    copy.write_text(source.replace(old, new, 1))
    (folder / "exchange_module.py").write_text(PLUGIN.format(copy=str(copy), module=module))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "exchange_module", "-p", "no:cacheprovider", UNIT / tests],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("tested", "old", "new"), MUTATIONS, ids=[old for _, old, _ in MUTATIONS])
def test_a_wrong_line_is_noticed(tmp_path, tested, old, new):
    done = run_tests_of(tested, tmp_path, old, new)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("tested", sorted({tested for tested, *_ in MUTATIONS}))
def test_a_copy_that_is_not_wrong_passes(tmp_path, tested):
    """What is noticed above is the change, not the exchange of the module."""
    done = run_tests_of(tested, tmp_path, "import", "import")
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
