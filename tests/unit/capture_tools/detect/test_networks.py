"""Where a network looks, what it is given, and what is said where its file is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar.base.errors import MissingDependencyError
from capture_tools.detect import tflite_models
from capture_tools.detect.box_detector import face_detector
from capture_tools.detect.regions import (
    F,
    Region,
    box_around,
    carried_on,
    cut_out,
    picture_shape,
    put_back,
    rotation_between,
    square_around,
    whole_picture,
)


def test_a_missing_network_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_models, "INSTALLED_MODELS", tmp_path)
    monkeypatch.setattr(tflite_models, "WHEEL", "no-such-package")
    with pytest.raises(MissingDependencyError, match=r"capture_tools\.fetch_models"):
        face_detector()


def test_a_cut_out_region_comes_back() -> None:
    """A bright spot seen in a turned square is put back where it is in the picture."""
    rgb = np.zeros((200, 300, 3), np.uint8)
    rgb[90:93, 170:173] = 255  # its middle lies at (171, 91), the first pixel's centre at 0
    shape = picture_shape(rgb)
    region = square_around(Region(np.array([0.5, 0.5], F), np.array([0.3, 0.3], F), F(0.5)), shape, 1.5)
    seen = cut_out(rgb, region, 96, (0.0, 1.0))[..., 0]
    y, x = (np.average(grid, weights=seen) for grid in np.mgrid[:96, :96])
    assert put_back(np.array([[x, y]], F) / F(96), region)[0] * shape == pytest.approx([171, 91], abs=0.3)


def test_what_lies_beyond_the_picture() -> None:
    rgb = np.full((50, 100, 3), 255, np.uint8)
    black = cut_out(rgb, whole_picture(), 40, (-1.0, 1.0), around=True, black=True)
    assert (black[:8] == -1).all()
    assert np.allclose(black[12:28], 1)
    assert np.allclose(cut_out(rgb, whole_picture(), 40, (-1.0, 1.0), around=True), 1)


def test_a_region_turns_with_its_face() -> None:
    points = np.array([[0.4, 0.5], [0.5, 0.6]], F)
    turn = rotation_between(points[0], points[1], np.array([200, 100], F), 0.0)
    assert turn == pytest.approx(np.arctan2(10, 20), abs=1e-6)
    region = box_around(points, turn)
    assert np.allclose(region.centre, [0.45, 0.55])
    assert np.allclose(region.size, 0.1)


def test_a_tracked_region_replaces_the_one_found_on_it() -> None:
    def at(x: float) -> Region:
        return Region(np.array([x, 0.5], F), np.array([0.2, 0.2], F), F(0))

    found, tracked = [at(0.2), at(0.7)], [at(0.22)]
    assert carried_on(found, tracked) == [found[1], tracked[0]]
    assert carried_on(found, []) == found
    assert carried_on([], tracked) == tracked


def test_a_picture_without_a_face() -> None:
    assert face_detector().detect(np.full((64, 96, 3), 128, np.uint8)) == []
