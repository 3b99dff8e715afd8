import dataclasses

import numpy as np
import pytest
import torch

from avatar.animation.expressions import (
    PRESETS,
    expression_vector,
    jaw_share_of,
    known_names,
    parse_amounts,
)
from avatar.base.errors import ConfigError
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def numbered_head(head):
    """A head whose directions have numbers for names, as an imported FLAME has."""
    names = tuple(f"expression_{i:02d}" for i in range(head.expression_count))
    return dataclasses.replace(head, expression_names=names, extras={})


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("smile", {"smile": 1.0}),
        ("smile=0.7,jawOpen=0.3", {"smile": 0.7, "jawOpen": 0.3}),
        (" smile = 0.5 , smile=0.25", {"smile": 0.75}),
        ("mouthSmileLeft=-0.2", {"mouthSmileLeft": -0.2}),
    ],
)
def test_amounts(text, amounts):
    assert parse_amounts(text) == pytest.approx(amounts)


@pytest.mark.parametrize("text", ["", "smile=", "smile=x", "=0.3", "smile=3", "smile=nan", "smile,,frown"])
def test_amounts_that_cannot_be_read(text):
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_amounts(text)


def test_every_preset_fits_the_open_head_and_does_something(head):
    for preset in PRESETS:
        vector = expression_vector({preset: 1.0}, head)
        size = float(vector.expr.abs().sum() + vector.jaw.abs().sum())
        assert (size == 0) == (preset == "neutral")
    assert set(PRESETS) <= set(known_names(head))


def test_a_name_without_a_side_is_both_sides(head):
    expr = expression_vector({"mouthSmile": 0.5}, head).expr
    lit = {name for name, value in zip(head.expression_names, expr, strict=True) if value}
    assert lit == {"mouthSmileLeft", "mouthSmileRight"}
    assert float(expr.max()) == float(expr.sum() / 2) == 0.5


def test_jaw_opening_is_shared_between_joint_and_direction(head):
    index = head.expression_names.index("jawOpen")
    joint = expression_vector({"jawOpen": 0.5}, head)
    direction = expression_vector({"jawOpen": 0.5}, head, jaw_share=0.0)
    assert joint.expr[index] == 0
    assert float(joint.jaw[0]) == pytest.approx(0.5 * float(head.extras["jaw_open_angle"]))
    assert float(direction.expr[index]) == 0.5
    assert not direction.jaw.any()


def test_both_ways_of_opening_part_the_lips_alike(head):
    model = HeadModel(head)
    gaps = []
    for share in (0.0, 1.0):
        vector = expression_vector({"jawOpen": 1.0}, head, jaw_share=share)
        params = HeadParameters.neutral(head)
        params = dataclasses.replace(params, expr=vector.expr[None], jaw=vector.jaw[None])
        neutral, opened = (model(p).vertices[0] for p in (HeadParameters.neutral(head), params))
        lips = torch.as_tensor(head.region("lips"))
        gaps.append(float((opened - neutral)[lips].norm(dim=-1).max()))
    assert gaps[0] > 0.015  # metres
    assert gaps[1] == pytest.approx(gaps[0], rel=0.1)


def test_jaw_share_follows_the_clip(head):
    params = HeadParameters.neutral(head, 2)
    assert jaw_share_of(params, head) == 1.0
    params.jaw[1, 0] = float(head.extras["jaw_open_angle"]) * 0.3
    params.expr[1, head.expression_names.index("jawOpen")] = 0.1
    assert jaw_share_of(params, head) == pytest.approx(0.75, abs=1e-5)


def test_looking_turns_the_eye_joints_the_right_way(head):
    # the person's left is +x: eyes facing +z turn about +y; down is a turn about +x
    left = expression_vector({"lookLeft": 1.0}, head).eyes
    assert left[1] > 0.2
    assert left[4] > 0.2
    out = expression_vector({"eyeLookOutLeft": 1.0}, head).eyes
    assert out[1] > 0.1
    assert not out[3:].any()
    down = expression_vector({"eyeLookDown": 1.0}, head).eyes
    assert down[0] > 0.1
    assert down[3] > 0.1


def test_unknown_name_lists_close_ones(head):
    with pytest.raises(ConfigError) as caught:
        expression_vector({"smlie": 1.0}, head)
    assert "smile" in str(caught.value).split("did you mean")[1]
    with pytest.raises(ConfigError, match=r"mouthSmileLeft"):
        expression_vector({"mouth_smile_left": 1.0}, head)


def test_an_imported_head_has_joints_and_its_own_names(numbered_head):
    vector = expression_vector({"jawOpen": 1.0, "expression_03": -1.5}, numbered_head)
    assert float(vector.jaw[0]) == pytest.approx(0.35)
    assert float(vector.expr[3]) == -1.5
    assert "smile" not in known_names(numbered_head)
    assert "open_mouth" in known_names(numbered_head)
    with pytest.raises(ConfigError):
        expression_vector({"smile": 1.0}, numbered_head)


def test_scaled(head):
    full, half = expression_vector({"surprise": 1.0}, head), expression_vector({"surprise": 0.5}, head)
    for a, b in ((full.scaled(0.5).expr, half.expr), (full.scaled(0.5).jaw, half.jaw)):
        np.testing.assert_allclose(a, b, atol=1e-6)
