"""The exported avatar against the rules of VRM 1.0 (VRMC_vrm) and against the head model itself."""

import dataclasses

import numpy as np
import pytest
from export_parts import Glb, performance

from avatar.animation.expressions import known_names
from avatar.app.library import export_avatar
from avatar.base.errors import ConfigError, HeadModelError
from avatar.export.appearance import Appearance
from avatar.export.head_mesh import base_vertices, joints_of, split_at_seams
from avatar.export.terms import Terms
from avatar.export.vrm import write_vrm
from avatar.export.vrm_expressions import MIXTURES

BONE_ABOVE = {"hips": None, "spine": "hips", "chest": "spine", "neck": "chest", "head": "neck", "jaw": "head"}
BONE_ABOVE |= {"leftEye": "head", "rightEye": "head"}
for side in ("left", "right"):
    BONE_ABOVE |= {f"{side}UpperLeg": "hips", f"{side}LowerLeg": f"{side}UpperLeg", f"{side}Foot": f"{side}LowerLeg"}
    BONE_ABOVE |= {f"{side}UpperArm": "chest", f"{side}LowerArm": f"{side}UpperArm", f"{side}Hand": f"{side}LowerArm"}
"""Of the bones written, the nearest above; VRM requires all but chest, neck, jaw and the eyes."""
EMOTIONS = {"happy", "angry", "sad", "relaxed", "surprised"}
PRESET_NAMES = EMOTIONS | {"aa", "ih", "ou", "ee", "oh", "blink", "blinkLeft", "blinkRight", "neutral"}
PRESET_NAMES |= {"lookUp", "lookDown", "lookLeft", "lookRight"}
REQUIRED_META = {"name": str, "authors": list, "licenseUrl": str}
META_CHOICES = {
    "avatarPermission": {"onlyAuthor", "onlySeparatelyLicensedPerson", "everyone"},
    "commercialUsage": {"personalNonProfit", "personalProfit", "corporation"},
    "creditNotation": {"required", "unnecessary"},
    "modification": {"prohibited", "allowModification", "allowModificationRedistribution"},
}
META_FLAGS = {"allowExcessivelyViolentUsage", "allowExcessivelySexualUsage", "allowPoliticalOrReligiousUsage"}
META_FLAGS |= {"allowAntisocialOrHateUsage", "allowRedistribution"}
META_TEXTS = {"name", "version", "copyrightInformation", "licenseUrl", "otherLicenseUrl"}


@pytest.fixture(scope="module")
def identity(head):
    return performance(head)


@pytest.fixture(scope="module")
def written(head, identity, tmp_path_factory):
    path = tmp_path_factory.mktemp("vrm") / "me.vrm"
    return Glb(write_vrm(path, identity, head, Appearance(), "me", Terms("A. Person", "https://example.org/terms")))


@pytest.fixture(scope="module")
def vrm(written):
    assert written.document["extensionsUsed"] == ["VRMC_vrm"]
    return written.document["extensions"]["VRMC_vrm"]


def parents(document):
    return {child: index for index, node in enumerate(document["nodes"]) for child in node.get("children", ())}


def places(document):
    """World position of each node; the nodes at rest only have translations."""
    above = parents(document)
    found = {}
    for index in range(len(document["nodes"])):
        place, at = np.zeros(3), index
        while at is not None:
            assert "rotation" not in document["nodes"][at]
            place = place + document["nodes"][at].get("translation", (0, 0, 0))
            at = above.get(at)
        found[index] = place
    return found


def test_what_the_extension_has(vrm):
    assert set(vrm) == {"specVersion", "meta", "humanoid", "firstPerson", "lookAt", "expressions"}
    assert vrm["specVersion"] == "1.0"
    assert vrm["firstPerson"] == {"meshAnnotations": [{"node": 0, "type": "auto"}]}


