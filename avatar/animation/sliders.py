"""The sliders of the expression panel: every expression of the head once, by region, with names people understand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avatar.animation.expressions import AMOUNT_LIMIT, JOINT_CONTROLS, PRESETS, SIDES
from avatar.animation.transfer import region_of

if TYPE_CHECKING:
    from avatar.flame.assets import HeadAsset

OTHER = "Other"
TITLES = {"brows": "Brows", "eyes": "Eyes", "gaze": "Gaze", "cheeks": "Cheeks and nose", "jaw": "Jaw", "mouth": "Mouth"}
"""Regions (`animation.transfer`) as people read them, in the order of the page."""
WORDS = {
    "browDown": "Brow down",
    "browInnerUp": "Inner brows up",
    "browOuterUp": "Outer brow up",
    "cheekPuff": "Puff the cheeks",
    "cheekSquint": "Cheek up",
    "eyeBlink": "Eye shut",
    "eyeLookDown": "Eye looks down",
    "eyeLookIn": "Eye looks to the nose",
    "eyeLookOut": "Eye looks outwards",
    "eyeLookUp": "Eye looks up",
    "eyeSquint": "Eye squinted",
    "eyeWide": "Eye wide open",
    "jawForward": "Jaw forward",
    "jawLeft": "Jaw to the left",
    "jawOpen": "Mouth open (jaw)",
    "jawRight": "Jaw to the right",
    "lookDown": "Look down",
    "lookLeft": "Look left",
    "lookRight": "Look right",
    "lookUp": "Look up",
    "mouthClose": "Lips closed over an open jaw",
    "mouthDimple": "Dimple",
    "mouthFrown": "Corner of the mouth down",
    "mouthFunnel": "Lips as for 'oh'",
    "mouthLeft": "Mouth to the left",
    "mouthLowerDown": "Lower lip down",
    "mouthPress": "Lips pressed",
    "mouthPucker": "Lips puckered",
    "mouthRight": "Mouth to the right",
    "mouthRollLower": "Lower lip rolled in",
    "mouthRollUpper": "Upper lip rolled in",
    "mouthShrugLower": "Chin raised",
    "mouthShrugUpper": "Upper lip raised",
    "mouthSmile": "Smile",
    "mouthStretch": "Corner of the mouth stretched",
    "mouthUpperUp": "Upper lip up",
    "noseSneer": "Nose wrinkled",
    "tongueOut": "Tongue out",
}
WHOLE = ("browInnerUp", "jawLeft", "jawRight", "mouthLeft", "mouthRight", "lookLeft", "lookRight")
"""Names that are no half of a pair, whatever they end in."""


@dataclass(frozen=True)
class Slider:
    """One slider: the expression's name, what people read, and its range."""

    name: str
    label: str
    low: float
    high: float


def slider_groups(asset: HeadAsset) -> dict[str, list[Slider]]:
    """Region -> its sliders: each direction of the head once, and those joint controls that no direction replaces.

    Directions without a name people know (an imported head numbers its own) are under "Other", from -2 to 2.
    """
    names = [*asset.expression_names, *(name for name in JOINT_CONTROLS if name not in asset.expression_names)]
    groups: dict[str, list[Slider]] = {title: [] for title in (*TITLES.values(), OTHER)}
    for name in names:
        known = stem_of(name) in WORDS
        low, high = (0.0, 1.0) if known else (-AMOUNT_LIMIT, AMOUNT_LIMIT)
        groups[title_of(name) if known else OTHER].append(Slider(name, label_of(name), low, high))
    return {region: sliders for region, sliders in groups.items() if sliders}


def title_of(name: str) -> str:
    """The title of the region of an expression or a joint control."""
    return TITLES["gaze" if name.startswith("look") else region_of(name)]


def stem_of(name: str) -> str:
    """The name without its side, where it is half of a pair: `eyeBlinkLeft` -> `eyeBlink`."""
    return name if name in WHOLE else re.sub(f"({'|'.join(SIDES)})$", "", name)


def label_of(name: str) -> str:
    """What people read: `eyeBlinkLeft` -> `Eye shut, left`."""
    stem = stem_of(name)
    side = name[len(stem) :].lower()
    return WORDS.get(stem, stem) + (f", {side}" if side else "")


def preset_amounts(preset: str, names: Sequence[str]) -> dict[str, float]:
    """The amounts of single sliders that make up a preset: names without a side become both sides.

    names: the expressions of the head. Joint controls stay as they are.
    """
    amounts: dict[str, float] = {}
    for part, amount in PRESETS[preset].items():
        for name in [part] if part in names or part in JOINT_CONTROLS else [part + side for side in SIDES]:
            amounts[name] = amount
    return amounts
