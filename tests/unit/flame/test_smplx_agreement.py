"""The same FLAME-format file in smplx.FLAME and here: the same vertices and joints."""

import pickle

import numpy as np
import pytest
import torch

from avatar.flame.importing import read_flame
from avatar.flame.model import HeadModel, HeadParameters

smplx = pytest.importorskip("smplx")


def write_flame_file(folder, rng, vertices=300):
    """A random head of FLAME's layout: 300 shape, 100 expression directions, 36 pose directions, 5 joints."""
    regressor = rng.random((5, vertices)) ** 20
    weights = rng.dirichlet([0.3] * 5, vertices)
    faces = rng.integers(0, vertices, (500, 3))
    content = {
        "v_template": rng.normal(0, 0.08, (vertices, 3)),
        "f": faces.astype(np.uint32),
        "shapedirs": rng.normal(0, 0.001, (vertices, 3, 400)),
        "posedirs": rng.normal(0, 0.002, (vertices, 3, 36)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.int64),
        "J": np.zeros((5, 3)),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    with open(folder / "FLAME_NEUTRAL.pkl", "wb") as stream:
        pickle.dump(content, stream, protocol=2)
    with open(folder / "flame_static_embedding.pkl", "wb") as stream:
        pickle.dump({"lmk_face_idx": np.zeros(51, np.int64), "lmk_b_coords": np.full((51, 3), 1 / 3)}, stream)
    return folder / "FLAME_NEUTRAL.pkl"


def test_vertices_equal_smplx_over_100_random_parameter_sets(tmp_path):
    rng = np.random.default_rng(0)
    path = write_flame_file(tmp_path, rng)
    peer = smplx.FLAME(str(tmp_path), num_betas=300, num_expression_coeffs=100, batch_size=100)
    asset = read_flame(path)
    assert (asset.shape_count, asset.expression_count) == (300, 100)

    def draw(scale, *shape):
        return torch.tensor(rng.normal(0, scale, shape), dtype=torch.float32)

    pose = {name: draw(0.6, 100, 3) for name in ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")}
    betas, expression, translation = draw(1, 100, 300), draw(1, 100, 100), draw(0.5, 100, 3)
    with torch.no_grad():
        theirs = peer(betas=betas, expression=expression, transl=translation, **pose)
        ours = HeadModel(asset)(
            HeadParameters(
                shape=betas,
                expr=expression,
                rotation=pose["global_orient"],
                translation=translation,
                neck=pose["neck_pose"],
                jaw=pose["jaw_pose"],
                eyes=torch.cat([pose["leye_pose"], pose["reye_pose"]], 1),
            )
        )
    assert (theirs.vertices - ours.vertices).abs().max() < 1e-5
    assert (theirs.joints[:, :5] - ours.joints).abs().max() < 1e-5
