"""Live Link Face CSV: the columns, the way to parameters and back, and what is wrong in a table."""

import dataclasses

import numpy as np
import pytest
import torch

from avatar.animation.driver_files import find_driver, load_driver
from avatar.animation.expressions import jaw_open_angle
from avatar.animation.live_link import (
    COLUMNS,
    COUNT,
    INDEX,
    TIMECODE,
    from_columns,
    rotation_of,
    shift_angle,
    timecode,
    to_columns,
    yaw_pitch_roll,
)
from avatar.animation.options import DriverPart
from avatar.base.errors import ConfigError, HeadModelError, InputError
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.rotations import axis_angle_to_matrix

HEADER = (
    "Timecode,BlendshapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft,EyeLookUpLeft,EyeSquintLeft,"
    "EyeWideLeft,EyeBlinkRight,EyeLookDownRight,EyeLookInRight,EyeLookOutRight,EyeLookUpRight,EyeSquintRight,EyeWideRight,"
    "JawForward,JawRight,JawLeft,JawOpen,MouthClose,MouthFunnel,MouthPucker,MouthRight,MouthLeft,MouthSmileLeft,"
    "MouthSmileRight,MouthFrownLeft,MouthFrownRight,MouthDimpleLeft,MouthDimpleRight,MouthStretchLeft,MouthStretchRight,"
    "MouthRollLower,MouthRollUpper,MouthShrugLower,MouthShrugUpper,MouthPressLeft,MouthPressRight,MouthLowerDownLeft,"
    "MouthLowerDownRight,MouthUpperUpLeft,MouthUpperUpRight,BrowDownLeft,BrowDownRight,BrowInnerUp,BrowOuterUpLeft,"
    "BrowOuterUpRight,CheekPuff,CheekSquintLeft,CheekSquintRight,NoseSneerLeft,NoseSneerRight,TongueOut,HeadYaw,HeadPitch,"
    "HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,RightEyeYaw,RightEyePitch,RightEyeRoll"
)


@pytest.fixture(scope="module")
def head():
    return load_head()


def table(path, rows, names=COLUMNS, header=None):
    """A CSV of rows of 61 numbers at 25 frames a second."""
    lines = [header or ",".join((TIMECODE, COUNT, *names))]
    lines += [",".join((timecode(i / 25), "61", *(str(value) for value in row))) for i, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def row(**values):
    return [values.get(name, 0.0) for name in COLUMNS]


def test_the_columns_are_those_of_the_app_in_its_order():
    assert ",".join((TIMECODE, COUNT, *COLUMNS)) == HEADER
    assert len(COLUMNS) == len(set(COLUMNS)) == 61


def test_every_action_is_a_direction_of_the_open_head(head):
    assert sorted(name[0].lower() + name[1:] for name in COLUMNS[:52]) == sorted(head.expression_names)


@pytest.mark.parametrize("share", [1.0, 0.7, 0.0])
def test_parameters_come_back(head, share):
    generator = torch.Generator().manual_seed(1)
    params = HeadParameters.neutral(head, 30)
    params.expr[:] = torch.rand(params.expr.shape, generator=generator)
    opening = torch.rand(30, generator=generator)
    params.jaw[:, 0] = share * opening * jaw_open_angle(head)
    params.expr[:, head.expression_index("jawOpen")] = (1 - share) * opening
    params.eyes[:] = 0.4 * torch.randn(30, 6, generator=generator)
    params.rotation[:] = 0.5 * torch.randn(30, 3, generator=generator)
    back = from_columns(to_columns(params, head), head, share)
    for name in ("expr", "jaw", "eyes", "rotation"):
        torch.testing.assert_close(getattr(back, name), getattr(params, name), atol=1e-5, rtol=0)


def test_any_table_comes_back(head):
    values = np.random.default_rng(0).uniform(0, 1, (20, 61))
    for share in (0.0, 0.6, 1.0):
        np.testing.assert_allclose(to_columns(from_columns(values, head, share), head), values, atol=1e-6)


def test_left_and_right_are_the_persons(head, tmp_path):
    """A smile on the left and a jaw to the left move what lies at +x, and so does the file that says so."""
    driver = load_driver(table(tmp_path / "a.csv", [row(), row(MouthSmileLeft=1.0), row(JawLeft=1.0)]), head)
    model = HeadModel(head)
    neutral, smile, jaw = model(driver.params).vertices
    moved = (smile - neutral).norm(dim=1)
    left = neutral[:, 0] > 0.01
    right = neutral[:, 0] < -0.01
    assert float(moved[left].max()) > 3 * float(moved[right].max())
    chin = torch.as_tensor(head.weights[:, 2] > 0.9) & torch.as_tensor(head.region("face"))
    assert float((jaw - neutral)[chin, 0].mean()) > 0.002
    # and back: what the head does on its left is written as left
    params = HeadParameters.neutral(head, 1)
    params.expr[0, head.expression_index("mouthSmileLeft")] = 0.8
    params.jaw[0, 1] = 0.5 * shift_angle(head)
    written = to_columns(params, head)[0]
    assert written[INDEX["MouthSmileLeft"]] == pytest.approx(0.8)
    assert written[INDEX["JawLeft"]] == pytest.approx(0.5, abs=1e-6)
    assert written[INDEX["MouthSmileRight"]] == written[INDEX["JawRight"]] == 0
    turned = model(dataclasses.replace(params, expr=torch.zeros_like(params.expr))).vertices[0]
    assert float((turned - neutral)[chin, 0].mean()) == pytest.approx(
        0.5 * float((jaw - neutral)[chin, 0].mean()), rel=0.3
    )


@pytest.mark.parametrize(
    ("column", "side", "axis", "sign"),
    [
        ("EyeLookOutLeft", 0, 1, 1),
        ("EyeLookInLeft", 0, 1, -1),
        ("EyeLookOutRight", 1, 1, -1),
        ("EyeLookInRight", 1, 1, 1),
        ("EyeLookDownLeft", 0, 0, 1),
        ("EyeLookUpRight", 1, 0, -1),
    ],
)
def test_gaze_without_the_eyes_angles_comes_from_the_actions(head, tmp_path, column, side, axis, sign):
    names = COLUMNS[:52]
    values = [[0.8 if name == column else 0.0 for name in names]]
    eyes = load_driver(table(tmp_path / "a.csv", values, names), head).params.eyes[0]
    assert float(eyes[3 * side + axis]) * sign == pytest.approx(0.4, abs=1e-5)
    assert int((eyes.abs() > 1e-6).sum()) == 1


def test_angles_have_the_heads_directions():
    yaw, pitch, _ = np.eye(3) * 0.3
    forward = torch.tensor([0.0, 0.0, 1.0])
    assert float((axis_angle_to_matrix(rotation_of(yaw[None]))[0] @ forward)[0]) > 0.2  # to the person's left
    assert float((axis_angle_to_matrix(rotation_of(pitch[None]))[0] @ forward)[1]) < -0.2  # down
    angles = np.random.default_rng(2).uniform(-1, 1, (50, 3))
    np.testing.assert_allclose(yaw_pitch_roll(axis_angle_to_matrix(rotation_of(angles))), angles, atol=1e-5)


def test_timecodes():
    assert timecode(0.0) == "00:00:00:00.000"
    assert timecode(0.04) == "00:00:00:02.400"
    assert timecode(3661.5) == "01:01:01:30.000"
    assert timecode(59.9999999) == "00:01:00:00.000"


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 30.0, 60.0])
def test_the_rate_comes_from_the_times_even_over_midnight(head, tmp_path, fps):
    lines = [",".join((TIMECODE, COUNT, *COLUMNS))]
    lines += [",".join((timecode(86399.5 + i / fps), "61", *["0"] * 61)) for i in range(60) if i != 20]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    driver = load_driver(tmp_path / "a.csv", head)
    assert driver.fps == pytest.approx(fps, abs=2e-3)
    assert len(driver.params) == 59


