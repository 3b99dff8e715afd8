"""One person is followed: through gaps, past others, and never into someone else."""

from __future__ import annotations

import numpy as np

from capture_tools.detect.following import follow_person


def face(x: float, eyes: float, y: float = 100.0) -> np.ndarray:
    """478 points around (x, y) with this distance between the outer eye corners."""
    points = np.zeros((478, 3), np.float32)
    points[:, 0], points[:, 1] = x, y
    points[33, 0], points[263, 0] = x - eyes / 2, x + eyes / 2
    return points


def follow(frames: list[list[np.ndarray]], fps: float = 25.0) -> tuple[list[int], np.ndarray]:
    """For each frame the place of the chosen face in its list, -1 for none; and the sizes of others."""
    flat = [one for here in frames for one in here]
    numbers = [index for index, here in enumerate(frames) for _ in here]
    places = [place for here in frames for place in range(len(here))]
    found = follow_person(
        np.array(flat, np.float32).reshape(-1, 478, 3), np.array(numbers, int), np.arange(len(frames)) / fps
    )
    return [places[row] if row >= 0 else -1 for row in found.rows], found.others


def test_the_larger_person_is_followed_in_whatever_order_faces_come() -> None:
    near, far = face(100, 50), face(300, 40)
    rows, others = follow([[near, far] if i % 2 else [far, near] for i in range(10)])
    assert rows == [1, 0] * 5
    np.testing.assert_allclose(others, 0.8)


def test_a_person_at_the_edge_is_not_chosen() -> None:
    """A larger face that the picture cuts does not count; where there is no other, it is followed all the same."""
    faces = np.array([face(100, 40), face(300, 60)] * 6)
    numbers, times = np.repeat(np.arange(6), 2), np.arange(6) / 25
    whole = np.array([True, False] * 6)
    assert follow_person(faces, numbers, times, whole).rows.tolist() == list(range(0, 12, 2))
    assert (follow_person(faces, numbers, times, np.zeros(12, bool)).rows >= 0).all()


def test_who_turns_away_is_not_replaced() -> None:
    """The other one is seen throughout, even longer, but smaller; in frames 4 to 40 they are alone."""
    near, far = face(100, 60), face(260, 40)
    frames = [[near, far] if not 4 <= i < 20 else [far] for i in range(60)]
    rows, others = follow(frames)
    assert rows == [-1 if 4 <= i < 20 else 0 for i in range(60)]
    assert others[10] > 0.5


def test_who_is_larger_for_a_moment_is_not_the_person() -> None:
    frames = [[face(100, 50)] if i not in (5, 6, 7) else [face(400, 90), face(100, 50)] for i in range(40)]
    assert follow(frames)[0] == [1 if i in (5, 6, 7) else 0 for i in range(40)]


def test_who_leaves_may_come_back_elsewhere() -> None:
    frames = [[face(100, 50)]] * 20 + [[]] * 40 + [[face(420, 45)]] * 20
    rows, others = follow(frames)
    assert rows == [0] * 20 + [-1] * 40 + [0] * 20
    assert not others.any()


def test_two_people_whose_faces_pass_each_other_keep_their_names() -> None:
    frames = [[face(100 + 4 * i, 50, 100), face(500 - 4 * i, 44, 230)] for i in range(100)]
    assert follow(frames)[0] == [0] * 100


def test_nobody() -> None:
    rows, others = follow([[], [], []])
    assert rows == [-1, -1, -1]
    assert not others.any()
