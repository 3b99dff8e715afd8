"""Live Link Face CSV, the table that iPhone face capture records: head parameters to its 61 columns and back.

Columns hold ARKit's 52 actions in [0, 1] and the angles of head and eyes in radians, as yaw (about y), pitch (about x)
and roll (about z) of R = Ry Rx Rz in head space: "left" is the person's, positive yaw faces the person's left, positive
pitch down. What a FLAME head does with joints is folded into the actions, so that other programs see it:

    JawOpen    = expr + opening of the jaw joint over the angle that opens the mouth wide
    JawLeft    = expr + sideways rotation of the jaw joint, as far as it moves the chin alike (JawRight likewise)
    EyeLook... = expr + angle of the eye over FULL_GAZE

Reading undoes the third exactly, by the eyes' own columns. Of JawOpen a given share goes to the joint and the rest to
the direction; sideways, the direction has all of it. The jaw's roll and the head's place are not in the file.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from avatar.animation.expressions import jaw_open_angle
from avatar.base.errors import HeadModelError, InputError
from avatar.base.limits import DRIVER_FRAMES, FPS, Limits
from avatar.flame.model import HeadParameters
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

if TYPE_CHECKING:
    from avatar.flame.assets import HeadAsset

SIDED_EYE = ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")
ACTIONS = (
    *(f"Eye{name}{side}" for side in ("Left", "Right") for name in SIDED_EYE),
    *("JawForward", "JawRight", "JawLeft", "JawOpen"),
    *("MouthClose", "MouthFunnel", "MouthPucker", "MouthRight", "MouthLeft"),
    *(f"Mouth{name}{side}" for name in ("Smile", "Frown", "Dimple", "Stretch") for side in ("Left", "Right")),
    *("MouthRollLower", "MouthRollUpper", "MouthShrugLower", "MouthShrugUpper"),
    *(f"Mouth{name}{side}" for name in ("Press", "LowerDown", "UpperUp") for side in ("Left", "Right")),
    *("BrowDownLeft", "BrowDownRight", "BrowInnerUp", "BrowOuterUpLeft", "BrowOuterUpRight"),
    *("CheekPuff", "CheekSquintLeft", "CheekSquintRight", "NoseSneerLeft", "NoseSneerRight", "TongueOut"),
)
"""ARKit's 52 actions in the file's order: the jaw and the mouth have Right before Left, all else Left before Right."""
PARTS = ("Head", "LeftEye", "RightEye")
ANGLES = tuple(f"{part}{angle}" for part in PARTS for angle in ("Yaw", "Pitch", "Roll"))
COLUMNS = (*ACTIONS, *ANGLES)
TIMECODE, COUNT = "Timecode", "BlendshapeCount"
RATE = 60
"""Frames per second of the timecode HH:MM:SS:FF.mmm, whatever the rate of the rows."""
DAY = 24 * 3600.0
FULL_GAZE = 0.6
"""Radians by which an eye rotates at one unit of an EyeLook action. Phones write about half a radian; a little more
leaves some of their action to the direction of the head, which moves the lids with the gaze."""
PHONE_GAZE = 0.5
"""Radians at one unit of an EyeLook action in files without the eyes' own angles."""
AMOUNTS = Limits(-10, 10, "", "ARKit's actions go from 0 to 1: divide percentages by 100")
SHOWN = 6


class Performance(NamedTuple):
    """What a table holds, for one head."""

    params: HeadParameters
    """N frames; shape, neck and translation are zero."""
    fps: float
    notes: tuple[str, ...]
    """What a person should be told of the file, a sentence each."""


def require_arkit(asset: HeadAsset) -> None:
    """Raise HeadModelError unless the head has ARKit's 52 actions by name."""
    missing = [name for name in ACTIONS if direction_of(name) not in asset.expression_names]
    if missing:
        raise HeadModelError(
            f"the head model {asset.name} does not have ARKit's expressions",
            expected=f"{direction_of(ACTIONS[0])}, {direction_of(ACTIONS[1])}, ... ({len(ACTIONS)} names)",
            found=", ".join(asset.expression_names[:SHOWN]),
            fix="use an avatar of the open head; parameters of this head go into an .npz",
        )


