"""The exported heads as trimesh reads them; three.js reads them in `test_html_browser`."""

import numpy as np
import pytest
import trimesh
from export_parts import performance

from avatar.export.appearance import Appearance
from avatar.export.clip import Clip
from avatar.export.glb import write_glb
from avatar.export.head_mesh import base_vertices, joints_of, split_at_seams
from avatar.export.terms import Terms
from avatar.export.vrm import NECK, write_vrm


@pytest.mark.parametrize("format", ["glb", "vrm"])
def test_trimesh_reads_the_head_at_rest_with_its_texture(head, tmp_path, format):
    params = performance(head)
    texture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    path, look = tmp_path / f"head.{format}", Appearance(texture=texture)
    base = base_vertices(params, head)
    if format == "glb":
        write_glb(path, Clip(params, np.arange(len(params)) / 25, 25.0), params, head, look)
    else:
        write_vrm(path, params, head, look, "me", Terms())
        base = base + (np.array(NECK) - joints_of(base, head)[0])
    (mesh,) = trimesh.load_scene(path, file_type="glb", process=False).geometry.values()
    layout = split_at_seams(head)
    np.testing.assert_allclose(mesh.vertices, base[layout.vertex], atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, layout.faces)
    np.testing.assert_array_equal(np.asarray(mesh.visual.material.baseColorTexture), texture)
    np.testing.assert_allclose(mesh.visual.uv * [1, -1] + [0, 1], layout.uv, atol=1e-6)
