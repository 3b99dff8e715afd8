"""Conditions on one scale: the range of the clip, and the directions in which it moves."""

import pytest
import torch

from avatar.field.conditions import RANGE_MARGIN, ConditionScale

EXPRESSION = 6
SIZE = EXPRESSION + 9


@pytest.fixture
def clip() -> torch.Tensor:
    """`[40, 15]`: two expression coefficients move together, a third on its own, the jaw opens; all else is still."""
    time = torch.linspace(0, 12, 40)
    raw = torch.zeros(40, SIZE)
    raw[:, 0] = 0.5 + 0.5 * torch.sin(time)
    raw[:, 1] = 0.4 * raw[:, 0]
    raw[:, 2] = 0.3 * torch.cos(1.7 * time).clamp_min(0)
    raw[:, EXPRESSION] = 0.15 * (1 + torch.sin(2.3 * time))
    return raw


def fitted(clip: torch.Tensor, components: int) -> ConditionScale:
    scale = ConditionScale(SIZE, EXPRESSION, components)
    scale.fit(clip)
    return scale


@pytest.mark.parametrize("components", [0, 3, 8])
def test_nothing_is_nothing(clip, components):
    """The neutral expression is the zero condition, the same as outside the silhouette."""
    assert fitted(clip, components)(torch.zeros(2, SIZE)).abs().max() == 0


def test_what_never_moved_is_not_seen(clip):
    scale = fitted(clip, 4)
    moved = clip.clone()
    moved[:, 4] = 0.9
    assert torch.equal(scale(moved), scale(clip))
    against = clip.clone()
    against[:, 1] = 0.0  # the clip knows this coefficient only together with the first
    assert (scale(against) - scale(clip)).abs().max() < (scale(0 * clip) - scale(clip)).abs().max()


def test_components_keep_what_the_clip_shows(clip):
    """As many as the clip has degrees of freedom tell its frames apart as the whole condition does."""
    few, whole = fitted(clip, 3), fitted(clip, 0)
    assert torch.linalg.matrix_rank(few(clip)) == 3
    back = few(clip) @ torch.linalg.pinv(few.basis)
    torch.testing.assert_close(back, whole(clip), atol=1e-4, rtol=1e-4)


def test_components_are_about_one_in_size(clip):
    """Directions of some strength are brought to unit mean square; weak ones are not blown up to it."""
    size = fitted(clip, 8)(clip).square().mean(0).sqrt()
    assert float(size[0]) == pytest.approx(1.0, abs=1e-4)
    assert (size < 1 + 1e-4).all()


def test_more_components_than_directions_are_zero():
    raw = torch.zeros(2, SIZE)
    raw[1, 0] = 1.0
    values = fitted(raw, 8)(raw)
    assert values.shape == (2, 8)
    assert torch.isfinite(values).all()
    assert float(values[:, 2:].abs().max()) < 1e-5


def test_a_clip_without_expression_has_no_condition():
    still = torch.zeros(5, SIZE)
    assert float(fitted(still, 4)(still + 0.3).abs().max()) < 1e-3


def test_conditions_stay_near_the_range_of_the_clip(clip):
    scale = fitted(clip, 0)
    wild = scale(10 * clip.amax(0, keepdim=True))
    largest = scale(clip.amax(0, keepdim=True) * (1 + RANGE_MARGIN))
    torch.testing.assert_close(wild, largest)
    assert float(scale(-10 * torch.ones(1, SIZE))[0, 0]) < 0