def direction_of(action: str) -> str:
    """The head's name of an action: `jawOpen` of `JawOpen`."""
    return action[0].lower() + action[1:]


# -- parameters and columns --------------------------------------------------------------------------------------------


def to_columns(params: HeadParameters, asset: HeadAsset) -> np.ndarray:
    """The 61 columns `[N, 61]` float64, in the order of `COLUMNS`, of N frames of a head with ARKit's names.

    The rotation is that of the skull, neck included. Raises HeadModelError as `require_arkit`.
    """
    require_arkit(asset)
    expr, jaw = (value.detach().double().cpu() for value in (params.expr, params.jaw))
    table = {name: expr[:, asset.expression_names.index(direction_of(name))].numpy().copy() for name in ACTIONS}
    table["JawOpen"] += jaw[:, 0].numpy() / jaw_open_angle(asset)
    aside = jaw[:, 1].numpy() / shift_angle(asset)
    table["JawLeft"] += np.maximum(aside, 0)
    table["JawRight"] += np.maximum(-aside, 0)
    rotation, neck, eyes = (
        axis_angle_to_matrix(value.detach().double().cpu())
        for value in (params.rotation, params.neck, params.eyes.unflatten(1, (2, 3)))
    )
    angles = [*yaw_pitch_roll(rotation @ neck).T]
    for side in (0, 1):
        angles += [*yaw_pitch_roll(eyes[:, side]).T]
    table |= dict(zip(ANGLES, angles, strict=True))
    for name, amount in gaze_actions(table).items():
        table[name] = table[name] + amount
    return np.stack([table[name] for name in COLUMNS], 1)


def from_columns(values: np.ndarray, asset: HeadAsset, jaw_share: float = 1.0) -> HeadParameters:
    """Head parameters of columns `[N, 61]` in the order of `COLUMNS`: the inverse of `to_columns`.

    jaw_share: how much of JawOpen the jaw joint gets; the direction `jawOpen` gets the rest. Raises HeadModelError as
    `require_arkit`.
    """
    require_arkit(asset)
    table = dict(zip(COLUMNS, np.asarray(values, np.float64).T, strict=True))
    for name, amount in gaze_actions(table).items():
        table[name] = table[name] - amount
    opening = table["JawOpen"]
    table["JawOpen"] = (1 - jaw_share) * opening
    params = HeadParameters.neutral(asset, len(values))
    for name in ACTIONS:
        params.expr[:, asset.expression_names.index(direction_of(name))] = torch.as_tensor(table[name]).float()
    params.jaw[:, 0] = torch.as_tensor(jaw_share * jaw_open_angle(asset) * opening).float()
    turns = [rotation_of(np.stack([table[f"{part}{a}"] for a in ("Yaw", "Pitch", "Roll")], 1)) for part in PARTS]
    params.rotation[:] = turns[0]
    params.eyes[:] = torch.cat(turns[1:], 1)
    return params


