"""C2PA manifests: what made a picture, video or model, and when, signed with a certificate of the user's.

Nothing happens unless the environment names a certificate and its key (CERTIFICATE, KEY). Then the optional package
c2pa-python signs what is tagged as synthetic; no other file ever gets a manifest.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

from avatar.base.errors import AvatarError, ConfigError
from avatar.base.files import atomic_write, write_bytes
from avatar.base.optional import require
from avatar.base.progress import warn
from avatar.base.provenance import Source, provenance

CERTIFICATE, KEY = "AVATAR_C2PA_CERTIFICATE", "AVATAR_C2PA_KEY"
"""Environment variables: PEM files with the chain of certificates, the signer's first, and with the signer's key."""
PACKAGE = "c2pa"
INSIDE = {".png": "image/png", ".mp4": "video/mp4", ".mov": "video/quicktime"}
"""Endings of files that hold a manifest, and their types."""
BESIDE = {".webm": "video/webm", ".glb": "model/gltf-binary", ".vrm": "model/gltf-binary", ".html": "text/html"}
"""Endings of files whose form has no place for one, and their types: the manifest is a file beside them."""
ANY_TYPE = "application/octet-stream"
SIDECAR = ".c2pa"
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ed25519")
"""C2PA's signature algorithms, one for each kind of key."""
CERTIFICATE_MARK, KEY_MARK = b"-----BEGIN CERTIFICATE-----", b"-----BEGIN PRIVATE KEY-----"
LARGEST_PEM = 1 << 20
"""Bytes."""
SETTINGS: dict[str, Any] = {
    # as large as the picture itself, and forty times the time
    "builder": {"thumbnail": {"enabled": False}},
    # MiB, from where on what lies between is kept on disk: memory does not grow with a video
    "core": {"backing_store_memory_threshold_in_mb": 8},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},  # never through a network
}
FIX_CHAIN = "docs/design.md, section 15, has two commands that make a chain and a key"


class Credentials(NamedTuple):
    """What is signed with: the named files and their content."""

    certificate_file: Path
    certificate: bytes
    key_file: Path
    key: bytes


def signing_is_asked_for() -> bool:
    """Whether the environment names a certificate or a key."""
    return bool(os.environ.get(CERTIFICATE) or os.environ.get(KEY))


def require_signing() -> None:
    """Raise, before any work, what stands in the way of the manifests that were asked for; nothing where none were.

    MissingDependencyError without c2pa-python; ConfigError where one of the files is not named, cannot be read or is
    not a PEM file of its kind, or where C2PA does not sign with them.
    """
    if signing_is_asked_for():
        _sign(io.BytesIO(b"trial"), io.BytesIO(), ANY_TYPE, "trial", Source.RENDERED, inside=False)


def signed_png(data: bytes, name: str, source: Source) -> bytes:
    """A PNG file with its manifest, or as it was where none was asked for. name: the title there.

    Raises as `require_signing`.
    """
    if not signing_is_asked_for():
        return data
    signed = io.BytesIO()
    _sign(io.BytesIO(data), signed, INSIDE[".png"], name, source, inside=True)
    return signed.getvalue()


def attach_manifest(path: Path, source: Source) -> None:
    """Give a finished video or model its manifest, where one was asked for: inside, or beside it (`sidecar`).

    The file is replaced in one step. Where it cannot be signed it stays as it is, and a warning says why.
    """
    path, ending = Path(path), Path(path).suffix.lower()
    inside = ending in INSIDE
    if not inside:
        sidecar(path).unlink(missing_ok=True)  # that of a file which this one has replaced
    if not signing_is_asked_for():
        return
    kind = INSIDE.get(ending) or BESIDE.get(ending, ANY_TYPE)

    def sign(target: Path | str) -> bytes:
        with open(path, "rb") as data, open(target, "w+b") as signed:
            return _sign(data, signed, kind, path.name, source, inside=inside)

    try:
        if inside:
            atomic_write(path, sign)
        else:
            write_bytes(sidecar(path), sign(os.devnull))
    except (AvatarError, OSError) as error:
        warn(f"{path} is complete, but carries no C2PA manifest: {error}")


