"""Fixtures shared by the unit tests. This file also puts tests/unit on the path, for `capture_parts`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from capture_parts import Parts, make_parts
from signing_parts import issuer, new_certificate, write_chain

from avatar.data.capture import write_capture
from avatar.media.manifest import CERTIFICATE, KEY


@pytest.fixture
def parts() -> Parts:
    """What the capture in `capture_folder` was written from."""
    return make_parts()


@pytest.fixture(scope="session")
def written_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `capture_folder` is a copy of."""
    return write_capture(tmp_path_factory.mktemp("written") / "capture", **make_parts().arguments())


@pytest.fixture
def capture_folder(written_capture: Path, tmp_path: Path) -> Path:
    """A finished capture of 30 frames of 40 x 32 pixels."""
    return shutil.copytree(written_capture, tmp_path / "capture")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with chain.pem and signer.key, as the docs make them, and the authority's root.pem and root.key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificates, is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    new_certificate(folder, "root", uses=("CA:TRUE", "keyCertSign"))
    new_certificate(folder, "signer", *issuer(folder))
    write_chain(folder, "signer", "chain.pem")
    return folder


@pytest.fixture
def c2pa() -> Any:
    return pytest.importorskip("c2pa", reason="c2pa-python is not installed")


@pytest.fixture
def signing(c2pa: Any, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """c2pa, with a certificate and a key that the environment names."""
    monkeypatch.setenv(CERTIFICATE, str(certificates / "chain.pem"))
    monkeypatch.setenv(KEY, str(certificates / "signer.key"))
    return c2pa
