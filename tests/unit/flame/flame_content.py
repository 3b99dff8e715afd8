"""What a small FLAME file holds, and whether a head was read from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from avatar.flame.assets import HeadAsset

V, S = 12, 103


def flame_content() -> dict[str, Any]:
    """The arrays of a FLAME pickle of V vertices and S shape directions, the last 100 of them expression."""
    rng = np.random.default_rng(0)
    regressor = rng.random((5, V)) * (rng.random((5, V)) > 0.5)
    return {
        "v_template": rng.normal(0, 0.1, (V, 3)),
        "f": rng.integers(0, V, (20, 3)).astype(np.uint32),
        "shapedirs": rng.normal(0, 0.01, (V, 3, S)),
        "posedirs": rng.normal(0, 0.01, (V, 3, 36)),
        "J_regressor": regressor,
        "weights": rng.dirichlet([1] * 5, V),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.uint32),
        "J": np.zeros((5, 3)),
        "bs_style": "lbs",
    }


def check(asset: HeadAsset, content: dict[str, Any]) -> None:
    assert np.allclose(asset.template, content["v_template"], atol=1e-7)
    assert np.array_equal(asset.faces, content["f"])
    assert np.allclose(asset.shapedirs, content["shapedirs"][..., :3], atol=1e-7)
    assert np.allclose(asset.exprdirs, content["shapedirs"][..., 3:], atol=1e-7)
    assert np.allclose(asset.joint_regressor, content["J_regressor"], atol=1e-7)
    assert asset.parents == (-1, 0, 1, 1, 1)
