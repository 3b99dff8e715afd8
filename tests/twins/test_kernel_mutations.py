"""The comparisons notice a wrong kernel: one line of its source is changed, and its comparison must fail."""

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path

import pytest
import test_blended_grid
import test_frequency
import test_harmonics
import test_hash_grid
import test_march
import test_mesh
import test_mlp
import test_occupancy_kernels
import test_volume_kernels
import test_warp_kernels
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
    "blended grids": lambda: test_blended_grid.test_features_and_gradients_agree("mixed", 65, 3, "cpu"),
    "rays": lambda: test_mesh.test_rays_agree_with_the_twin("cpu", 513),
    "closest points": lambda: test_mesh.test_closest_points_agree_with_the_twin("cpu", False, 1201, 0.05),
    "portable closest points": lambda: test_mesh.test_closest_points_agree_with_the_twin("cpu", True, 1201, 0.05),
    "spread": lambda: test_mesh.test_spread_values_agree_with_the_twin("cpu", False, 1201),
    "portable spread": lambda: test_mesh.test_spread_values_agree_with_the_twin("cpu", True, 1201),
    "march": lambda: test_march.compare("all"),
    "warp": lambda: test_warp_kernels.test_kernel_agrees_with_the_twin(1000, "cpu"),
    "volume": lambda: test_volume_kernels.test_kernels_agree_with_the_twin("many", "cpu"),
    "cells of points": lambda: test_occupancy_kernels.test_points_are_located_as_the_twin_does(9001, "cpu"),
    "memory of cells": lambda: test_occupancy_kernels.test_memories_are_what_the_twin_makes_them(5000, "cpu"),
    "harmonics": lambda: test_harmonics.test_harmonics_agree(5000, "cpu"),
    "frequencies": lambda: test_frequency.test_values_and_gradients_agree(1000, 3, 6),
    "perceptron in bfloat16": lambda: test_mlp.test_bfloat16_is_as_good_as_the_twin_in_bfloat16("density", 1000),
    "perceptron": lambda: test_mlp.test_outputs_and_gradients_agree("deformation", 49),
}
MUTATIONS = [
    # module, comparison, line, changed line; forward first, then backward
    ("hash_grid.cpu", "native hash grid", "weight[3][j] = x * yc", "weight[3][j] = x * bc"),
    ("hash_grid.cpu", "native hash grid", "y1 = y0 + PRIME_Yu", "y1 = y0 + PRIME_Zu"),
    ("hash_grid.cpu", "native hash grid", "= scale * sum[f]", "= sum[f]"),
    ("hash_grid.cpu", "native hash grid", "(d3 - d2) * y * c", "(d3 - d2) * y * z"),
    ("hash_grid.cpu", "native hash grid", "pull[f] = scale * g[f]", "pull[f] = g[f]"),
    ("hash_grid.cpu", "native hash grid", "v[f] += weight[c][j]", "v[f] -= weight[c][j]"),
    ("hash_grid.cpu", "native hash grid", "px[j] < 0.0f || px[j] > 1.0f ? 0.0f : ", ""),
    ("hash_grid.portable", "portable hash grid", "((corner >> 1) & 1)", "((corner >> 2) & 1)"),
    ("hash_grid.portable", "portable hash grid", "range(8)", "range(7)"),
    ("hash_grid.portable", "portable hash grid", "float(level.resolution) * slope", "slope"),
    ("blended_grid.cpu", "blended grids", "total += sum[f * K + k] * share[k]", "total += sum[f * K + k]"),
    ("blended_grid.cpu", "blended grids", "push * sum", "pull * sum"),
    ("mesh.portable", "rays", "wp.vec3(query.u, query.v, 1.0 - query.u - query.v)", "wp.vec3(query.v, query.u, 0.0)"),
    ("mesh.cpu", "closest points", "on_ac ? d2 * by_cc : w", "on_ac ? d1 * by_cc : w"),
    ("mesh.cpu", "closest points", "x - high.x", "x - high.x + 0.02f"),
    ("mesh.cpu", "spread", "best_v[j] * values.data[corner[1]]", "best_v[j] * values.data[corner[2]]"),
    ("mesh.portable", "portable closest points", "query.u, query.v) - points[i])", "query.v, query.u) - points[i])"),
    ("mesh.portable", "portable spread", "query.v * b", "query.v * a"),
    ("march.portable", "march", "point - move", "point + move"),
    ("march.portable", "march", "weight * (part[1]", "weight * (part[0]"),
    ("march.portable", "march", "packed_depth[start + k] = depth[ray, k]", "packed_depth[start + k] = depth[ray, 0]"),
    ("warp.portable", "warp", "point - displacement[i]", "point + displacement[i]"),
    ("warp.portable", "warp", "6.0 * t * (1.0 - t)", "6.0 * t"),
    ("warp.portable", "warp", "share * g[axis] * place", "g[axis] * place"),
    ("volume.portable", "volume", "weights[i] = left - passed", "weights[i] = left"),
    ("volume.portable", "volume", "total + weights[i] * values[i, c]", "total + values[i, c]"),
    ("volume.portable", "volume", "behind + grad_weights[i] * weights[i]", "behind + grad_weights[i]"),
    ("volume.portable", "volume", "grad_values[i, c] = weights[i] * pull", "grad_values[i, c] = pull"),
    ("occupancy.portable", "cells of points", "(x * counts[1] + y)", "(x * counts[0] + y)"),
    ("occupancy.portable", "memory of cells", "wp.max(seen, decay * before)", "wp.max(seen, before)"),
    ("occupancy.portable", "memory of cells", "wp.atomic_max(largest", "wp.atomic_min(largest"),
    ("harmonics.portable", "harmonics", "-1.0925484305920792 * x * z", "1.0925484305920792 * x * z"),
    ("frequency.cpu", "frequencies", "weight[k] * sign * s * r", "weight[k] * s * r"),
    ("frequency.cpu", "frequencies", "- g[angles + k] * out[k]", "+ g[angles + k] * out[k]"),
    ("mlp.cpu", "perceptron", "k + 1 < layer_count", "k < layer_count"),
    ("mlp.cpu", "perceptron", "h[c] <= 0.0f ? 0.0f : d[c]", "d[c]"),
    ("mlp.cpu_bf16", "perceptron in bfloat16", "join(*(const vec*)(from + s", "join(*(const vec*)(from + 0 * s"),
    (
        "mlp.cpu_bf16",
        "perceptron in bfloat16",
        "at / 2 * n + o) * 2 + at % 2",
        "at / 2 * n + o) * 2 + 1 - at % 2",
    ),
]


