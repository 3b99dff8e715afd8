"""Lengths measured between landmarks."""

import numpy as np
import pytest

from avatar.flame.landmark_sets import eye_aspect_ratio, inter_ocular_distance, lid_distance, lip_distance


@pytest.fixture
def face() -> np.ndarray:
    """Eyes 30 px wide, the right lid gap 9 and the left one 6; outer corners 100 px apart; lips 20 px apart."""
    points = np.zeros((478, 2))
    points[33], points[133], points[159], points[145] = (0, 0), (30, 0), (15, 5), (15, -4)
    points[263], points[362], points[386], points[374] = (100, 0), (70, 0), (85, 3), (85, -3)
    points[13], points[14] = (50, -50), (50, -70)
    return points


def test_distances_of_a_face(face):
    assert inter_ocular_distance(face) == pytest.approx(100)
    assert lip_distance(face) == pytest.approx(0.2)
    assert lid_distance(face) == pytest.approx(0.075)
    assert eye_aspect_ratio(face) == pytest.approx((9 / 30 + 6 / 30) / 2)


def test_each_frame_is_measured_by_itself(face):
    closed = face.copy()
    closed[[159, 386]] = closed[[145, 374]]
    np.testing.assert_allclose(eye_aspect_ratio(np.stack([face, closed])), [0.25, 0.0])


def test_each_eye_is_measured_by_its_own_width(face):
    face[[263, 362, 386, 374], 0] = 70 + 0.5 * (face[[263, 362, 386, 374], 0] - 70)  # the far eye of a turned head
    assert eye_aspect_ratio(face) == pytest.approx((9 / 30 + 6 / 15) / 2)
