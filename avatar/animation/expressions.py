"""Named expressions, converted to coefficients of a head model.

A head model names its expression directions (the open head: Apple's ARKit blendshape names). Beside those names
there are joint controls (jaw and eyes, which every FLAME head has) and friendly presets made of both.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from avatar.base.errors import ConfigError

if TYPE_CHECKING:
    from avatar.flame.assets import HeadAsset
    from avatar.flame.model import HeadParameters

JOINT_CONTROLS: dict[str, tuple[str, int, float]] = {
    # name: joint parameter, component, radians at amount 1. FLAME axes: x to the person's left, y up, z forward.
    "jawOpen": ("jaw", 0, 0.35),
    "lookUp": ("eyes", 0, -0.35),
    "lookDown": ("eyes", 0, 0.35),
    "lookLeft": ("eyes", 1, 0.45),
    "lookRight": ("eyes", 1, -0.45),
}
"""What every FLAME head can do with its joints. Left is the person's; eye controls rotate both eyes."""

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
    """Coefficients of one expression at full amount: expr `[E]`, jaw `[3]` and eyes `[6]` (axis-angle, radians)."""

    expr: torch.Tensor
    jaw: torch.Tensor
    eyes: torch.Tensor

    def parts(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.expr, self.jaw, self.eyes

    def scaled(self, amount: float) -> ExpressionVector:
        return ExpressionVector(self.expr * amount, self.jaw * amount, self.eyes * amount)


def known_names(asset: HeadAsset) -> list[str]:
    """Every name that `expression_vector` takes for this head."""
    names = list(asset.expression_names)
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
        name = name.strip()
        try:
            amount = float(value) if equals else 1.0
        except ValueError:
            amount = math.nan
        if not name or not abs(amount) <= AMOUNT_LIMIT:
            raise ConfigError(
                "an expression cannot be read",
                expected=f"NAME or NAME=AMOUNT, joined by commas, amounts from -{AMOUNT_LIMIT:g} to {AMOUNT_LIMIT:g}",
                found=part or "nothing",
            )
        amounts[name] = amounts.get(name, 0.0) + amount
    return amounts


def expression_vector(amounts: Mapping[str, float], asset: HeadAsset, *, jaw_share: float = 1.0) -> ExpressionVector:
    """The coefficients that the named amounts add up to.

    Names are looked up as a preset, a joint control, an expression direction of the head and a pair of directions
    (`mouthSmile` is left and right), in that order. Where the head has both a direction and a jaw joint that open
    the mouth, `jaw_share` of `jawOpen` goes to the joint and the rest to the direction. Directions that move an eye
    (`eyeLook...`) rotate its joint too, where the head stores by how much.
    Raises ConfigError for a name that the head does not have, with the closest ones it has.
    """
    vector = ExpressionVector(torch.zeros(asset.expression_count), torch.zeros(3), torch.zeros(6))
    for name, amount in amounts.items():
        _add(vector, name, amount, asset, jaw_share)
    return vector


def _add(vector: ExpressionVector, name: str, amount: float, asset: HeadAsset, jaw_share: float) -> None:
    names = asset.expression_names
    if name in PRESETS and _preset_fits(name, names):
        for part, share in PRESETS[name].items():
            _add(vector, part, amount * share, asset, jaw_share)
    elif name == "jawOpen":
        share = jaw_share if name in names else 1.0
        vector.jaw[0] += amount * share * jaw_open_angle(asset)
        if name in names:
            vector.expr[names.index(name)] += amount * (1.0 - share)
    elif name in JOINT_CONTROLS:
        _, component, radians = JOINT_CONTROLS[name]
        vector.eyes[component] += amount * radians
        vector.eyes[component + 3] += amount * radians
    elif name in names:
        vector.expr[names.index(name)] += amount
        rotations = asset.extras.get("eye_look_rotations")
        if rotations is not None:
            eye = slice(0, 3) if name.endswith("Left") else slice(3, 6)
            vector.eyes[eye] += amount * torch.as_tensor(rotations[names.index(name)], dtype=torch.float32)
    elif all(name + side in names for side in SIDES):
        for side in SIDES:
            _add(vector, name + side, amount, asset, jaw_share)
    else:
        raise unknown_expression(name, known_names(asset))


def jaw_open_angle(asset: HeadAsset) -> float:
    """Rotation of the jaw joint, radians, that opens the mouth wide."""
    return float(asset.extras.get("jaw_open_angle", JOINT_CONTROLS["jawOpen"][2]))


def jaw_share_of(params: HeadParameters, asset: HeadAsset) -> float:
    """How much of the mouth's opening a tracked clip gave to the jaw joint rather than to the direction `jawOpen`.

    An avatar is driven the way it was trained: the field has only seen the mouth open in that way.
    """
    if "jawOpen" not in asset.expression_names:
        return 1.0
    joint = float(params.jaw[:, 0].std(unbiased=False)) / jaw_open_angle(asset)
    direction = float(params.expr[:, asset.expression_names.index("jawOpen")].std(unbiased=False))
    return joint / (joint + direction) if joint + direction > 0 else 1.0


def unknown_expression(name: str, known: list[str]) -> ConfigError:
    """The error for a name nobody knows, listing the closest known ones."""
    folded = {_fold(candidate): candidate for candidate in known}
    close = [folded[match] for match in difflib.get_close_matches(_fold(name), list(folded), n=5, cutoff=0.5)]
    close += [candidate for candidate in known if _fold(name) in _fold(candidate) and candidate not in close][:5]
    hint = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(known)}"
    return ConfigError("the head has no expression of that name", found=name, fix=hint)


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _preset_fits(preset: str, names: Sequence[str]) -> bool:
    """Whether the head has every direction the preset is made of (imported heads number theirs)."""
    return all(
        part in names or part in JOINT_CONTROLS or all(part + side in names for side in SIDES)
        for part in PRESETS[preset]
    )
