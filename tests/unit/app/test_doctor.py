"""`avatar doctor` for real: it runs its checks on this machine and names every declared package."""

import pytest

from avatar.app import doctor
from avatar.base.errors import MissingDependencyError


def test_everything_needed_works_here(capsys):
    outcome = doctor.examine()
    printed = capsys.readouterr().out
    assert outcome.lines == ["everything needed works"]
    for name in (*doctor.needed(), *doctor.CHECKS):
        assert f"  {name} " in printed, name
    assert "FAILED" not in printed


def test_every_declared_package_is_looked_for():
    """The list is the package's own metadata, not a copy of it."""
    assert {"torch", "ai-edge-litert", "pycolmap", "tensorboard", "pyyaml", "safetensors"} <= set(doctor.needed())
    assert not {"pytest", "ruff", "nerfacc"} & set(doctor.needed())


def test_what_is_missing_or_broken_is_named(monkeypatch, capsys):
    real = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda name: None if name == "pycolmap" else real(name))
    with pytest.raises(MissingDependencyError, match="pycolmap is missing"):
        doctor.examine()
    monkeypatch.undo()

    def broken():
        raise RuntimeError("no kernels here")

    monkeypatch.setitem(doctor.CHECKS, "kernels", broken)
    with pytest.raises(MissingDependencyError, match="kernels: no kernels here"):
        doctor.examine()
    assert "FAILED: RuntimeError" in capsys.readouterr().out