def gaze_actions(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The amounts `[N]` of the eight EyeLook actions that the eyes' yaw and pitch in `table` stand for."""
    found = {}
    for side, outward in (("Left", 1), ("Right", -1)):
        down, out = table[f"{side}EyePitch"] / FULL_GAZE, outward * table[f"{side}EyeYaw"] / FULL_GAZE
        for name, amount in (("Down", down), ("Up", -down), ("Out", out), ("In", -out)):
            found[f"EyeLook{name}{side}"] = np.maximum(amount, 0)
    return found


def shift_angle(asset: HeadAsset) -> float:
    """Radians of the jaw joint about y that move the chin as far to the person's left as one unit of `jawLeft`."""
    joint = asset.joint_regressor[2] @ asset.template
    weight = asset.weights[:, 2].astype(np.float64)
    lever = weight * (asset.template[:, 2] - joint[2])  # metres to +x per radian
    moved = asset.exprdirs[:, 0, asset.expression_names.index("jawLeft")].astype(np.float64)
    return max(float((lever * moved).sum() / (lever * lever).sum()), 1e-3)


def yaw_pitch_roll(rotation: torch.Tensor) -> np.ndarray:
    """Angles `[N, 3]` in radians of rotations `[N, 3, 3]` as Ry(yaw) Rx(pitch) Rz(roll)."""
    r = rotation.double().numpy()
    pitch = np.arcsin(np.clip(-r[:, 1, 2], -1, 1))
    return np.stack([np.arctan2(r[:, 0, 2], r[:, 2, 2]), pitch, np.arctan2(r[:, 1, 0], r[:, 1, 1])], 1)


def rotation_of(angles: np.ndarray) -> torch.Tensor:
    """Axis-angle `[N, 3]` float32 of yaw, pitch and roll `[N, 3]`, radians."""
    yaw, pitch, roll = (torch.as_tensor(angle) for angle in np.asarray(angles, np.float64).T)
    none = torch.zeros_like(yaw)
    y, x, z = (
        axis_angle_to_matrix(torch.stack(axis, 1))
        for axis in ((none, yaw, none), (pitch, none, none), (none, none, roll))
    )
    return matrix_to_axis_angle(y @ x @ z).float()


def timecode(seconds: float) -> str:
    """`HH:MM:SS:FF.mmm` of a time of day: FF.mmm are sixtieths of a second."""
    thousandths = round(seconds % DAY * RATE * 1000)
    whole, part = divmod(thousandths, RATE * 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour % 24:02d}:{minute:02d}:{second:02d}:{part // 1000:02d}.{part % 1000:03d}"


# -- reading -----------------------------------------------------------------------------------------------------------


def has_columns(path: Path) -> bool:
    """Whether a file's first line names a column of Live Link Face; only that line is read."""
    try:
        with opened(path) as rows:
            return any(folded(name) in KNOWN for name in next(rows, []))
    except InputError:
        return False


def read_live_link(path: Path, asset: HeadAsset, jaw_share: float = 1.0) -> Performance:
    """The performance in a Live Link Face CSV, for a head with ARKit's names.

    Columns are matched by name in any order and any case. A missing one is zero throughout and an unknown one is left
    out, both with a note; without the eyes' angles, the EyeLook actions say where they look. jaw_share: see
    `from_columns`. Raises InputError for a file that is no such table, a row of another length, a value that is no
    finite number or out of range, times that run backwards, or too many rows; HeadModelError as `require_arkit`.
    """
    require_arkit(asset)
    with opened(path) as rows:
        header = [name.strip() for name in next(rows, [])]
        places, notes = columns_of(header, path)
        given = [name for name in places if name in INDEX]
        values, times = [], []
        for number, row in enumerate(rows, 2):
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise InputError(
                    f"row {number} of the table has another length than the first",
                    where=path,
                    expected=f"{len(header)} cells",
                    found=len(row),
                )
            DRIVER_FRAMES.require("the driver's length", len(values) + 1, error=InputError, where=path)
            values.append([number_in(row[places[name]], name, number, path) for name in given])
            if TIMECODE in places:
                times.append(seconds_of(row[places[TIMECODE]], number, path))
    if not values:
        raise InputError("the table has no rows", where=path, expected="a row for each frame below the names")
    table = np.zeros((len(values), len(COLUMNS)))
    table[:, [INDEX[name] for name in given]] = values
    _look_by_actions(table, places)
    return Performance(from_columns(table, asset, jaw_share), rate_of(times, path), notes)


@contextmanager
def opened(path: Path) -> Iterator[Iterator[list[str]]]:
    """The rows of a CSV file. Raises InputError where it cannot be read as text."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            yield csv.reader(file)
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise InputError("the table cannot be read", where=path, expected="a CSV file in UTF-8", found=cause) from cause


def folded(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


INDEX = {name: index for index, name in enumerate(COLUMNS)}
KNOWN = {folded(name): name for name in (*COLUMNS, TIMECODE, COUNT)}


def columns_of(header: list[str], path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Place of each known column, and notes on missing and unknown ones.

    Raises InputError where none is known or one is there twice.
    """
    places: dict[str, int] = {}
    strange = []
    for place, given in enumerate(header):
        name = KNOWN.get(folded(given))
        if name is None:
            strange.append(given)
        elif name in places:
            raise InputError("a column of the table is there twice", where=path, found=given)
        else:
            places[name] = place
    if not any(name in INDEX for name in places):
        raise InputError(
            "the table has none of Live Link Face's columns",
            where=path,
            expected=f"{TIMECODE}, {COUNT}, {', '.join(COLUMNS[:3])}, ...",
            found=", ".join(header[:SHOWN]) or "an empty file",
        )
    notes = []
    missing = [name for name in (TIMECODE, *COLUMNS) if name not in places]
    if missing:
        rate = f"; without {TIMECODE} it plays at {RATE} frames a second" if TIMECODE in missing else ""
        notes.append(f"{path.name} lacks the columns {', '.join(missing)}, which are zero throughout{rate}")
    for given in strange:
        close = difflib.get_close_matches(folded(given), [*map(folded, missing), *KNOWN], n=1, cutoff=0.5)
        hint = f"; did you mean {KNOWN[close[0]]}?" if close else ""
        notes.append(f"{path.name} has an unknown column {given!r}, which is left out{hint}")
    return places, tuple(notes)


def number_in(cell: str, name: str, row: int, path: Path) -> float:
    """The number in a cell; InputError where it is none, not finite or out of range."""
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        expected, found = "a finite number", cell.strip() or "an empty cell"
        raise InputError(f"{name} in row {row} is no number", where=path, expected=expected, found=found)
    AMOUNTS.require(f"{name} in row {row}", value, error=InputError, where=path)
    return value


def seconds_of(cell: str, row: int, path: Path) -> float:
    """Seconds of a timecode. Raises InputError where it is none."""
    found = re.fullmatch(r"(\d{1,2}):(\d{1,2}):(\d{1,2})[:;](\d{1,3}(?:\.\d+)?)", cell.strip())
    if found is None:
        raise InputError(f"{TIMECODE} in row {row} cannot be read", where=path, expected="HH:MM:SS:FF.mmm", found=cell)
    hours, minutes, seconds, frames = (float(part) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + frames / RATE


def rate_of(times: list[float], path: Path) -> float:
    """Frames per second of rows at `times` in seconds; a recording may pass midnight once.

    Pauses in the recording do not count. Raises InputError where the times run backwards or the rate is none.
    """
    if len(times) < 2:
        return float(RATE)
    steps = np.diff(times)
    steps[steps < -DAY / 2] += DAY
    if (steps < 0).any():
        row = int(np.argmax(steps < 0)) + 3
        raise InputError(f"the times run backwards in row {row}", where=path, expected="rising timecodes")
    usual = steps[steps <= 1.5 * np.median(steps)]
    rate = round(1 / max(float(usual.mean()), 1e-9), 3)
    FPS.require("the rate of the table", rate, error=InputError, where=path)
    return rate


def _look_by_actions(table: np.ndarray, places: dict[str, int]) -> None:
    """Fill in yaw and pitch of the eyes, where the file has neither, from the EyeLook actions; in place."""
    for side, outward in (("Left", 1), ("Right", -1)):
        if f"{side}EyeYaw" in places or f"{side}EyePitch" in places:
            continue
        look = {name: table[:, INDEX[f"EyeLook{name}{side}"]] for name in ("Down", "Up", "Out", "In")}
        table[:, INDEX[f"{side}EyePitch"]] = PHONE_GAZE * (look["Down"] - look["Up"])
        table[:, INDEX[f"{side}EyeYaw"]] = outward * PHONE_GAZE * (look["Out"] - look["In"])