def kernel_modules() -> list[str]:
    """Full names of all modules below avatar.kernels, imported: later, they would keep what they take from a copy."""
    names = [module.name for module in pkgutil.walk_packages(avatar.kernels.__path__, "avatar.kernels.")]
    for name in names:
        importlib.import_module(name)
    return names


def test_every_kernel_has_a_mutation():
    """Each file with kernels is in the list, so that a new one is not forgotten."""
    with_kernels = {name for name in kernel_modules() if name.split(".")[-1] in ("cpu", "cpu_bf16", "portable")}
    assert with_kernels == {f"avatar.kernels.{module}" for module, *_ in MUTATIONS}


def replace_module(monkeypatch, folder: Path, name: str, old: str, new: str) -> None:
    """Put a changed copy of `avatar.kernels.<name>` in its place until the test ends."""
    kernel_modules()
    original = importlib.import_module(f"avatar.kernels.{name}")
    source = Path(original.__file__).read_text()
    assert old in source, "the mutation's line is no longer there: choose another"
    operation, module = name.split(".")
    file = folder / f"mutant_{operation}_{module}.py"
    # a kernel with the text of another is that one to Warp, and wants its module's struct: no two texts may be the same
    file.write_text(source.replace(old, new, 1).replace("wp.tid()\n", f"wp.tid()  # {folder.name}\n"))
    spec = importlib.util.spec_from_file_location(f"{folder.name}.{file.stem}", file)
    changed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(changed)
    users = [module for key, module in sys.modules.items() if key.startswith("avatar.kernels.")]
    for user in users:
        for key, value in list(vars(user).items()):
            if user is not original and not key.startswith("__") and vars(original).get(key) is value:
                monkeypatch.setattr(user, key, vars(changed)[key])
    monkeypatch.setitem(sys.modules, original.__name__, changed)
    monkeypatch.setattr(importlib.import_module(f"avatar.kernels.{operation}"), module, changed)
    autograd = importlib.import_module("avatar.kernels.hash_grid.autograd")
    # made with the other module's struct
    monkeypatch.setattr(autograd, "_level_structs", autograd._level_structs.__wrapped__)


@pytest.mark.slow
@pytest.mark.parametrize(("module", "comparison", "old", "new"), MUTATIONS, ids=[m[2] for m in MUTATIONS])
def test_a_wrong_kernel_is_noticed(monkeypatch, tmp_path, module, comparison, old, new):
    if module == "mlp.cpu_bf16" and not multiplies_bfloat16():
        pytest.skip("no AVX-512 BF16")
    replace_module(monkeypatch, tmp_path, module, old, new)
    with pytest.raises(AssertionError):
        COMPARISONS[comparison]()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "comparison"), [("hash_grid.cpu", "native hash grid"), ("mesh.cpu", "closest points")]
)
def test_a_copy_that_is_not_wrong_passes(monkeypatch, tmp_path, module, comparison):
    """What is noticed above is the change, not the exchange of the module."""
    replace_module(monkeypatch, tmp_path, module, "wp = get_warp()", "wp = get_warp()  # the same")
    COMPARISONS[comparison]()
