"""VRM 1.0's named expressions as mixtures of ARKit's, and each of ARKit's as one of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avatar.animation.expressions import PRESETS, SIDES

if TYPE_CHECKING:
    from avatar.flame.assets import HeadAsset

MIXTURES: dict[str, Mapping[str, float]] = {
    "neutral": {},
    "happy": PRESETS["smile"],
    "angry": PRESETS["anger"],
    "sad": {"mouthFrown": 0.8, "browInnerUp": 0.9, "mouthShrugLower": 0.3, "eyeSquint": 0.2},
    "relaxed": {"mouthSmile": 0.35, "eyeBlink": 0.2, "cheekSquint": 0.15},
    "surprised": PRESETS["surprise"],
    "aa": {"jawOpen": 0.7, "mouthLowerDown": 0.2},
    "ih": {"jawOpen": 0.2, "mouthStretch": 0.4, "mouthUpperUp": 0.2, "mouthLowerDown": 0.3},
    "ou": {"jawOpen": 0.15, "mouthPucker": 0.8, "mouthFunnel": 0.3},
    "ee": {"jawOpen": 0.15, "mouthSmile": 0.4, "mouthStretch": 0.4, "mouthLowerDown": 0.3},
    "oh": {"jawOpen": 0.45, "mouthFunnel": 0.7, "mouthPucker": 0.2},
    "blink": {"eyeBlink": 1.0},
    "blinkLeft": {"eyeBlinkLeft": 1.0},
    "blinkRight": {"eyeBlinkRight": 1.0},
    "lookUp": {"eyeLookUp": 1.0},
    "lookDown": {"eyeLookDown": 1.0},
    "lookLeft": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    "lookRight": {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
}
"""VRM's preset -> ARKit's actions; a name without a side stands for both. A look moves the lids: the eyes are bones."""
OVERRIDABLE = ("overrideBlink", "overrideLookAt", "overrideMouth")
OVERRIDES = {"surprised": {"overrideMouth": "blend"}, "relaxed": {"overrideBlink": "blend"}}
"""What an expression keeps others from adding: an open mouth opened again, a half shut eye shut twice."""


def expressions(asset: HeadAsset, node: int) -> dict[str, Any]:
    """`preset` and `custom` of VRMC_vrm for the morph targets of a head with ARKit's names; node: its mesh's."""
    preset = {name: expression(mixture, asset, node) | OVERRIDES.get(name, {}) for name, mixture in MIXTURES.items()}
    return {"preset": preset, "custom": {name: expression({name: 1.0}, asset, node) for name in asset.expression_names}}


def expression(mixture: Mapping[str, float], asset: HeadAsset, node: int) -> dict[str, Any]:
    """One expression of VRMC_vrm."""
    names = asset.expression_names
    weights = {
        names.index(action): amount
        for part, amount in mixture.items()
        for action in ([part] if part in names else [part + side for side in SIDES])
    }
    binds = [{"node": node, "index": index, "weight": weight} for index, weight in weights.items()]
    found: dict[str, Any] = {"isBinary": False, **dict.fromkeys(OVERRIDABLE, "none")}
    return found | ({"morphTargetBinds": binds} if binds else {})
