"""Texture spaces as files: captures in, the space, its report and pictures out; what cannot be used is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from texture_parts import SIZE, capture, invented, textured

from avatar.app.cli import main
from avatar.base.errors import CaptureError, HeadModelError, InputError, OutputError
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.media.images import read_png, to_uint8, write_png
from capture_tools.settings import CaptureSettings
from capture_tools.texture_space.files import build_files, sample_files
from capture_tools.texture_space.prior import completion_of
from capture_tools.texture_space.reading import map_of
from capture_tools.texture_space.settings import TextureSettings
from capture_tools.texture_space.space import complete, read_space, unpacked

PEOPLE = 6
SETTINGS = TextureSettings(components=3, size=SIZE, steps=2)


@pytest.fixture(scope="module")
def asset() -> HeadAsset:
    return load_head()


@pytest.fixture(scope="module")
def place(asset: HeadAsset) -> np.ndarray:
    return map_of(asset, SIZE).place.numpy()


@pytest.fixture(scope="module")
def captures(asset: HeadAsset, place: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Captures of people of whom one third is hidden, on either side by turns; their texture there is a lie."""
    folder = tmp_path_factory.mktemp("captures")
    found = []
    for number, albedo in enumerate(invented(PEOPLE, place)):
        seen = np.ones((SIZE, SIZE))
        seen[:, : SIZE // 3] = 0
        picture = unpacked(albedo, place, SIZE)[0]
        if number % 2:
            seen = seen[:, ::-1]
        found.append(textured(folder / f"person_{number}", asset, np.where(seen[..., None] > 0, picture, 1), seen))
    return found


@pytest.fixture(scope="module")
def space(captures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_files(captures, tmp_path_factory.mktemp("space") / "space.npz", SETTINGS).space


def test_a_space_is_built_of_what_was_seen(space: Path, asset: HeadAsset, place: np.ndarray) -> None:
    built = read_space(space)
    assert (built.people, len(built.components), built.size) == (PEOPLE, 3, SIZE)
    assert (built.head_fingerprint, built.uv_fingerprint) == (asset.fingerprint, asset.uv_fingerprint)
    true = invented(PEOPLE, place)
    assert np.abs(built.mean - true.mean(0)).mean() < 0.03  # the hidden third was white
    content = json.loads(space.with_suffix(".report.json").read_text())
    assert content["components"] == 3
    assert sum(content["explained_variance"]) == pytest.approx(1, abs=1e-3)
    assert content["captures"]["person_0"]["seen_share"] == pytest.approx(0.6, abs=0.12)
    assert content["completion_loss"]["last"] > 0
    people = read_png(space.with_suffix(".people.png"))
    assert people.shape[0] * PEOPLE == people.shape[1] * 2


def test_people_are_drawn_from_a_space(space: Path, tmp_path: Path) -> None:
    files = sample_files(space, tmp_path / "people", count=3, seed=4)
    pictures = [read_png(tmp_path / "people" / f"albedo_{i:03d}.png") for i in range(3)]
    assert all(picture.shape == (SIZE, SIZE, 3) for picture in pictures)
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 1
    sheet = read_png(tmp_path / "people" / "sheet.png")
    assert sheet.std() > 10
    assert [path.name for path, _ in files] == ["albedo_000.png", "sheet.png"]
    sample_files(space, tmp_path / "again", count=3, seed=4)
    np.testing.assert_array_equal(read_png(tmp_path / "again" / "albedo_002.png"), pictures[2])
    alone = sample_files(space, tmp_path / "alone.png", count=3, seed=4)
    np.testing.assert_array_equal(read_png(alone[0][0]), sheet)
    with pytest.raises(OutputError, match="exists already"):
        sample_files(space, tmp_path / "alone.png")
    with pytest.raises(InputError, match="--count is out of range"):
        sample_files(space, tmp_path / "none", count=0)


def test_a_prior_completes_what_a_capture_did_not_see(space: Path, asset: HeadAsset, place: np.ndarray) -> None:
    (albedo,) = invented(1, place, seed=77)
    picture, covered = unpacked(albedo, place, SIZE)
    seen = (np.tile(np.arange(SIZE) < SIZE // 2, (SIZE, 1)) & covered).astype(np.float32)
    prior = completion_of(space, asset)
    assert prior is not None
    assert completion_of(None, asset) is None
    assert CaptureSettings(texture_space=space).changed() == {"texture_space": str(space)}
    assert CaptureSettings().changed() == {}
    whole = prior.complete(picture * seen[..., None], seen)
    hidden = covered & (seen == 0)
    assert np.abs(whole - picture)[hidden].mean() < 0.05
    np.testing.assert_array_equal(whole, complete(read_space(space), picture * seen[..., None], seen)[0])


def test_captures_that_cannot_be_used_are_refused(
    captures: list[Path], asset: HeadAsset, place: np.ndarray, tmp_path: Path
) -> None:
    picture, seen = np.full((SIZE, SIZE, 3), 0.5), np.ones((SIZE, SIZE))
    bare = capture(tmp_path / "bare", asset)
    stranger = textured(tmp_path / "stranger", asset, picture, seen, uv="0" * 64)
    older = textured(tmp_path / "older", asset, picture, seen)
    (older / "appearance" / "seen.png").unlink()
    unseen = textured(tmp_path / "unseen", asset, picture, 0 * seen)
    other = textured(tmp_path / "other", asset, picture, seen)
    write_png(other / "appearance" / "seen.png", to_uint8(np.ones((8, 8))))
    cases = (
        (bare, CaptureError, "the capture has no albedo"),
        (stranger, HeadModelError, "in another head's map"),
        (older, CaptureError, "does not say which texels were seen"),
        (unseen, CaptureError, "shows nearly nothing"),
        (other, CaptureError, "do not fit together"),
    )
    for folder, error, message in cases:
        with pytest.raises(error, match=message):
            build_files([*captures, folder], tmp_path / "space.npz", SETTINGS)
    assert not list(tmp_path.glob("space*"))


def test_too_few_captures_are_refused(captures: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "space.npz"
    with pytest.raises(InputError, match=r"fewer captures than components(.|\n)*--components 5"):
        build_files(captures, out, TextureSettings(components=6, size=SIZE))
    with pytest.raises(InputError, match="too few captures"):
        build_files(captures[:2], out, TextureSettings(components=1, size=SIZE))
    with pytest.raises(InputError, match="named twice"):
        build_files([*captures, captures[0]], out, SETTINGS)
    with pytest.raises(InputError, match="--components is out of range"):
        build_files(captures, out, TextureSettings(components=0))


def test_outputs_are_not_replaced(captures: list[Path], space: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        build_files(captures, space, SETTINGS)
    with pytest.raises(OutputError, match="cannot be written there"):
        build_files(captures, tmp_path / "space.png", SETTINGS)


def test_the_commands_say_what_is_wrong(space: Path, captures: list[Path], tmp_path: Path, capsys) -> None:
    """Build and sample from the command line; a file that is no space ends in one message."""
    out = tmp_path / "space.npz"
    arguments = ["--components", "2", "--size", str(SIZE), "--steps", "1"]
    assert main(["texture", "build", *map(str, captures), "--out", str(out), *arguments]) == 0
    assert f"{PEOPLE} captures, 2 components explain" in capsys.readouterr().out
    assert main(["texture", "sample", str(out), "--out", str(tmp_path / "people"), "--count", "1"]) == 0
    assert (tmp_path / "people" / "sheet.png").is_file()
    shutil.copy(captures[0] / "landmarks.npz", tmp_path / "no.npz")
    assert main(["texture", "sample", str(tmp_path / "no.npz"), "--out", str(tmp_path / "more")]) == 1
    assert "no texture space" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()
    photo = tmp_path / "photo.png"
    write_png(photo, np.full((64, 64, 3), 90, np.uint8))
    asked = ["capture", "--image", str(photo), "--out", str(tmp_path / "capture")]
    assert main([*asked, "--texture-space", str(tmp_path / "no.npz")]) == 1
    assert "no texture space" in capsys.readouterr().err
