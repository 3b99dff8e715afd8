"""Transfer of expressions: from neutral to neutral, by region, never half shut, within limits."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from avatar.animation.transfer import (
    BOUND,
    OPENING,
    REGIONS,
    SLACK,
    Retarget,
    bent,
    neutral_of,
    parse_gains,
    region_of,
    transfer_expression,
)
from avatar.base.errors import ConfigError
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters

FPS = 25.0


@pytest.fixture(scope="module")
def head() -> HeadAsset:
    return load_head()


def clip(head: HeadAsset, rest: dict[str, float], peaks: dict[str, float], frames: int = 60) -> HeadParameters:
    """Mostly at rest; in the last quarter each action of `peaks` is reached, one frame in two."""
    params = HeadParameters.neutral(head, frames)
    for name, value in rest.items():
        params.expr[:, head.expression_index(name)] = value
    for name, value in peaks.items():
        params.expr[-frames // 4 :: 2, head.expression_index(name)] = value
    return params


def moved(head: HeadAsset, avatar: HeadParameters, driver: HeadParameters, **settings) -> HeadParameters:
    return transfer_expression(avatar, driver, head, Retarget(**settings), relative=True, fps=FPS)


def test_a_driver_at_rest_leaves_the_avatar_at_rest(head: HeadAsset) -> None:
    """Whatever the two faces are like at rest: landmarks move less than 2 % of the distance between the eyes."""
    avatar = clip(head, {"mouthFrownLeft": 0.2, "eyeBlinkLeft": 0.1, "eyeBlinkRight": 0.1}, {"jawOpen": 0.8})
    driver = clip(head, {"mouthSmileLeft": 0.3, "mouthSmileRight": 0.3, "browInnerUp": 0.4}, {})
    driven = moved(head, avatar, driver)
    own = neutral_of(avatar, head, FPS)
    model = HeadModel(head)
    at_rest = dataclasses.replace(avatar.select([0]), expr=own.expr[None], jaw=own.jaw[None], eyes=own.eyes[None])
    shown = dataclasses.replace(driven.select([5]), shape=avatar.shape)
    points = [model.landmarks(model(params).vertices)[0] for params in (at_rest, shown)]
    eyes = float((points[0][33] - points[0][263]).norm())
    assert float((points[1] - points[0]).norm(dim=-1).max()) < 0.02 * eyes
    plain = transfer_expression(avatar, driver, head, Retarget(), relative=False, fps=FPS)
    torch.testing.assert_close(plain.expr, driver.expr)


def test_what_changes_is_carried_over(head: HeadAsset) -> None:
    avatar = clip(head, {"mouthFrownLeft": 0.2}, {})
    driver = clip(head, {"mouthSmileLeft": 0.3}, {"mouthSmileLeft": 0.9, "jawRight": 0.5})
    driven = moved(head, avatar, driver)
    row = int(driver.expr[:, head.expression_index("jawRight")].argmax())
    for name, value in (("mouthSmileLeft", 0.6), ("jawRight", 0.5), ("mouthFrownLeft", 0.2), ("jawLeft", 0.0)):
        assert float(driven.expr[row, head.expression_index(name)]) == pytest.approx(value, abs=1e-5), name


def test_a_blink_closes_the_avatars_lids(head: HeadAsset) -> None:
    """A driver with wide open lids and one with heavy ones, shut, shut the lids of an avatar with others."""
    lid = head.expression_index("eyeBlinkLeft")
    avatar = clip(head, {"eyeBlinkLeft": 0.15}, {})
    for rest in (0.0, 0.3):
        driver = clip(head, {"eyeBlinkLeft": rest}, {"eyeBlinkLeft": 1.0})
        driven = moved(head, avatar, driver)
        assert float(driven.expr[:, lid].max()) == pytest.approx(1.0, abs=1e-4)
        assert float(driven.expr[0, lid]) == pytest.approx(0.15, abs=1e-5)


def test_the_neutral_is_found_or_given(head: HeadAsset) -> None:
    driver = clip(head, {"mouthSmileLeft": 0.2}, {"mouthSmileLeft": 0.9}, frames=100)
    driver.expr[:70, head.expression_index("jawOpen")] = 0.5  # talking for most of the time
    found = neutral_of(driver, head, FPS)
    assert float(found.expr[head.expression_index("jawOpen")]) == 0
    assert float(found.expr[head.expression_index("mouthSmileLeft")]) == pytest.approx(0.2)
    given = neutral_of(driver, head, FPS, 1.0)
    assert float(given.expr[head.expression_index("jawOpen")]) == 0.5
    with pytest.raises(ConfigError, match="outside the driver"):
        neutral_of(driver, head, FPS, 4.0)


def test_gains_scale_their_region_alone(head: HeadAsset) -> None:
    avatar = clip(head, {}, {})
    driver = clip(head, {}, {"mouthSmileLeft": 0.5, "browInnerUp": 0.5, "cheekPuff": 0.4})
    driver.jaw[-1, 0] = 0.1
    driven = moved(head, avatar, driver, gain="all=0.5,mouth=1.5,jaw=2")
    for name, value in (("mouthSmileLeft", 0.75), ("browInnerUp", 0.25), ("cheekPuff", 0.2)):
        assert float(driven.expr[:, head.expression_index(name)].max()) == pytest.approx(value, abs=1e-5), name
    assert float(driven.jaw[-1, 0]) == pytest.approx(0.2, abs=1e-5)
    assert {region_of(name) for name in head.expression_names} == set(REGIONS) - {"head"}


@pytest.mark.parametrize("text", ["mouth", "mouth=much", "ears=1", "mouth=9", "all=nan"])
def test_gains_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="gain"):
        parse_gains(text)


def test_limits_are_soft() -> None:
    values = torch.tensor([0.0, 0.5, BOUND, BOUND + 0.05, 5.0, -3.0])
    found = bent(values, BOUND, SLACK)
    assert found[:3].tolist() == pytest.approx([0.0, 0.5, BOUND])
    assert BOUND < float(found[3]) < BOUND + 0.05
    assert float(found[4]) == pytest.approx(BOUND + SLACK, abs=1e-3)
    assert float(found[5]) == pytest.approx(-SLACK, abs=1e-3)


def test_the_jaw_never_opens_further_than_a_mouth_can(head: HeadAsset) -> None:
    avatar, driver = clip(head, {}, {}), clip(head, {}, {})
    driver.jaw[3, 0] = 2.0
    assert float(moved(head, avatar, driver).jaw.max()) < 1.2 * OPENING
