"""The choice of implementations: auto, explicit names, what is missing, and what `avatar doctor` prints of it."""

import subprocess
import sys

import pytest
import torch

from avatar.app import doctor
from avatar.base import optional
from avatar.base.errors import ConfigError, MissingDependencyError
from avatar.config import BackendConfig, read_config
from avatar.kernels.runtime import backends
from avatar.kernels.runtime.backends import IMPLEMENTATIONS, resolve, resolve_all, survey

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
PACKAGES = {"tcnn": "tinycudann", "nerfacc": "nerfacc", "pytorch3d": "pytorch3d"}
OPTIONAL = [("encoding", "tcnn"), ("marching", "nerfacc"), ("rasterising", "pytorch3d")]


@pytest.fixture
def installed(monkeypatch):
    """Lets a test say which optional packages are there."""
    present: set[str] = set()
    monkeypatch.setattr(backends, "is_installed", lambda name: name in present)
    return present


def test_the_table_is_the_settings_own():
    """Every value of the setting has an implementation, and no other."""
    import typing

    hints = typing.get_type_hints(BackendConfig)
    assert set(hints) == set(IMPLEMENTATIONS)
    for part, hint in hints.items():
        assert set(typing.get_args(hint)) == {"auto", *IMPLEMENTATIONS[part]}


@pytest.mark.parametrize("device", [CPU, CUDA])
@pytest.mark.parametrize("part", sorted(IMPLEMENTATIONS))
def test_auto_takes_what_any_machine_can_open(installed, part, device):
    installed.update(PACKAGES.values())
    choice = resolve(part, "auto", device)
    assert choice.name == "warp"
    assert len(choice.reason) > 20


@pytest.mark.parametrize(("part", "name"), OPTIONAL)
def test_a_missing_package_comes_with_the_line_that_installs_it(installed, part, name):
    with pytest.raises(MissingDependencyError) as error:
        resolve(part, name, CUDA)
    assert optional.INSTALL_LINES[PACKAGES[name]] in str(error.value)
    assert f"backends.{part}" in str(error.value)


@pytest.mark.parametrize(("part", "name"), OPTIONAL)
def test_an_installed_package_is_taken_when_asked_for(installed, part, name):
    installed.add(PACKAGES[name])
    choice = resolve(part, name, CUDA)
    assert choice.name == name
    assert choice.reason.startswith("asked for")


@pytest.mark.parametrize(("part", "name"), OPTIONAL[:2])
def test_what_needs_cuda_says_so_and_what_to_choose(installed, part, name):
    installed.add(PACKAGES[name])
    with pytest.raises(ConfigError, match="needs a CUDA GPU") as error:
        resolve(part, name, CPU)
    assert f"set backends.{part} to auto or warp" in str(error.value)


def test_nerfacc_admits_that_it_cannot_bend_rays(installed):
    installed.add("nerfacc")
    reason = resolve("marching", "nerfacc", CUDA).reason
    assert "cannot bend rays" in reason
    assert "Warp marches" in reason


@pytest.mark.parametrize(("part", "name"), [("encoding", "nerfacc"), ("rasterising", "torch"), ("shading", "warp")])
def test_unknown_names_are_refused(part, name):
    with pytest.raises(ConfigError, match="unknown"):
        resolve(part, name, CPU)


def test_all_parts_at_once():
    chosen = resolve_all(BackendConfig(encoding="torch"), CPU)
    assert (chosen.encoding.name, chosen.marching.name, chosen.rasterising.name) == ("torch", "warp", "warp")


def test_a_wrong_name_in_a_file_is_named(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("backends: {encoding: cuda}\n")
    with pytest.raises(ConfigError, match=r"backends\.encoding cannot be this"):
        read_config(path)
    path.write_text("backends: {marching: torch}\n")
    assert read_config(path).backends == BackendConfig(marching="torch")


def test_the_survey_names_every_implementation_and_what_it_lacks(installed):
    installed.add("pytorch3d")
    text = "\n".join(survey(CPU))
    for part, known in IMPLEMENTATIONS.items():
        assert part in text
        assert all(name in text for name in known)
    assert f"needs a CUDA GPU, not installed; optional: {optional.INSTALL_LINES['tinycudann']}" in text
    assert optional.INSTALL_LINES["nerfacc"] in text
    assert optional.INSTALL_LINES["pytorch3d"] not in text


def test_the_doctor_prints_the_survey(capsys):
    doctor.print_backends()
    printed = capsys.readouterr().out
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert all(line in printed for line in survey(device))


def test_resolving_imports_no_package():
    code = (
        "import sys, torch; from avatar.kernels.runtime.backends import survey; survey(torch.device('cpu'));"
        "sys.exit(str(heavy) if (heavy := {'warp', 'tinycudann', 'nerfacc', 'pytorch3d'} & set(sys.modules)) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
