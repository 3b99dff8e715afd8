"""The comparisons notice a wrong kernel: one line of its source is changed, and its comparison must fail."""

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

import pytest
import test_frequency
import test_fused_mlp
import test_hash_grid
import test_mesh_query
import test_mixed_grid
import test_placement
import test_ray_march
import test_volume_kernels
import torch

import avatar.kernels
from avatar.kernels.mlp.op import multiplies_bfloat16

SPEC = test_hash_grid.SPECS["mixed"]


def compare_hash(kernels: str) -> None:
    weights = torch.tensor([1.0, 0.7, 0.25, 1.0, 1.0])
    test_hash_grid.assert_close(test_hash_grid.compare(SPEC, 301, kernels, tables=2, weights=weights), SPEC)


COMPARISONS = {
    "native hash grid": lambda: compare_hash("native"),
    "portable hash grid": lambda: compare_hash("portable"),
    "closest points": lambda: test_mesh_query.test_closest_points_agree_with_the_twin("cpu", False, 1201, 0.05),
    "spread": lambda: test_mesh_query.test_spread_values_agree_with_the_twin("cpu", False, 1201),
    "portable spread": lambda: test_mesh_query.test_spread_values_agree_with_the_twin("cpu", True, 1201),
    "march": lambda: test_ray_march.compare("all"),
    "volume": lambda: test_volume_kernels.test_kernels_agree_with_the_twin("many", "cpu"),
    "placement": lambda: test_placement.test_kernel_agrees_with_the_twin(1000, "cpu"),
    "mixed grids": lambda: test_mixed_grid.test_features_and_gradients_agree("mixed", 65, 3, "cpu"),
    "frequencies": lambda: test_frequency.test_values_and_gradients_agree(1000, 3, 6),
    "perceptron in bfloat16": lambda: test_fused_mlp.test_bfloat16_is_as_good_as_the_twin_in_bfloat16("density", 1000),
    "perceptron": lambda: test_fused_mlp.test_outputs_and_gradients_agree("deformation", 49),
}
MUTATIONS = [
    ("hash_grid_cpu", "native hash grid", "weight[3][j] = x * yc", "weight[3][j] = x * bc"),
    ("hash_grid_cpu", "native hash grid", "y1 = y0 + PRIME_Yu", "y1 = y0 + PRIME_Zu"),
    ("hash_grid_cpu", "native hash grid", "(d3 - d2) * y * c", "(d3 - d2) * y * z"),
    ("hash_grid_cpu", "native hash grid", "pull[f] = scale * g[f]", "pull[f] = g[f]"),
    ("hash_grid_cpu", "native hash grid", "v[f] += weight[c][j]", "v[f] -= weight[c][j]"),
    ("hash_grid_cpu", "native hash grid", "px[j] < 0.0f || px[j] > 1.0f ? 0.0f : ", ""),
    ("hash_grid_kernels", "portable hash grid", "((corner >> 1) & 1)", "((corner >> 2) & 1)"),
    ("hash_grid_kernels", "portable hash grid", "range(8)", "range(7)"),
    ("hash_grid_kernels", "portable hash grid", "float(level.resolution) * slope", "slope"),
    ("mesh_cpu", "closest points", "on_ac ? d2 * by_cc : w", "on_ac ? d1 * by_cc : w"),
    ("mesh_cpu", "closest points", "x - high.x", "x - high.x + 0.02f"),
    ("mesh_cpu", "spread", "best_v[j] * values.data[corner[1]]", "best_v[j] * values.data[corner[2]]"),
    ("mesh_kernels", "portable spread", "query.v * b", "query.v * a"),
    ("ray_march_kernels", "march", "point - move", "point + move"),
    ("volume_kernels", "volume", "behind + grad_weights[i] * weights[i]", "behind + grad_weights[i]"),
    ("placement_kernels", "placement", "point - shift[i]", "point + shift[i]"),
    ("mixed_grid_cpu", "mixed grids", "push * sum", "pull * sum"),
    ("frequency_cpu", "frequencies", "- g[angles + k] * out[k]", "+ g[angles + k] * out[k]"),
    ("fused_mlp_cpu", "perceptron", "k + 1 < layer_count", "k < layer_count"),
    ("fused_mlp_bf16_cpu", "perceptron in bfloat16", "join(*(const vec*)(from + s", "join(*(const vec*)(from + 0 * s"),
    (
        "fused_mlp_bf16_cpu",
        "perceptron in bfloat16",
        "at / 2 * n + o) * 2 + at % 2",
        "at / 2 * n + o) * 2 + 1 - at % 2",
    ),
]


def replace_module(monkeypatch, folder: Path, name: str, old: str, new: str) -> None:
    """Put a changed copy of `avatar.kernels.<name>` in its place until the test ends."""
    for module in pkgutil.iter_modules(avatar.kernels.__path__):
        importlib.import_module(
            f"avatar.kernels.{module.name}"
        )  # later, they would keep what they import from the copy
    original = importlib.import_module(f"avatar.kernels.{name}")
    source = Path(original.__file__).read_text()
    assert old in source, "the mutation's line is no longer there: choose another"
    file = folder / f"mutant_{name}.py"
    # a kernel with the text of another is that one to Warp, and wants its module's struct: no two texts may be the same
    file.write_text(source.replace(old, new, 1).replace("wp.tid()\n", f"wp.tid()  # {folder.name}\n"))
    spec = importlib.util.spec_from_file_location(f"{folder.name}.{file.stem}", file)
    changed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(changed)
    users = [module for key, module in sys.modules.items() if key.startswith("avatar.kernels.")]
    for module in users:
        for key, value in list(vars(module).items()):
            if module is not original and not key.startswith("__") and vars(original).get(key) is value:
                monkeypatch.setattr(module, key, vars(changed)[key])
    monkeypatch.setitem(sys.modules, original.__name__, changed)
    monkeypatch.setattr(avatar.kernels, name, changed)
    warp_side = importlib.import_module("avatar.kernels.hash_grid.autograd")
    # made with the other module's struct
    monkeypatch.setattr(warp_side, "_level_structs", warp_side._level_structs.__wrapped__)


@pytest.mark.slow
@pytest.mark.parametrize(("module", "comparison", "old", "new"), MUTATIONS, ids=[m[2] for m in MUTATIONS])
def test_a_wrong_kernel_is_noticed(monkeypatch, tmp_path, module, comparison, old, new):
    if module == "fused_mlp_bf16_cpu" and not multiplies_bfloat16():
        pytest.skip("no AVX-512 BF16")
    replace_module(monkeypatch, tmp_path, module, old, new)
    with pytest.raises(AssertionError):
        COMPARISONS[comparison]()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "comparison"), [("hash_grid_cpu", "native hash grid"), ("mesh_cpu", "closest points")]
)
def test_a_copy_that_is_not_wrong_passes(monkeypatch, tmp_path, module, comparison):
    """What is noticed above is the change, not the exchange of the module."""
    replace_module(monkeypatch, tmp_path, module, "wp = get_warp()", "wp = get_warp()  # the same")
    COMPARISONS[comparison]()
