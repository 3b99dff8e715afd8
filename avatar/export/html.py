"""One page with the head of a run: it turns under the mouse, plays the clip and has a slider for each expression.

The page holds all it needs (the .glb, three.js, its licence) and its security policy lets it load nothing else, so it
opens from disk without a network.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import html
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar.animation.expressions import JOINT_CONTROLS, SIDES, jaw_open_angle
from avatar.animation.sliders import Slider, slider_groups
from avatar.base.files import write_text
from avatar.base.provenance import PROGRAM, provenance, provenance_line
from avatar.export.glb import clip_params, head_glb, local_transforms
from avatar.export.head_mesh import base_vertices, joints_of
from avatar.export.three_js import three_js
from avatar.flame.assets import JOINT_NAMES

if TYPE_CHECKING:
    from avatar.export.appearance import Appearance
    from avatar.export.clip import Clip
    from avatar.flame.assets import HeadAsset
    from avatar.flame.model import HeadParameters

JAW, EYES = JOINT_NAMES[2], JOINT_NAMES[3:5]
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def write_html(
    path: Path, clip: Clip, identity: HeadParameters, asset: HeadAsset, appearance: Appearance, title: str
) -> Path:
    """Write the page of a head and a clip, as `write_glb` takes them; title: its heading.

    Raises MissingDependencyError where three.js is not there, OutputError where the file cannot be written.
    """
    script = three_js()
    model = gzip.compress(head_glb(clip, identity, asset, appearance), 9, mtime=0)
    folder = files("avatar.export") / "page"
    parts = {
        "title": html.escape(title),
        "generator": html.escape(f"{PROGRAM} {provenance()['version']}"),
        "notice": html.escape(provenance_line()),
        "licence": html.escape((folder / "three-license.txt").read_text("utf-8")),
        "style": (folder / "player.css").read_text("utf-8"),
        "script": (folder / "player.js").read_text("utf-8"),
        "three": script,
        "data": json_for_page(player_data(clip, identity, asset)),
        "model": base64.b64encode(model).decode("ascii"),
    }
    page = (folder / "player.html").read_text("utf-8")
    return write_text(path, PLACEHOLDER.sub(lambda found: parts[found[1]], page))


def json_for_page(value: Any) -> str:
    """JSON that can stand inside a `<script>`: no text in it ends the element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def player_data(clip: Clip, identity: HeadParameters, asset: HeadAsset) -> dict[str, Any]:
    """What the player needs beside the .glb: where the head is (metres), and its sliders by region."""
    params = clip_params(clip, identity, asset)
    base = base_vertices(params, asset)
    joints = joints_of(base, asset)
    low, high = base.min(0), base.max(0)
    root = local_transforms(params, joints, asset)[:, 0]
    centre = (root[:, :3, :3] @ ((low + high) / 2 - joints[0]) + root[:, :3, 3]).mean(0)
    groups = [
        {"title": title, "sliders": [slider_data(slider, asset) for slider in sliders]}
        for title, sliders in slider_groups(asset).items()
    ]
    return {"centre": centre.tolist(), "radius": float(np.linalg.norm(high - low) / 2), "groups": groups}


def slider_data(slider: Slider, asset: HeadAsset) -> dict[str, Any]:
    """A slider with what it does at 1: `target`, the morph target, or null; `turns`, joints with axis-angle vectors
    `[3]`, radians."""
    names, name = asset.expression_names, slider.name
    turns: list[tuple[str, list[float]]] = []
    rotations = asset.extras.get("eye_look_rotations")
    if name in names:
        vector = np.zeros(3) if rotations is None else np.asarray(rotations[names.index(name)], np.float64)
        if vector.any():
            turns = [(EYES[0 if name.endswith(SIDES[0]) else 1], vector.tolist())]
    else:
        joint, component, radians = JOINT_CONTROLS[name]
        vector = np.zeros(3)
        vector[component] = jaw_open_angle(asset) if joint == "jaw" else radians
        turns = [(moved, vector.tolist()) for moved in ((JAW,) if joint == "jaw" else EYES)]
    target = names.index(name) if name in names else None
    return {**dataclasses.asdict(slider), "target": target, "turns": turns}
