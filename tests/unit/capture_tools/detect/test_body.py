"""The second opinion on where the person is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from avatar.synthetic.clip import make_synthetic_scene, render_synthetic_frame
from capture_tools.detect.body import MODEL_SIZE, PRESENT, BodyFinder
from capture_tools.detect.segmentation import PersonSegmenter, fill_holes, refine_mask


class Bright:
    """Stands in for the network: a body where the picture is bright."""

    def __init__(self, presence: float) -> None:
        self.presence = np.array([presence], np.float32)

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        assert picture.shape == (MODEL_SIZE, MODEL_SIZE, 3)
        return [np.zeros(195, np.float32), self.presence, np.where(picture[..., :1] > 0.5, 4.0, -4.0)]


def bright_body(monkeypatch: pytest.MonkeyPatch, presence: float) -> BodyFinder:
    finder = BodyFinder()
    monkeypatch.setattr(finder, "_network", Bright(presence))
    return finder


@pytest.mark.parametrize("shape", [(256, 256), (192, 192), (480, 640), (640, 360)])
def test_the_reach_lies_over_the_picture(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of all shapes are put in and taken out at the same place; the reach is a little wider than the body."""
    rgb = np.full((*shape, 3), 30, np.uint8)
    height, width = shape
    rgb[round(0.3 * height) : round(0.8 * height), round(0.1 * width) : round(0.5 * width)] = 220
    reach = bright_body(monkeypatch, 1.0).reach(rgb)
    assert reach.shape == (MODEL_SIZE, MODEL_SIZE)
    rows, columns = np.nonzero(reach)
    found = np.array([rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]) / MODEL_SIZE
    wider = found - [0.3, 0.8, 0.1, 0.5]
    assert np.abs(wider).max() < 0.025
    assert (wider * [-1, 1, -1, 1]).min() > 0
    assert reach[rows.min() : rows.max(), columns.min() : columns.max()].mean() > 0.99


def test_a_network_that_finds_no_body_has_no_opinion(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bright_body(monkeypatch, PRESENT - 0.01).reach(np.zeros((64, 64, 3), np.uint8)).min() == 1
    assert bright_body(monkeypatch, PRESENT + 0.01).reach(np.zeros((64, 64, 3), np.uint8)).max() == 0


@pytest.mark.slow
def test_a_cabinet_is_no_part_of_the_person() -> None:
    """A frame of a moving clip whose dark cabinet the selfie segmentation takes for a shoulder."""
    scene = make_synthetic_scene(seed=0, size=256, frames=150, camera="moving")
    frame = render_synthetic_frame(scene, 90)
    alone, doubting = (masked(frame.image, PersonSegmenter(doubting=doubting)) for doubting in (False, True))
    person = frame.mask > 127
    assert (alone & ~person).sum() > 0.09 * person.sum()
    assert (doubting & ~person).sum() < 0.03 * person.sum()
    assert (person & ~doubting).sum() < 0.01 * person.sum()


def test_a_person_who_fills_the_picture_is_not_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(self: BodyFinder, rgb: np.ndarray) -> np.ndarray:
        return np.zeros((MODEL_SIZE, MODEL_SIZE), np.float32)

    monkeypatch.setattr(BodyFinder, "reach", nowhere)
    scene = make_synthetic_scene(seed=3, size=192, frames=1)
    picture = render_synthetic_frame(scene, 0).image
    segmenter = PersonSegmenter()
    assert segmenter.confidence(picture).max() == 0
    close = cv2.resize(picture[60:130, 60:130], (256, 256))
    assert (segmenter.confidence(close) > 0.5).mean() > 0.7


def masked(image: np.ndarray, segmenter: PersonSegmenter) -> np.ndarray:
    return fill_holes(refine_mask(segmenter.confidence(image), image)) > 127
