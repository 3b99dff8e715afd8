"""C2PA manifests: what is rendered is signed with the user's certificate, what was filmed never is."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from capture_parts import make_parts
from signing_parts import (
    KEYS,
    SIGNER,
    assert_signed,
    has_manifest,
    issuer,
    new_certificate,
    openssl,
    read,
    write_chain,
)

from avatar.app import doctor
from avatar.base.errors import ConfigError, MissingDependencyError
from avatar.base.provenance import Source
from avatar.data.capture import write_capture
from avatar.media import manifest
from avatar.media.images import is_whole_png, read_png, write_png
from avatar.media.joining import join_videos
from avatar.media.manifest import BESIDE, CERTIFICATE, KEY, attach_manifest, require_signing, sidecar
from avatar.media.recording import Recorder
from avatar.media.video import FORMS, has_synthetic_tag, read_video, write_video

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
FRAMES = [np.full((32, 48, 3), 20 * number, np.uint8) for number in range(6)]


# -- what is rendered --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("picture", [PICTURE, PICTURE[..., 0], PICTURE[..., 0].astype(np.uint16) * 200])
def test_a_picture_is_signed_and_stays_the_same(signing: Any, tmp_path: Path, picture: np.ndarray) -> None:
    made = write_png(tmp_path / "made.png", picture, synthetic=True, source=Source.MIXED)
    assert_signed(signing, made, Source.MIXED)
    assert is_whole_png(made)
    if picture.dtype == np.uint8:
        assert (read_png(made) == picture).all()
    assert [path.name for path in tmp_path.iterdir()] == ["made.png"]


@pytest.mark.parametrize("ending", sorted(FORMS))
def test_a_video_is_signed_and_plays_as_before(
    signing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    made = write_video(tmp_path / f"made{ending}", FRAMES, 25.0, synthetic=True)
    assert_signed(signing, made, Source.RENDERED)
    assert has_synthetic_tag(made)
    monkeypatch.delenv(CERTIFICATE)
    monkeypatch.delenv(KEY)
    plain = write_video(tmp_path / f"plain{ending}", FRAMES, 25.0, synthetic=True)
    pairs = zip(read_video(made), read_video(plain), strict=True)
    assert all(time == other and (image == same).all() for (time, image), (other, same) in pairs)
    beside = [sidecar(made)] if ending in BESIDE else []
    assert sorted(tmp_path.iterdir()) == sorted([made, plain, *beside])


def test_parts_of_a_video_are_not_signed_and_the_whole_is(signing: Any, tmp_path: Path) -> None:
    parts = [write_video(tmp_path / f"{number}.mp4", FRAMES, 25.0, synthetic=True, source=None) for number in range(2)]
    assert not any(has_manifest(signing, part) for part in parts)
    whole = join_videos(tmp_path / "whole.mp4", parts, 25.0, synthetic=True, source=Source.MIXED)
    assert_signed(signing, whole, Source.MIXED)
    assert len(list(read_video(whole))) == 12


def test_a_recording_is_signed(signing: Any, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mp4", 25.0, (48, 32), source=Source.MIXED)
    recorder.show(0.0, FRAMES[1])
    recorder.close()
    assert_signed(signing, tmp_path / "out.mp4", Source.MIXED)


@pytest.mark.parametrize("ending", [".glb", ".vrm", ".ply", ".html"])
def test_the_manifest_of_a_model_is_a_file_beside_it(
    signing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    model = tmp_path / f"head{ending}"
    model.write_bytes(b"a head " * 100)
    attach_manifest(model, Source.RENDERED)
    assert_signed(signing, model, Source.RENDERED)
    assert model.read_bytes() == b"a head " * 100
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"head{ending}", f"head{ending}.c2pa"]
    monkeypatch.delenv(CERTIFICATE)
    monkeypatch.delenv(KEY)
    model.write_bytes(b"another head")
    attach_manifest(model, Source.RENDERED)
    assert not sidecar(model).exists()  # it was that of the file before


@pytest.mark.parametrize("ending", [".png", ".mp4", ".webm", ".glb"])
def test_a_change_of_a_signed_file_shows(signing: Any, tmp_path: Path, ending: str) -> None:
    made = tmp_path / f"made{ending}"
    if ending == ".png":
        write_png(made, PICTURE, synthetic=True)
    elif ending == ".glb":
        made.write_bytes(b"a head " * 100)
        attach_manifest(made, Source.RENDERED)
    else:
        write_video(made, FRAMES, 25.0, synthetic=True)
    content = bytearray(made.read_bytes())
    place = {".png": content.rfind(b"IDAT") + 30, ".mp4": content.rfind(b"mdat") + 30}.get(ending, len(content) // 2)
    content[place] ^= 1
    assert read(signing, made).get_validation_state() == "Valid"
    assert read(signing, made, bytes(content)).get_validation_state() == "Invalid"


# -- what is not -------------------------------------------------------------------------------------------------------


def test_real_footage_carries_none(signing: Any, tmp_path: Path) -> None:
    filmed = [
        write_png(tmp_path / "filmed.png", PICTURE),
        write_video(tmp_path / "filmed.mp4", FRAMES, 25.0, synthetic=False),
        join_videos(tmp_path / "joined.mp4", [tmp_path / "filmed.mp4"], 25.0, synthetic=False),
    ]
    capture = write_capture(tmp_path / "capture", **make_parts().arguments())
    pictures = sorted(capture.rglob("*.png"))
    assert len(pictures) > 50
    assert not any(has_manifest(signing, path) for path in [*filmed, *pictures])
    assert not list(tmp_path.rglob("*.c2pa"))


def test_without_a_certificate_there_is_no_manifest_and_nothing_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CERTIFICATE, raising=False)
    monkeypatch.setenv(KEY, "")
    monkeypatch.setattr(manifest, "require", lambda *_: pytest.fail("c2pa is imported"))
    require_signing()
    made = write_png(tmp_path / "made.png", PICTURE, synthetic=True)
    assert b"caBX" not in made.read_bytes()
    assert b"jumb" not in write_video(tmp_path / "made.mp4", FRAMES, 25.0, synthetic=True).read_bytes()
    assert "name no certificate" in doctor.signing_state()[0]


# -- certificates that cannot be used ----------------------------------------------------------------------------------


def test_the_package_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    monkeypatch.setenv(CERTIFICATE, str(tmp_path / "chain.pem"))
    monkeypatch.setenv(KEY, str(tmp_path / "key.pem"))
    with pytest.raises(MissingDependencyError, match="pip install c2pa-python"):
        require_signing()


def test_both_files_have_to_be_named(signing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY)
    with pytest.raises(ConfigError, match=f"needs a certificate and its key[^$]*{KEY} is not set"):
        require_signing()


@pytest.mark.parametrize("name", [CERTIFICATE, KEY])
@pytest.mark.parametrize("kind", ["missing", "folder", "other"])
def test_files_that_are_no_pem_are_named(
    signing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    file = tmp_path if kind == "folder" else tmp_path / "some.pem"
    if kind == "other":
        file.write_bytes(b"\0not a certificate")
    monkeypatch.setenv(name, str(file))
    with pytest.raises(ConfigError, match="of another kind" if kind == "other" else "cannot be read") as caught:
        require_signing()
    assert caught.value.where == file
    assert name in str(caught.value)


def test_a_key_with_a_password_is_explained(
    signing: Any, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked.key"
    openssl("pkcs8", "-topk8", "-in", certificates / "signer.key", "-out", locked, "-passout", "pass:secret")
    monkeypatch.setenv(KEY, str(locked))
    with pytest.raises(ConfigError, match="openssl pkcs8 -topk8 -nodes"):
        require_signing()


def test_a_key_of_another_certificate_is_refused(
    signing: Any, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, str(certificates / "root.key"))
    with pytest.raises(ConfigError, match="does not sign with the certificate and the key") as caught:
        write_png(tmp_path / "made.png", PICTURE, synthetic=True)
    assert caught.value.where == certificates / "chain.pem"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "uses", [("CA:TRUE", "keyCertSign"), SIGNER[:2], ("CA:FALSE", "digitalSignature", "serverAuth")]
)
def test_certificates_that_c2pa_does_not_take_are_refused(
    signing: Any, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uses: tuple[str, ...]
) -> None:
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    new_certificate(tmp_path, "odd", *issuer(tmp_path), uses=uses)
    monkeypatch.setenv(CERTIFICATE, str(write_chain(tmp_path, "odd", "odd_chain.pem")))
    monkeypatch.setenv(KEY, str(tmp_path / "odd.key"))
    with pytest.raises(ConfigError, match=r"does not sign[^$]*section 15"):
        require_signing()


@pytest.mark.parametrize("keys", [("-newkey", "ed25519", "-nodes"), (*KEYS[:3], "ec_paramgen_curve:P-384", "-nodes")])
def test_other_kinds_of_keys_sign(
    signing: Any, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]
) -> None:
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    new_certificate(tmp_path, "other", *issuer(tmp_path), keys=keys)
    monkeypatch.setenv(CERTIFICATE, str(write_chain(tmp_path, "other", "other_chain.pem")))
    monkeypatch.setenv(KEY, str(tmp_path / "other.key"))
    assert_signed(signing, write_png(tmp_path / "made.png", PICTURE, synthetic=True), Source.RENDERED)


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_a_video_that_cannot_be_signed_is_kept_with_a_warning(
    signing: Any,
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ending: str,
) -> None:
    monkeypatch.setenv(KEY, str(certificates / "root.key"))
    made = write_video(tmp_path / f"made{ending}", FRAMES, 25.0, synthetic=True)
    assert capsys.readouterr().err.count("carries no C2PA manifest: C2PA does not sign") == 1
    assert len(list(read_video(made))) == 6
    assert has_synthetic_tag(made)
    assert list(tmp_path.iterdir()) == [made]


def test_the_doctor_says_what_is_signed_with(signing: Any, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.signing_state() == (f"signed with {certificates / 'chain.pem'}", None)
    monkeypatch.setenv(KEY, str(certificates / "root.key"))
    said, refusal = doctor.signing_state()
    assert "warning" in said
    assert refusal is not None
    assert "does not sign" in refusal


def test_what_was_filmed_behind_the_avatar_is_told(tmp_path: Path) -> None:
    from avatar.animation.backgrounds import source_of

    fixed, moving = SimpleNamespace(shows_room=False), SimpleNamespace(shows_room=True)
    assert [source_of(fixed, choice) for choice in ("scene", "blur")] == [Source.MIXED] * 2  # type: ignore[arg-type]
    for choice in ("scene", "white", "#00ff00", "transparent"):
        assert source_of(moving, choice) is Source.RENDERED  # type: ignore[arg-type]
    assert source_of(moving, str(write_png(tmp_path / "beach.png", PICTURE))) is Source.MIXED  # type: ignore[arg-type]