def test_meta_keeps_to_the_schema_and_says_synthetic(vrm, written):
    meta = vrm["meta"]
    assert all(isinstance(meta[key], kind) for key, kind in REQUIRED_META.items())
    assert set(meta) <= {*META_CHOICES, *META_FLAGS, *META_TEXTS, "authors"}
    assert all(meta[key] in choices for key, choices in META_CHOICES.items())
    assert all(meta[key] is False for key in META_FLAGS)
    assert all(isinstance(meta[key], str) for key in META_TEXTS)
    assert meta["licenseUrl"] == "https://vrm.dev/licenses/1.0/"
    assert (meta["authors"], meta["otherLicenseUrl"]) == (["A. Person"], "https://example.org/terms")
    assert (meta["avatarPermission"], meta["modification"]) == ("onlyAuthor", "prohibited")
    assert meta["copyrightInformation"].startswith("synthetic: ")
    assert written.document["asset"]["extras"]["synthetic"] is True


def test_the_bones_are_those_required_and_hang_together(vrm, written):
    bones = {name: bone["node"] for name, bone in vrm["humanoid"]["humanBones"].items()}
    assert set(bones) == set(BONE_ABOVE)
    assert len(set(bones.values())) == len(bones)
    above = parents(written.document)
    assert {name: above.get(bones[name]) for name in bones} == {
        name: None if parent is None else bones[parent] for name, parent in BONE_ABOVE.items()
    }
    assert written.document["scenes"][0]["nodes"] == [0, bones["hips"]]
    assert written.document["skins"][0]["skeleton"] == bones["hips"]


def test_it_stands_in_a_t_pose_facing_forward(vrm, written):
    place = {name: places(written.document)[bone["node"]] for name, bone in vrm["humanoid"]["humanBones"].items()}
    heights = [place[name][1] for name in ("leftFoot", "leftLowerLeg", "hips", "spine", "chest", "neck", "head")]
    assert 0 < heights[0] < 0.15
    assert heights == sorted(heights)
    arm = [place[name] for name in ("leftUpperArm", "leftLowerArm", "leftHand")]
    assert arm[0][0] < arm[1][0] < arm[2][0]  # the person's left is +x
    assert np.ptp([bone[1] for bone in arm]) == 0
    assert place["leftEye"][0] > 0 > place["rightEye"][0]
    assert place["leftEye"][2] > place["head"][2]  # towards +z
    for limb in ("UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot"):
        np.testing.assert_array_equal(place["right" + limb], place["left" + limb] * [-1, 1, 1])


def test_at_rest_it_is_the_person_lifted_to_standing_height(head, identity, written):
    """The skin at rest moves nothing: mesh and joints went up together."""
    expected = base_vertices(identity, head)
    lift = written.array(written.primitive["attributes"]["POSITION"]) - expected[split_at_seams(head).vertex]
    np.testing.assert_allclose(lift, np.tile(lift[0], (len(lift), 1)), atol=1e-6)
    place = places(written.document)
    joints = np.stack([place[joint] for joint in written.document["skins"][0]["joints"]])
    np.testing.assert_allclose(joints, joints_of(expected, head) + lift[0], atol=1e-6)
    np.testing.assert_allclose(
        written.array(written.document["skins"][0]["inverseBindMatrices"])[:, :3, 3], -joints, atol=1e-6
    )
    assert "animations" not in written.document


def test_expressions_keep_to_the_schema(vrm, written, head):
    expressions = vrm["expressions"]
    assert set(expressions) == {"preset", "custom"}
    assert set(expressions["preset"]) == PRESET_NAMES
    assert set(expressions["custom"]) == set(head.expression_names)
    assert not set(expressions["custom"]) & PRESET_NAMES
    targets = len(written.primitive["targets"])
    for expression in (*expressions["preset"].values(), *expressions["custom"].values()):
        assert set(expression) <= {"isBinary", "morphTargetBinds", "overrideBlink", "overrideLookAt", "overrideMouth"}
        assert expression["isBinary"] is False
        assert {expression[key] for key in expression if key.startswith("override")} <= {"none", "block", "blend"}
        binds = expression.get("morphTargetBinds", [{"node": 0, "index": 0, "weight": 0.0}])
        assert binds
        for bind in binds:
            assert set(bind) == {"node", "index", "weight"}
            assert bind["node"] == 0
            assert 0 <= bind["index"] < targets
            assert 0 <= bind["weight"] <= 1
        assert len({bind["index"] for bind in binds}) == len(binds)


