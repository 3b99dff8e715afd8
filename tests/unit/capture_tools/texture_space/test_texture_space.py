"""A texture space: what it rebuilds and completes, how far it trusts what was seen, and which files it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from texture_parts import SIZE, invented

from avatar.base.errors import HeadModelError, InputError
from avatar.base.files import write_npz
from avatar.base.npz import read_npz
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from capture_tools.texture_space.building import space_of
from capture_tools.texture_space.reading import map_of
from capture_tools.texture_space.settings import TextureSettings
from capture_tools.texture_space.space import (
    TextureSpace,
    complete,
    fit,
    open_space,
    read_space,
    save_space,
)


@pytest.fixture(scope="module")
def asset() -> HeadAsset:
    return load_head()


@pytest.fixture(scope="module")
def space(asset: HeadAsset) -> TextureSpace:
    place = map_of(asset, SIZE).place.numpy()
    return space_of(invented(12, place), asset, place, TextureSettings(components=5, size=SIZE))


def error(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - true) ** 2)))


def test_components_are_orthonormal_and_ordered(space: TextureSpace) -> None:
    flat = space.components.reshape(5, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(5), atol=1e-4)
    assert (np.diff(space.deviations) <= 0).all()
    assert space.explained.sum() == pytest.approx(1, abs=1e-4)
    # three tones, a band and spots are all that tells these people apart
    assert space.explained[:5].sum() > 0.98
    assert space.people == 12


def test_a_stranger_is_rebuilt_to_the_grain(space: TextureSpace) -> None:
    (stranger,) = invented(1, space.place, seed=99)
    everything = np.ones(len(space.place))
    assert error(space.albedo(fit(space, stranger, everything)), stranger) < 0.012
    assert error(space.mean, stranger) > 0.04


def test_the_fit_ignores_what_is_no_skin(space: TextureSpace) -> None:
    """A hand before a tenth of the face changes the fit little."""
    (stranger,) = invented(1, space.place, seed=98)
    covered = stranger.copy()
    covered[: len(covered) // 10] = [0.95, 0.05, 0.9]
    everything = np.ones(len(space.place))
    assert error(space.albedo(fit(space, covered, everything)), stranger) < 0.02


def test_a_hidden_half_is_completed_without_a_border(space: TextureSpace) -> None:
    (stranger,) = invented(1, space.place, seed=97)
    picture, covered = space.unpacked(stranger)
    seen = np.tile(((np.arange(SIZE) - SIZE / 2) / 6).clip(0, 1), (SIZE, 1)) * covered
    whole, coefficients = complete(space, picture * (seen > 0)[..., None], seen.astype(np.float32))
    hidden = covered & (seen == 0)
    assert error(whole[hidden], picture[hidden]) < 0.02
    np.testing.assert_allclose(whole[seen == 1], picture[seen == 1], atol=1e-6)  # what was seen stays
    assert coefficients.shape == (5,)


def test_a_tone_the_space_lacks_goes_on_beyond_the_border(space: TextureSpace) -> None:
    """A bluish light is no direction of the space: what was seen shifts the fit."""
    (stranger,) = invented(1, space.place, seed=96)
    lacking = replace(space, components=space.components[:1], deviations=space.deviations[:1])
    picture, covered = space.unpacked(stranger + np.array([0, 0, 0.1], np.float32))
    seen = (np.tile(np.arange(SIZE) > SIZE // 2, (SIZE, 1)) & covered).astype(np.float32)
    whole, coefficients = complete(lacking, picture * seen[..., None], seen)
    hidden = covered & (seen == 0)
    guess = space.unpacked(lacking.albedo(coefficients))[0]
    assert error(whole[hidden], picture[hidden]) < 0.6 * error(guess[hidden], picture[hidden])


def test_nothing_seen_is_the_mean(space: TextureSpace) -> None:
    nothing = np.zeros((SIZE, SIZE), np.float32)
    whole, coefficients = complete(space, np.zeros((SIZE, SIZE, 3), np.float32), nothing)
    np.testing.assert_allclose(coefficients, 0, atol=1e-6)
    np.testing.assert_allclose(whole.reshape(-1, 3)[space.place], space.mean, atol=1e-5)


def test_a_space_comes_back_from_its_file(space: TextureSpace, asset: HeadAsset, tmp_path: Path) -> None:
    found = open_space(save_space(tmp_path / "space.npz", space), asset)
    assert (found.head_name, found.head_fingerprint) == (asset.name, asset.fingerprint)
    assert (found.size, found.people) == (space.size, space.people)
    np.testing.assert_array_equal(found.place, space.place)
    np.testing.assert_allclose(found.components, space.components, atol=1e-4)
    np.testing.assert_array_equal(found.mean, space.mean)


def test_a_space_of_another_map_is_refused(space: TextureSpace, asset: HeadAsset, tmp_path: Path) -> None:
    path = save_space(tmp_path / "space.npz", replace(space, head_name="other", uv_fingerprint="0" * 64))
    with pytest.raises(HeadModelError, match=r"another head's texture map(.|\n)*--head-model other"):
        open_space(path, asset)


def test_files_that_are_no_space_are_refused(space: TextureSpace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_space(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match="no texture space"):
        read_space(tmp_path / "text.npz")
    with pytest.raises(InputError, match=r"no texture space(.|\n)*no mean"):
        read_space(write_npz(tmp_path / "other.npz", {"vertices": np.zeros(3)}))
    arrays = read_npz(save_space(tmp_path / "space.npz", space))
    cases = {
        "unknown schema_version": {"schema_version": np.array(99)},
        "not finite(.|\n)*mean": {"mean": np.full_like(space.mean, np.nan)},
        "mean of shape": {"mean": space.mean[:5]},
        "texels outside": {"size": np.array(8)},
        "no whole numbers": {"people": np.array(0.5)},
        "no text": {"head_name": np.array(3)},
    }
    for message, changed in cases.items():
        with pytest.raises(InputError, match=message):
            read_space(write_npz(tmp_path / "changed.npz", arrays | changed))
