"""A run's head as a VRM 1.0 avatar: the .glb without its clip, with bones, expressions, gaze and terms.

VRM asks for a whole person. The mesh is the head alone, so the bones below it are a plain skeleton of a standing adult
that moves nothing; the head stands on its neck, its feet at the origin.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.animation.live_link import require_arkit
from avatar.base.files import write_bytes
from avatar.base.provenance import provenance_line
from avatar.export.gltf import glb
from avatar.export.head_mesh import FIRST_JOINT, MESH_NODE, base_vertices, head_file, joints_of
from avatar.export.vrm_expressions import expressions
from avatar.flame.assets import JOINT_NAMES

if TYPE_CHECKING:
    from avatar.export.appearance import Appearance
    from avatar.export.terms import Terms
    from avatar.flame.assets import HeadAsset
    from avatar.flame.model import HeadParameters

EXTENSION = "VRMC_vrm"
LICENSE_URL = "https://vrm.dev/licenses/1.0/"
"""The one value that VRM 1.0 takes; other terms stand in `otherLicenseUrl`."""
UNKNOWN_AUTHOR = "not stated"
CAREFUL = {
    "avatarPermission": "onlyAuthor",
    "allowExcessivelyViolentUsage": False,
    "allowExcessivelySexualUsage": False,
    "commercialUsage": "personalNonProfit",
    "allowPoliticalOrReligiousUsage": False,
    "allowAntisocialOrHateUsage": False,
    "creditNotation": "required",
    "allowRedistribution": False,
    "modification": "prohibited",
}
"""The likeness of a person: what nobody allowed is not allowed."""

HEAD_BONES = {"neck": "root", "head": "neck", "jaw": "jaw", "leftEye": "left_eye", "rightEye": "right_eye"}
"""VRM's bone -> the head model's joint: FLAME's root lies at the bottom of the neck, its neck under the skull."""
Bone = tuple[str | None, tuple[float, float, float]]
"""The bone above, and the place in the T-pose, metres."""
NECK = (0.0, 1.45, 0.0)
TRUNK: dict[str, Bone] = {
    "hips": (None, (0.0, 0.93, 0.0)),
    "spine": ("hips", (0.0, 1.05, 0.0)),
    "chest": ("spine", (0.0, 1.20, 0.0)),
}
LIMBS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "UpperArm": ("chest", (0.17, 1.38, 0.0)),
    "LowerArm": ("UpperArm", (0.45, 1.38, 0.0)),
    "Hand": ("LowerArm", (0.70, 1.38, 0.0)),
    "UpperLeg": ("hips", (0.09, 0.88, 0.0)),
    "LowerLeg": ("UpperLeg", (0.09, 0.48, 0.0)),
    "Foot": ("LowerLeg", (0.09, 0.08, 0.0)),
}
"""Those on the person's left; mirrored on the right."""
EYE_RANGES = {"HorizontalInner": 30.0, "HorizontalOuter": 30.0, "VerticalDown": 20.0, "VerticalUp": 20.0}
"""Degrees up to which the eyes follow a target; beyond, they stay there."""


def write_vrm(
    path: Path, identity: HeadParameters, asset: HeadAsset, appearance: Appearance, name: str, terms: Terms
) -> Path:
    """Write the head of `identity` (its `shape` and `static_offset`) as `path`; name: the avatar's.

    Metres, y up, the face towards +z, arms to the sides. Raises HeadModelError for a head without ARKit's names,
    OutputError where the file cannot be written.
    """
    require_arkit(asset)
    base = base_vertices(identity.detach().to("cpu"), asset)
    base = base + (np.array(NECK) - joints_of(base, asset)[0])
    head = head_file(base, asset, appearance)
    bones = {bone: FIRST_JOINT + JOINT_NAMES.index(joint) for bone, joint in HEAD_BONES.items()}
    nodes, bones = with_body(head.document["nodes"], bones)
    document = head.document | {
        "nodes": nodes,
        "scenes": [{"name": "avatar", "nodes": [MESH_NODE, bones["hips"]]}],
        "skins": [skin | {"skeleton": bones["hips"]} for skin in head.document["skins"]],
        "extensionsUsed": [EXTENSION],
        "extensions": {
            EXTENSION: {
                "specVersion": "1.0",
                "meta": meta(name, terms),
                "humanoid": {"humanBones": {bone: {"node": node} for bone, node in bones.items()}},
                "firstPerson": {"meshAnnotations": [{"node": MESH_NODE, "type": "auto"}]},
                "lookAt": look_at(head.joints),
                "expressions": expressions(asset, MESH_NODE),
            }
        },
    }
    return write_bytes(path, glb(document, head.buffer))


def with_body(nodes: list[dict[str, Any]], bones: dict[str, int]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The head's nodes, whose neck `bones` names, with those of the body, and all bones with their nodes."""
    body: dict[str, Bone] = {**TRUNK, "neck": ("chest", NECK)}
    for side, sign in (("left", 1), ("right", -1)):
        for limb, (above, (x, y, z)) in LIMBS.items():
            body[side + limb] = (above if above in TRUNK else side + above, (sign * x, y, z))
    nodes, bones = [dict(node) for node in nodes], dict(bones)
    for bone in body:
        if bone not in bones:
            bones[bone] = len(nodes)
            nodes.append({"name": bone})
    for bone, (above, place) in body.items():
        offset = np.subtract(place, body[above][1] if above else (0, 0, 0))
        nodes[bones[bone]]["translation"] = offset.tolist()
        if above:
            nodes[bones[above]].setdefault("children", []).append(bones[bone])
    return nodes, bones


def meta(name: str, terms: Terms) -> dict[str, Any]:
    """Name, author and terms of use, careful where they are not given, and that the avatar is synthetic."""
    said = {
        "name": name,
        "version": "1",
        "authors": [terms.author or UNKNOWN_AUTHOR],
        "copyrightInformation": provenance_line(),
        "licenseUrl": LICENSE_URL,
        **CAREFUL,
    }
    return said | ({"otherLicenseUrl": terms.licence} if terms.licence else {})


def look_at(joints: np.ndarray) -> dict[str, Any]:
    """How the eyes follow a target: their bones turn as far as it lies aside; joints: `[J, 3]`, metres."""
    head, left, right = (joints[JOINT_NAMES.index(HEAD_BONES[bone])] for bone in ("head", "leftEye", "rightEye"))
    return {
        "type": "bone",
        "offsetFromHeadBone": ((left + right) / 2 - head).tolist(),
        **{f"rangeMap{side}": {"inputMaxValue": most, "outputScale": most} for side, most in EYE_RANGES.items()},
    }