def moved_by(expression, head):
    return {head.expression_names[bind["index"]]: bind["weight"] for bind in expression.get("morphTargetBinds", ())}


def test_expressions_do_what_they_are_called(vrm, head):
    preset, custom = ({k: moved_by(e, head) for k, e in part.items()} for part in vrm["expressions"].values())
    assert custom == {name: {name: 1.0} for name in head.expression_names}
    assert preset["neutral"] == {}
    assert preset["blink"] == {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
    assert (preset["blinkLeft"], preset["blinkRight"]) == ({"eyeBlinkLeft": 1.0}, {"eyeBlinkRight": 1.0})
    assert preset["lookLeft"] == {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0}
    assert preset["lookRight"] == {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0}
    vowels = {name: preset[name]["jawOpen"] for name in ("aa", "oh", "ee", "ou")}
    assert vowels["aa"] > vowels["oh"] > vowels["ee"]
    assert {"mouthSmileLeft", "mouthSmileRight"} <= set(preset["happy"])
    assert {"browDownLeft", "browDownRight"} <= set(preset["angry"])
    assert {"mouthFrownLeft", "mouthFrownRight"} <= set(preset["sad"])
    for mixture in MIXTURES.values():
        assert set(mixture) <= set(known_names(head))


def test_the_eyes_follow_by_their_bones(vrm, written):
    look = vrm["lookAt"]
    bones = vrm["humanoid"]["humanBones"]
    assert look["type"] == "bone"
    place = places(written.document)
    middle = (place[bones["leftEye"]["node"]] + place[bones["rightEye"]["node"]]) / 2
    np.testing.assert_allclose(place[bones["head"]["node"]] + look["offsetFromHeadBone"], middle, atol=1e-6)
    ranges = [look[f"rangeMap{side}"] for side in ("HorizontalInner", "HorizontalOuter", "VerticalDown", "VerticalUp")]
    assert all(set(limits) == {"inputMaxValue", "outputScale"} for limits in ranges)
    assert all(0 < limits["outputScale"] <= 90 for limits in ranges)


def test_a_head_without_arkits_names_is_refused(head, identity, tmp_path):
    names = tuple(f"expression_{i:02d}" for i in range(head.expression_count))
    with pytest.raises(HeadModelError, match="ARKit"):
        write_vrm(
            tmp_path / "a.vrm", identity, dataclasses.replace(head, expression_names=names), Appearance(), "", Terms()
        )
    assert not list(tmp_path.iterdir())


def test_a_run_becomes_an_avatar_with_careful_terms(tiny_run, tmp_path):
    written, notes = export_avatar(tiny_run, tmp_path / "a.vrm", "vrm")
    assert len(notes) == 1  # the tiny capture has no texture
    meta = Glb(written).document["extensions"]["VRMC_vrm"]["meta"]
    assert (meta["name"], meta["authors"]) == (tiny_run.name, ["not stated"])
    assert "otherLicenseUrl" not in meta


@pytest.mark.parametrize(
    ("format", "options", "words"),
    [
        ("glb", {"author": "me"}, "--author and --licence are for vrm"),
        ("vrm", {"licence": "my terms"}, "--licence is no web address"),
        ("vrm", {"author": " "}, "--author is empty"),
    ],
)
def test_terms_that_make_no_sense(tmp_path, format, options, words):
    with pytest.raises(ConfigError, match=words):
        export_avatar(tmp_path / "run", tmp_path / f"a.{format}", format, **options)
