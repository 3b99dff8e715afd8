"""The network that completes textures learns from what strokes hide of seen skin, and keeps what was seen."""

from __future__ import annotations

import numpy as np
import pytest

from capture_tools.texture_space import inpainting
from capture_tools.texture_space.inpainting import (
    Maps,
    complete_texture,
    gains,
    network_inputs,
    plain_completion,
    strokes,
    train_inpainter,
)

SIZE = 64


def people(count: int, seed: int = 0) -> np.ndarray:
    """Textures `[N, S, S, 3]` with spots that are the stronger the lighter the skin around them is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    spots = ((x // 8 % 2 == 0) & (y // 8 % 2 == 0))[..., None]
    strength = rng.uniform(-0.15, 0.15, (count, 1, 1, 3))
    return (0.5 + strength - (0.2 + 2 * strength) * spots).clip(0, 1).astype(np.float32)


def test_strokes_hide_a_part() -> None:
    shares = [strokes(np.random.default_rng(i), SIZE).mean() for i in range(40)]
    assert min(shares) > 0.005
    assert max(shares) < 0.95
    assert 0.1 < np.mean(shares) < 0.6


def test_the_plain_completion_takes_the_other_side() -> None:
    away = np.zeros((SIZE, SIZE, 3), np.float32)
    away[10:20, 4:12] = 0.2
    known = np.tile(np.arange(SIZE) < SIZE // 2, (SIZE, 1))
    found = plain_completion(np.where(known[..., None], away, 0), known, symmetric=True)
    np.testing.assert_allclose(found[10:20, SIZE - 12 : SIZE - 4], 0.2, atol=1e-6)
    assert np.abs(plain_completion(away, np.zeros_like(known), symmetric=True)).max() == 0


def test_gains_are_found() -> None:
    mean = np.random.default_rng(0).uniform(0.2, 0.8, (50, 3))
    np.testing.assert_allclose(gains(mean * [0.5, 1.1, 1.4], mean), [0.5, 1.1, 1.4], rtol=1e-6)


def test_hidden_texels_do_not_reach_the_network() -> None:
    """What is hidden changes neither inputs nor the plain completion."""
    maps = Maps(np.full((SIZE, SIZE, 3), 0.5, np.float32), np.ones((SIZE, SIZE), bool), symmetric=True)
    (one,) = people(1)
    known = ~strokes(np.random.default_rng(3), SIZE)
    other = np.where(known[..., None], one, 0.9).astype(np.float32)
    for first, second in zip(network_inputs(one, known, maps), network_inputs(other, known, maps), strict=True):
        np.testing.assert_array_equal(first, second)
    assert network_inputs(one, known, maps)[0].shape == (inpainting.INPUTS, SIZE, SIZE)


def test_what_was_seen_stays_and_the_rest_is_the_mean_in_its_tone() -> None:
    rng = np.random.default_rng(0)
    maps = Maps(rng.uniform(0.2, 0.6, (SIZE, SIZE, 3)).astype(np.float32), np.ones((SIZE, SIZE), bool), symmetric=False)
    person = maps.mean * np.array([1.3, 1.0, 0.7], np.float32)
    seen = np.tile((np.arange(SIZE) < 40).astype(np.float32), (SIZE, 1))
    whole = complete_texture(None, person * seen[..., None], seen, maps)
    np.testing.assert_array_equal(whole[seen == 1], person[seen == 1])
    np.testing.assert_allclose(whole, person, atol=1e-3)


@pytest.mark.slow
def test_the_network_learns_what_smooth_filling_cannot_know() -> None:
    """The network fills a hidden patch of strangers better than the plain completion, which sees no more than it."""
    pictures = people(24)
    seen = np.ones(pictures.shape[:3], np.float32)
    maps = Maps(pictures.mean(0), np.ones((SIZE, SIZE), bool), symmetric=False)
    network, losses = train_inpainter(pictures, seen, maps, steps=80, seed=1)
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])
    shown = np.ones((SIZE, SIZE), np.float32)
    shown[20:44, 20:44] = 0
    away = {"plain": 0.0, "network": 0.0}
    for one in people(6, seed=5):
        for name, chosen in (("plain", None), ("network", network)):
            whole = complete_texture(chosen, one * shown[..., None], shown, maps)
            away[name] += float(np.square(whole - one)[shown == 0].mean())
    assert away["network"] < 0.8 * away["plain"]
