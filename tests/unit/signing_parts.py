"""Certificates made by openssl, and what a C2PA reader finds in a file."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

from avatar.base.provenance import PROGRAM, Source, provenance
from avatar.media.manifest import ANY_TYPE, BESIDE, INSIDE, sidecar

KEYS = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
SIGNER = ("CA:FALSE", "digitalSignature", "emailProtection")


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def new_certificate(folder: Path, name: str, *issuer: str | Path, keys=KEYS, uses=SIGNER) -> None:
    """`name.pem` and `name.key`; issuer: the options -CA and -CAkey, none for one that signs itself."""
    constraint, usage, *extended = uses
    added = [f"basicConstraints=critical,{constraint}", f"keyUsage=critical,{usage}"]
    added += [f"extendedKeyUsage={use}" for use in extended]
    extensions = [part for line in added for part in ("-addext", line)]
    files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem", "-subj", f"/O=Test/CN={name}")
    openssl("req", "-x509", *keys, *files, "-days", "30", *extensions, *issuer)


def issuer(folder: Path) -> tuple[str | Path, ...]:
    return "-CA", folder / "root.pem", "-CAkey", folder / "root.key"


def write_chain(folder: Path, name: str, chain: str) -> Path:
    (folder / chain).write_text((folder / f"{name}.pem").read_text() + (folder / "root.pem").read_text())
    return folder / chain


def read(c2pa: Any, path: Path, content: bytes | None = None) -> Any:
    """The c2pa reader of a file with a manifest inside or beside it; content: another than the file's."""
    data = io.BytesIO(path.read_bytes() if content is None else content)
    if path.suffix in INSIDE:
        return c2pa.Reader(INSIDE[path.suffix], data)
    return c2pa.Reader(BESIDE.get(path.suffix, ANY_TYPE), data, sidecar(path).read_bytes())


def has_manifest(c2pa: Any, path: Path) -> bool:
    with io.BytesIO(path.read_bytes()) as data:
        return c2pa.Reader.try_create(INSIDE[path.suffix], data) is not None


def assert_signed(c2pa: Any, path: Path, source: Source) -> None:
    found, made = read(c2pa, path), provenance()
    assert found.get_validation_state() == "Valid"
    said = found.get_active_manifest()
    assert said["claim_generator_info"][0].items() >= {"name": PROGRAM, "version": made["version"]}.items()
    assert said["title"] == path.name
    assert "thumbnail" not in said
    (actions,) = (one["data"]["actions"] for one in said["assertions"] if one["label"].startswith("c2pa.actions"))
    (action,) = actions
    assert action["action"] == "c2pa.created"
    assert action["when"][:10] == str(made["date"])[:10]
    assert action["digitalSourceType"] == f"http://cv.iptc.org/newscodes/digitalsourcetype/{source.value}"
