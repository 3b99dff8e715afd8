"""Named expressions: words a person types, turned into coefficients of a head model.

A head model names its expression directions (the open head: Apple's ARKit blendshape names). Beside those names
there are joint controls (jaw and eyes, which every FLAME head has) and friendly presets made of both.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from avatar.errors import ConfigError

JOINT_CONTROLS: dict[str, tuple[str, int, float]] = {
    # name: joint parameter, component, radians at amount 1. FLAME axes: x to the person's left, y up, z forward.
    "jawOpen": ("jaw", 0, 0.35),
    "jawTurnLeft": ("jaw", 1, 0.12),
    "jawTurnRight": ("jaw", 1, -0.12),
    "lookUp": ("eyes", 0, -0.35),
    "lookDown": ("eyes", 0, 0.35),
    "lookLeft": ("eyes", 1, 0.5),
    "lookRight": ("eyes", 1, -0.5),
}
"""Used where the head has no expression direction of that name. Eye controls turn both eyes."""

PRESETS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {"mouthSmile": 0.9, "cheekSquint": 0.4, "eyeSquint": 0.2},
    "open_mouth": {"jawOpen": 0.8},
    "surprise": {"jawOpen": 0.6, "browInnerUp": 0.9, "browOuterUp": 0.8, "eyeWide": 0.8},
    "frown": {"mouthFrown": 0.8, "browDown": 0.8, "mouthShrugLower": 0.3},
    "anger": {"browDown": 1.0, "eyeSquint": 0.5, "noseSneer": 0.6, "mouthPress": 0.5},
    "disgust": {"noseSneer": 1.0, "mouthUpperUp": 0.6, "browDown": 0.4},
    "blink": {"eyeBlink": 1.0},
    "wink": {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.5, "mouthSmileLeft": 0.3},
    "kiss": {"mouthPucker": 1.0},
    "laugh": {"mouthSmile": 1.0, "jawOpen": 0.5, "cheekSquint": 0.7, "eyeSquint": 0.4},
}
"""Friendly presets; a name without Left or Right stands for both sides."""

AMOUNT_LIMIT = 2.0
SIDES = ("Left", "Right")


@dataclass(frozen=True)
class ExpressionVector:
    """Coefficients of one expression at full amount: expr [E], jaw [3] and eyes [6] (axis-angle, radians)."""

    expr: torch.Tensor
    jaw: torch.Tensor
    eyes: torch.Tensor

    def scaled(self, amount: float) -> ExpressionVector:
        return ExpressionVector(self.expr * amount, self.jaw * amount, self.eyes * amount)


def known_names(expression_names: Iterable[str]) -> list[str]:
    """Every name that `expression_vector` takes for a head with these expression directions."""
    names = list(expression_names)
    both = [name[: -len("Left")] for name in names if name.endswith("Left") and name[:-4] + "Right" in names]
    usable = [preset for preset in PRESETS if _preset_fits(preset, names)]
    return sorted({*names, *both, *JOINT_CONTROLS, *usable})


def parse_amounts(text: str) -> dict[str, float]:
    """`"smile=0.7,jawOpen=0.3"` to `{"smile": 0.7, "jawOpen": 0.3}`; a bare name means amount 1.

    Raises ConfigError for a malformed part or an amount beyond 2 in size.
    """
    amounts: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        try:
            amount = float(value) if equals else 1.0
        except ValueError:
            amount = math.nan
        if not name or not abs(amount) <= AMOUNT_LIMIT:
            raise ConfigError(
                "an expression cannot be read",
                expected=f"NAME or NAME=AMOUNT with an amount between -{AMOUNT_LIMIT:g} and {AMOUNT_LIMIT:g}, joined by commas",
                found=part or "nothing",
            )
        amounts[name] = amounts.get(name, 0.0) + amount
    return amounts


def expression_vector(amounts: Mapping[str, float], expression_names: Iterable[str]) -> ExpressionVector:
    """The coefficients that the named amounts add up to.

    expression_names: the head's expression directions, in order [E]. Names are looked up as a preset, an expression
    direction, a pair of them (`mouthSmile` is left and right) and a joint control, in that order.
    Raises ConfigError for a name that the head does not have, with the closest ones it has.
    """
    names = list(expression_names)
    vector = ExpressionVector(torch.zeros(len(names)), torch.zeros(3), torch.zeros(6))
    for name, amount in amounts.items():
        _add(vector, name, amount, names)
    return vector


def _add(vector: ExpressionVector, name: str, amount: float, names: list[str]) -> None:
    if name in PRESETS and _preset_fits(name, names):
        for part, share in PRESETS[name].items():
            _add(vector, part, amount * share, names)
    elif name in names:
        vector.expr[names.index(name)] += amount
    elif all(name + side in names for side in SIDES):
        for side in SIDES:
            vector.expr[names.index(name + side)] += amount
    elif name in JOINT_CONTROLS:
        joint, component, radians = JOINT_CONTROLS[name]
        if joint == "jaw":
            vector.jaw[component] += amount * radians
        else:
            vector.eyes[component] += amount * radians
            vector.eyes[component + 3] += amount * radians
    else:
        raise unknown_expression(name, known_names(names))


def unknown_expression(name: str, known: list[str]) -> ConfigError:
    """The error for a name nobody knows, listing the closest known ones."""
    folded = {_fold(candidate): candidate for candidate in known}
    close = [folded[match] for match in difflib.get_close_matches(_fold(name), list(folded), n=5, cutoff=0.5)]
    close += [candidate for candidate in known if _fold(name) in _fold(candidate) and candidate not in close][:5]
    hint = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(known)}"
    return ConfigError("the head has no expression of that name", found=name, fix=hint)


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _preset_fits(preset: str, names: list[str]) -> bool:
    """Whether the head has every direction the preset is made of (imported heads number theirs)."""
    return all(
        part in names or part in JOINT_CONTROLS or all(part + side in names for side in SIDES)
        for part in PRESETS[preset]
    )