def sidecar(path: Path) -> Path:
    """Where the manifest of a file is that cannot hold it."""
    return Path(path).with_name(Path(path).name + SIDECAR)


def definition(kind: str, title: str, source: Source) -> dict[str, Any]:
    """What a manifest says, as c2pa's `Builder` takes it: program, version, date, and the kind of its making."""
    made = provenance()
    program = {"name": made["program"], "version": made["version"]}
    action = {"action": "c2pa.created", "when": made["date"], "softwareAgent": program}
    action |= {"digitalSourceType": source.address}
    return {
        "claim_generator_info": [program],
        "title": title,
        "format": kind,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }


def _sign(data: BinaryIO, signed: BinaryIO, kind: str, title: str, source: Source, *, inside: bool) -> bytes:
    """Write `data`, a file of the type `kind`, with its manifest to `signed`; returns the manifest.

    inside: the type holds one; otherwise `signed` gets `data` as it is. Raises as `require_signing`.
    """
    c2pa = require(PACKAGE, f"signing, which {CERTIFICATE} and {KEY} ask for,")
    given = _credentials()
    signer = _signer(c2pa, given)
    try:
        with (
            c2pa.Settings.from_dict(SETTINGS) as settings,
            c2pa.Context(settings, signer) as context,
            c2pa.Builder(definition(kind, title, source), context) as builder,
        ):
            if not inside:
                builder.set_no_embed()
            return builder.sign(kind, data, signed)
    except Exception as cause:  # the native library's errors, and those of Python's side of it
        raise ConfigError(
            "C2PA does not sign with the certificate and the key",
            where=given.certificate_file,
            expected=f"the signer's certificate for the key in {given.key_file}, valid today, not an authority's own, "
            "with digitalSignature and emailProtection among its uses",
            found=cause,
            fix=FIX_CHAIN,
        ) from cause


def _signer(c2pa: ModuleType, given: Credentials) -> Any:
    """A `c2pa.Signer` by the algorithm of the key's kind."""
    refusals = []
    for algorithm in ALGORITHMS:
        try:
            return c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, given.certificate, given.key, None))
        except Exception as refusal:  # C2paError for another kind of key
            refusals.append(refusal)
    raise ConfigError(
        "C2PA does not take the key",
        where=given.key_file,
        expected=f"a key for one of {', '.join(ALGORITHMS)}",
        found=refusals[0],
        fix=FIX_CHAIN,
    ) from refusals[0]


def _credentials() -> Credentials:
    named = {name: os.environ.get(name) for name in (CERTIFICATE, KEY)}
    missing = [name for name, value in named.items() if not value]
    if missing:
        raise ConfigError(
            "signing needs a certificate and its key",
            expected=f"both {CERTIFICATE} and {KEY}",
            found=f"{missing[0]} is not set",
            fix=FIX_CHAIN,
        )
    certificate, key = (Path(value or "").expanduser() for value in named.values())
    return Credentials(certificate, _pem(certificate, CERTIFICATE, CERTIFICATE_MARK), key, _pem(key, KEY, KEY_MARK))


def _pem(path: Path, name: str, mark: bytes) -> bytes:
    """The content of the PEM file that the variable `name` names, in which `mark` stands."""
    try:
        with open(path, "rb") as stream:
            content = stream.read(LARGEST_PEM)
    except OSError as cause:
        raise ConfigError(
            f"the file that {name} names cannot be read",
            where=path,
            expected="a PEM file",
            found=cause.strerror,
            fix=f"correct {name}, or unset it and its companion for files without a manifest",
        ) from cause
    if mark not in content:
        fix = "openssl pkcs8 -topk8 -nodes -in KEY -out key.pem turns other forms of a key into this one"
        raise ConfigError(
            f"the file that {name} names is of another kind",
            where=path,
            expected=f"PEM text with {mark.decode()}",
            fix=fix if name == KEY else FIX_CHAIN,
        )
    return content