def test_columns_in_any_order_and_spelling(head, tmp_path):
    names = list(COLUMNS)
    np.random.default_rng(3).shuffle(names)
    values = np.random.default_rng(4).uniform(0, 1, (3, 61)).round(6)
    header = ",".join((TIMECODE, "BlendShapeCount", *(name[0].lower() + name[1:] for name in names)))
    shuffled = table(tmp_path / "a.csv", values[:, [INDEX[name] for name in names]], header="\ufeff" + header)
    found = load_driver(shuffled, head)
    assert found.notes == ()
    torch.testing.assert_close(found.params.expr, from_columns(values, head).expr, atol=1e-6, rtol=0)


def test_missing_and_unknown_columns_are_named(head, tmp_path):
    names = [name for name in COLUMNS if name not in ("MouthSmileLeft", "TongueOut")]
    path = table(tmp_path / "a.csv", [[0.5] * 60], [*names, "MouthSmilLeft"])
    driver = load_driver(path, head)
    assert float(driver.params.expr[0, head.expression_index("mouthSmileLeft")]) == 0
    missing, unknown = driver.notes
    assert "MouthSmileLeft, TongueOut" in missing
    assert "'MouthSmilLeft'" in unknown
    assert "did you mean MouthSmileLeft?" in unknown


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [*lines[:2], lines[2] + ",0.1", *lines[3:]], ["row 3", "63 cells", "64"]),
        (lambda lines: [lines[0], lines[1].replace("0.25", "nan", 1)], ["EyeBlinkLeft in row 2", "nan"]),
        (lambda lines: [lines[0], lines[1].replace("0.25", "", 1)], ["EyeBlinkLeft in row 2", "an empty cell"]),
        (lambda lines: [lines[0], lines[1].replace("0.25", "smile", 1)], ["EyeBlinkLeft in row 2", "smile"]),
        (lambda lines: [lines[0], lines[1].replace("0.25", "85", 1)], ["out of range", "divide percentages"]),
        (lambda lines: [lines[0], lines[1].replace("00:00:00:00.000", "now")], ["Timecode in row 2", "now"]),
        (lambda lines: [lines[0], lines[3], lines[2], lines[1]], ["backwards in row 3"]),
        (lambda lines: lines[:1], ["no rows"]),
        (lambda lines: [lines[0] + ",EyeBlinkLeft", lines[1] + ",0"], ["twice", "EyeBlinkLeft"]),
    ],
)
def test_what_is_wrong_in_a_table_is_one_message(head, tmp_path, change, words):
    path = table(tmp_path / "a.csv", [[0.25] * 61] * 3)
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(InputError) as caught:
        load_driver(path, head)
    for word in (*words, "a.csv"):
        assert word in str(caught.value)


def test_what_is_no_such_table_is_told(head, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x01" * 40)
    with pytest.raises(InputError, match="a table without the columns"):
        find_driver(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="for a driver that is a video"):
        find_driver(table(tmp_path / "b.csv", [row()]), DriverPart(start=1.0))
    other = dataclasses.replace(head, expression_names=tuple(f"expression_{i:02d}" for i in range(52)))
    with pytest.raises(HeadModelError, match="does not have ARKit's expressions"):
        load_driver(tmp_path / "b.csv", other)
