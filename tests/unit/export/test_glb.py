"""The exported head against the rules of glTF 2.0 and against the head model itself."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from export_parts import FRAMES, Glb, performance
from PIL import Image

from avatar.base.files import write_json
from avatar.export.appearance import Appearance, read_appearance
from avatar.export.clip import Clip
from avatar.export.glb import write_glb
from avatar.export.head_mesh import split_at_seams
from avatar.flame.model import HeadModel
from avatar.media.images import write_png


def clip_of(params):
    return Clip(params, np.arange(len(params)) / 25, 25.0)


@pytest.fixture(scope="module")
def texture():
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def written(head, texture, tmp_path_factory):
    params = performance(head)
    path = tmp_path_factory.mktemp("glb") / "head.glb"
    return Glb(write_glb(path, clip_of(params), params, head, Appearance(texture=texture)))


def test_the_container(written):
    assert (written.magic, written.version, written.length) == (b"glTF", 2, written.size)
    assert [kind for kind, _ in written.chunks] == [b"JSON", b"BIN\0"]
    assert all(len(data) % 4 == 0 for _, data in written.chunks)
    declared = written.document["buffers"][0]["byteLength"]
    assert 0 <= len(written.binary) - declared < 4
    end = 0
    for view in written.document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] >= end
        end = view["byteOffset"] + view["byteLength"]
    assert end <= declared


def test_accessors_fit_their_views_and_state_their_bounds(written):
    sizes = {5126: 4, 5121: 1, 5123: 2, 5125: 4}
    parts = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
    for index, accessor in enumerate(written.document["accessors"]):
        view = written.document["bufferViews"][accessor["bufferView"]]
        length = accessor["count"] * parts[accessor["type"]] * sizes[accessor["componentType"]]
        assert length == view["byteLength"]
        if "min" in accessor:
            values = written.array(index).reshape(accessor["count"], -1)
            np.testing.assert_array_equal(values.min(0), np.float32(accessor["min"]))
            np.testing.assert_array_equal(values.max(0), np.float32(accessor["max"]))
    primitive = written.primitive
    bounded = [primitive["attributes"]["POSITION"], *(target["POSITION"] for target in primitive["targets"])]
    bounded += [sampler["input"] for sampler in written.document["animations"][0]["samplers"]]
    assert all("min" in written.document["accessors"][index] for index in bounded)


def test_the_mesh(written, head):
    primitive = written.primitive
    attributes = {name: written.array(index) for name, index in primitive["attributes"].items()}
    count = len(attributes["POSITION"])
    assert {len(values) for values in attributes.values()} == {count}
    indices = written.array(primitive["indices"])
    assert len(indices) == 3 * len(head.faces)
    assert set(indices.tolist()) == set(range(count))
    np.testing.assert_allclose(attributes["WEIGHTS_0"].sum(1), 1, atol=1e-6)
    assert attributes["JOINTS_0"].max() < 5
    assert not attributes["JOINTS_0"][attributes["WEIGHTS_0"] == 0].any()
    np.testing.assert_allclose(np.linalg.norm(attributes["NORMAL"], axis=1), 1, atol=1e-5)
    for target in primitive["targets"]:
        assert {len(written.array(index)) for index in target.values()} == {count}


def test_names(written, head):
    document = written.document
    names = document["meshes"][0]["extras"]["targetNames"]
    assert names == list(head.expression_names)
    assert len(written.primitive["targets"]) == len(document["meshes"][0]["weights"]) == len(names)
    nodes = [document["nodes"][joint]["name"] for joint in document["skins"][0]["joints"]]
    assert nodes == ["root", "neck", "jaw", "left_eye", "right_eye"]
    (clip,) = document["animations"]
    assert clip["name"] == "clip"
    extras = document["asset"]["extras"]
    assert extras["synthetic"] is True
    assert {"program", "version", "date"} <= set(extras)
    assert document["asset"]["version"] == "2.0"


def test_the_animation(written):
    (clip,) = written.document["animations"]
    for channel in clip["channels"]:
        sampler = clip["samplers"][channel["sampler"]]
        np.testing.assert_allclose(written.array(sampler["input"]), np.arange(FRAMES) / 25, atol=1e-6)
        values = written.array(sampler["output"])
        if channel["target"]["path"] == "rotation":
            np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-6)
            assert ((values[1:] * values[:-1]).sum(1) >= 0).all()  # the short way round
    assert len({(c["target"]["node"], c["target"]["path"]) for c in clip["channels"]}) == len(clip["channels"])


@pytest.mark.parametrize(("jaw", "tolerance"), [(0.0, 1e-4), (0.3, 4e-3)])
def test_posed_as_a_viewer_does_it_is_the_head_model(head, tmp_path, jaw, tolerance):
    params = performance(head, jaw=jaw)
    if jaw:  # the direction is added before the jaw's own rotation would turn what the mouth does besides
        params.expr *= 0.3
    found = Glb(write_glb(tmp_path / "a.glb", clip_of(params), params, head, Appearance()))
    expected = HeadModel(head)(params).vertices.numpy()
    vertex = split_at_seams(head).vertex
    for frame in range(FRAMES):
        error = np.linalg.norm(found.posed(frame) - expected[frame][vertex], axis=1)
        assert error.max() < tolerance
        assert error.mean() < tolerance / 10


def test_the_texture_lies_where_the_map_says(written, head, texture):
    (image,) = written.document["images"]
    view = written.document["bufferViews"][image["bufferView"]]
    data = written.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    picture = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(np.asarray(picture), texture)
    assert "synthetic" in picture.text["Comment"]
    uv = written.array(written.primitive["attributes"]["TEXCOORD_0"])
    corners = written.array(written.primitive["indices"]).reshape(-1, 3)
    np.testing.assert_allclose(uv[corners] * [1, -1] + [0, 1], head.uv[head.uv_faces], atol=1e-6)


def test_a_head_without_map_or_names_of_its_own(head, tmp_path):
    """As FLAME's: colours of vertices, no places in a texture, numbered expressions; unused vertices are left out."""
    names = tuple(f"expression_{i:02d}" for i in range(head.expression_count))
    faces = head.faces[1000:]
    none = {"mediapipe_faces": np.full(478, -1), "ibug_faces": np.full(68, -1), "uv": None, "uv_faces": None}
    other = dataclasses.replace(head, expression_names=names, faces=faces, **none)
    params = performance(other)
    colours = np.random.default_rng(1).uniform(size=(head.vertex_count, 3)).astype(np.float32)
    found = Glb(write_glb(tmp_path / "a.glb", clip_of(params), params, other, Appearance(colours=colours)))
    used = np.unique(faces)
    assert "TEXCOORD_0" not in found.primitive["attributes"]
    np.testing.assert_array_equal(found.array(found.primitive["attributes"]["COLOR_0"]), colours[used])
    np.testing.assert_allclose(found.posed(2), HeadModel(other)(params).vertices[2].numpy()[used], atol=1e-4)
    assert found.document["meshes"][0]["extras"]["targetNames"][:52] == list(names)


def test_a_texture_of_another_map_is_not_taken(head, tmp_path, texture):
    folder = tmp_path / "appearance"
    write_png(folder / "albedo.png", texture)
    write_json(folder / "light.json", {"harmonics": []})
    assert "another texture map" in str(read_appearance(tmp_path, head).note)
    write_json(folder / "light.json", {"uv_fingerprint": head.uv_fingerprint})
    found = read_appearance(tmp_path, head)
    np.testing.assert_array_equal(found.texture, texture)
    assert found.note is None
    assert "not there" in str(read_appearance(None, head).note)


def test_a_single_frame(head, tmp_path):
    params = performance(head, 1)
    found = Glb(write_glb(tmp_path / "a.glb", clip_of(params), params, head, Appearance()))
    expected = HeadModel(head)(params).vertices[0][torch.as_tensor(split_at_seams(head).vertex)].numpy()
    np.testing.assert_allclose(found.posed(0), expected, atol=1e-4)
