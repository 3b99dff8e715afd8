"""The exported page holds all it needs and nothing that leads out of it."""

import base64
import dataclasses
import gzip
import json
import re
import zipfile

import numpy as np
import pytest
import torch
from export_parts import Glb, performance

from avatar.animation.expressions import expression_vector
from avatar.app.library import export_avatar
from avatar.base.errors import MissingDependencyError
from avatar.export import three_js
from avatar.export.appearance import Appearance
from avatar.export.clip import Clip
from avatar.export.glb import head_glb
from avatar.export.html import player_data, write_html


def clip_of(params):
    return Clip(params, np.arange(len(params)) / 25, 25.0)


def element(page: str, name: str) -> str:
    """The text of the `<script>` with an id."""
    (found,) = re.findall(rf'<script[^>]* id="{name}">(.*?)</script>', page, re.DOTALL)
    return found


@pytest.fixture(scope="module")
def page(head, tmp_path_factory):
    params = performance(head)
    path = tmp_path_factory.mktemp("html") / "me.html"
    return write_html(path, clip_of(params), params, head, Appearance(), "</script> & <b>me").read_text("utf-8")


def test_the_page_loads_nothing(page):
    tags = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)
    assert "{{" not in tags
    assert not re.search(r"\bsrc\s*=", tags)
    assert set(re.findall(r'\bhref="([^"]*)"', tags)) == {"data:,"}
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    allowed = dict(part.split(maxsplit=1) for part in policy.split("; "))
    assert allowed.pop("default-src") == "'none'"
    assert {word for part in allowed.values() for word in part.split()} == {"'unsafe-inline'", "blob:", "data:"}


def test_the_page_says_what_it_is_and_keeps_the_licence(page):
    (footer,) = re.findall(r"<footer>(.*?)</footer>", page)
    assert re.fullmatch(r"synthetic: .* flame-avatar \S+ on \d{4}-\d\d-\d\dT\S+", footer)
    assert "<title>&lt;/script&gt; &amp; &lt;b&gt;me</title>" in page
    assert "SPDX-License-Identifier: MIT" in page
    assert "Permission is hereby granted, free of charge" in page


def test_the_model_in_the_page_is_the_glb(page, head, tmp_path):
    path = tmp_path / "inside.glb"
    path.write_bytes(gzip.decompress(base64.b64decode(element(page, "model"))))
    params = performance(head)
    (tmp_path / "own.glb").write_bytes(head_glb(clip_of(params), params, head, Appearance()))
    found, expected = Glb(path), Glb(tmp_path / "own.glb")
    assert found.document["meshes"] == expected.document["meshes"]
    np.testing.assert_array_equal(found.posed(3), expected.posed(3))


def test_sliders_have_names_and_regions(page, head):
    data = json.loads(element(page, "data"))
    assert [group["title"] for group in data["groups"]] == ["Brows", "Eyes", "Gaze", "Cheeks and nose", "Jaw", "Mouth"]
    sliders = {slider["name"]: slider for group in data["groups"] for slider in group["sliders"]}
    targets = [slider["target"] for slider in sliders.values() if slider["target"] is not None]
    assert sorted(targets) == list(range(head.expression_count))
    assert sliders["jawOpen"]["label"] == "Mouth open (jaw)"
    assert (sliders["lookUp"]["target"], len(sliders["lookUp"]["turns"])) == (None, 2)


@pytest.mark.parametrize("name", ["jawOpen", "mouthSmileLeft", "lookLeft", "eyeLookUpLeft", "eyeLookInRight"])
def test_a_slider_does_what_the_expression_does(head, name):
    params = performance(head)
    groups = player_data(clip_of(params), params, head)["groups"]
    (slider,) = (slider for group in groups for slider in group["sliders"] if slider["name"] == name)
    expr, eyes = torch.zeros(head.expression_count), {"left_eye": torch.zeros(3), "right_eye": torch.zeros(3)}
    if slider["target"] is not None:
        expr[slider["target"]] = 1
    for joint, vector in slider["turns"]:
        eyes[joint] += torch.tensor(vector)
    expected = expression_vector({name: 1.0}, head, jaw_share=0.0)
    torch.testing.assert_close(expr, expected.expr)
    torch.testing.assert_close(torch.cat([eyes["left_eye"], eyes["right_eye"]]), expected.eyes)


def test_a_head_with_numbered_expressions_opens_its_mouth_by_the_joint(head):
    names = tuple(f"expression_{i:02d}" for i in range(head.expression_count))
    other = dataclasses.replace(head, expression_names=names)
    params = performance(other)
    groups = {group["title"]: group["sliders"] for group in player_data(clip_of(params), params, other)["groups"]}
    (jaw,) = groups["Jaw"]
    assert (jaw["name"], jaw["target"]) == ("jawOpen", None)
    ((joint, vector),) = jaw["turns"]
    assert (joint, vector[0] > 0.2) == ("jaw", True)
    assert len(groups["Other"]) == head.expression_count


def test_the_camera_looks_at_where_the_clip_holds_the_head(head):
    params = performance(head)
    params.rotation[:] = 0
    params.translation[:] = torch.tensor([0.3, -0.1, 0.2])
    base = player_data(clip_of(params), params, head)
    params.translation[:] = 0
    there = player_data(clip_of(params), params, head)
    np.testing.assert_allclose(np.subtract(base["centre"], there["centre"]), [0.3, -0.1, 0.2], atol=1e-5)
    assert 0.1 < base["radius"] < 0.4


def test_a_run_and_a_driver_become_pages(tiny_run, tmp_path):
    np.savez(tmp_path / "d.npz", expr=np.zeros((3, 52), np.float32), fps=10.0)
    written, notes = export_avatar(tiny_run, tmp_path / "a.html", "html", driver=tmp_path / "d.npz")
    assert len(notes) == 1  # the tiny capture has no texture
    model = tmp_path / "inside.glb"
    model.write_bytes(gzip.decompress(base64.b64decode(element(written.read_text("utf-8"), "model"))))
    clip = Glb(model).document["animations"][0]
    np.testing.assert_allclose(Glb(model).array(clip["samplers"][0]["input"]), [0, 0.1, 0.2], atol=1e-6)


@pytest.mark.parametrize("given", ["nothing", "no archive", "another page"])
def test_without_three_js_nothing_is_written(head, tmp_path, monkeypatch, given):
    package = tmp_path / "trimesh"
    archive = package / three_js.TEMPLATE
    archive.parent.mkdir(parents=True)
    if given == "another page":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(three_js.MEMBER, "<html><script>import 'https://elsewhere'</script></html>")
    spec = None if given == "nothing" else type("Spec", (), {"origin": str(package / "__init__.py")})
    monkeypatch.setattr(three_js.importlib.util, "find_spec", lambda name: spec)
    params = performance(head, 1)
    with pytest.raises(MissingDependencyError, match="pip install trimesh"):
        write_html(tmp_path / "a.html", clip_of(params), params, head, Appearance(), "me")
    assert not (tmp_path / "a.html").exists()
