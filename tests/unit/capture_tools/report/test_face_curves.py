"""Curves of two videos are matched by time and compared where both show a face."""

from __future__ import annotations

import numpy as np
import pytest

from capture_tools.report.face_curves import FaceCurves, blinks, correlation, jitter


def test_frames_are_matched_by_time() -> None:
    points = np.arange(3)[:, None, None] * np.ones((3, 478, 2))
    curves = FaceCurves(np.array([0.0, 0.1, 0.2]), np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]), points)
    matched = curves.at(np.array([0.19, 0.04, 0.11]))
    assert matched.lips.tolist() == [3, 1, 2]
    assert matched.lids.tolist() == [6, 4, 5]
    assert matched.points[:, 0, 0].tolist() == [2, 0, 1]


def test_correlation_counts_frames_with_a_face_in_both() -> None:
    first = np.array([0.0, 1.0, 2.0, np.nan, 4.0])
    assert correlation(first, 3 - 2 * first) == pytest.approx(-1)
    assert correlation(first, np.array([1.0, 2.0, 3.0, 4.0, np.nan])) == pytest.approx(1)
    assert np.isnan(correlation(first, np.full(5, 2.0)))
    assert np.isnan(correlation(first, np.full(5, np.nan)))


def test_lids_are_told_in_the_frames_of_a_blink() -> None:
    driver = np.array([0.3, 0.3, 0.1, np.nan, 0.3, 0.12])
    rendered = np.array([0.4, 0.4, 0.1, 0.1, 0.4, 0.2])
    assert blinks(driver, rendered) == pytest.approx([0.25, 0.5])


def test_jitter_is_the_deviation_of_independent_noise_whatever_the_steady_motion() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (500, 478, 2))
    steady = np.arange(500)[:, None, None] * np.array([0.02, -0.01])
    assert jitter(noise + steady) == pytest.approx(0.01, rel=0.02)
    assert jitter(np.broadcast_to(steady, noise.shape)) == pytest.approx(0, abs=1e-9)
    noise[3] = np.nan
    assert jitter(noise + steady) == pytest.approx(0.01, rel=0.02)
    assert np.isnan(jitter(np.full((5, 478, 2), np.nan)))
