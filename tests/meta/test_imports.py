"""Import rules (docs/design.md, The house): downward only, no circles; the lowest packages and the command line start
without heavy packages. Only import statements are read; imports by name (importlib) are not seen."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import PACKAGES, ROOT, imports_of, module_name, python_files, tracked_files

LAYERS = (
    "avatar.base",
    "avatar.media",
    "avatar.config",
    "avatar.geometry",
    "avatar.kernels",
    "avatar.flame",
    "avatar.rendering",
    "avatar.field",
    "avatar.avatar",
    "avatar.data",
    "avatar.synthetic",
    "capture_tools",
    "avatar.training",
    "avatar.animation",
    "avatar.export",
    "avatar.viewer",
    "avatar.app",
)
"""Packages from the lowest up; a module may import from its own layer and from those below it."""

HEAVY = {"torch", "torchvision", "warp", "ai_edge_litert", "cv2"}
ONLY_WHERE_USED = {
    "ai_edge_litert",
    "tinycudann",
    "nerfacc",
    "pytorch3d",
    "lpips",
    "pycolmap",
    "anny",
    "c2pa",
    "smplx",
    "viser",
    "websockets",
}
"""Never imported at module level: optional, or slow to start."""
MOST_LINES = 400


def layer_of(module: str) -> int | None:
    """The layer of a module of the project, None for modules of others; fails for one that is in no layer."""
    if module.split(".")[0] not in PACKAGES or module in ("avatar", "avatar.__version__"):
        return None
    for layer, name in enumerate(LAYERS):
        if module == name or module.startswith(name + "."):
            return layer
    pytest.fail(f"{module} is in no layer: add it to LAYERS and to docs/design.md")


def package_files() -> list[Path]:
    files = python_files(*PACKAGES)
    assert len(files) > 20, "the walk must see the package"
    return files


def import_graph() -> dict[str, dict[str, int]]:
    """Module -> the project's modules that it imports, lazily or not, and the line of each."""
    modules = {module_name(path): path for path in package_files()}
    graph: dict[str, dict[str, int]] = {}
    for name, path in modules.items():
        graph[name] = {}
        for imported in imports_of(path):
            target = imported.module if imported.module in modules else imported.module.rpartition(".")[0]
            if target in modules and target != name:
                graph[name].setdefault(target, imported.line)
    return graph


def circles(graph: dict[str, dict[str, int]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan 1972), of two nodes and more."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        stack.append(node)
        for target in graph.get(node, {}):
            if target not in order:
                visit(target)
                lowest[node] = min(lowest[node], lowest[target])
            elif target in stack:
                lowest[node] = min(lowest[node], order[target])
        if lowest[node] == order[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in order:
            visit(node)
    return found


def test_imports_point_downward():
    upward = [
        f"{module}:{line} (floor {layer_of(module)}) imports {target} (floor {layer_of(target)})"
        for module, targets in import_graph().items()
        for target, line in targets.items()
        if layer_of(module) is not None and layer_of(target) is not None and layer_of(target) > layer_of(module)
    ]
    assert not upward, "\n".join(upward)


def test_no_module_is_in_a_circle():
    assert circles(import_graph()) == []


def test_no_folder_is_in_a_circle():
    """Folders import each other in one direction; a package's root modules (`avatar.config`) are rooms of their own."""
    rooms: dict[str, dict[str, int]] = {}
    for module, targets in import_graph().items():
        for target, line in targets.items():
            if room_of(module) != room_of(target):
                rooms.setdefault(room_of(module), {})[room_of(target)] = line
    assert circles(rooms) == []


def room_of(module: str) -> str:
    """The folder a module stands in; modules at a package's root, and what stands over subfolders, are their own."""
    path = ROOT / module.replace(".", "/")
    folder = module if path.is_dir() else module.rpartition(".")[0]
    has_subfolders = any(child.is_dir() and child.name.isidentifier() for child in folder_path(folder).iterdir())
    return module if has_subfolders else folder


def folder_path(package: str) -> Path:
    return ROOT / package.replace(".", "/")


def test_only_the_application_imports_the_capture_tools():
    below = [
        f"{module}:{line} imports {target}"
        for module, targets in import_graph().items()
        for target, line in targets.items()
        if target.startswith("capture_tools") and not module.startswith(("capture_tools", "avatar.app"))
    ]
    assert not below, "\n".join(below)


def test_few_modules_stand_at_the_root():
    assert sorted(path.name for path in (ROOT / "avatar").glob("*.py")) == ["__init__.py", "avatar.py"]


def test_the_picture_in_the_docs_is_the_house():
    """docs/design.md draws each floor and what it imports: `package  <-  packages`, exactly as the code does."""
    drawn = {}
    for line in (ROOT / "docs" / "design.md").read_text().splitlines():
        package, arrow, imported = line.partition("<-")
        if arrow and package.split() and package.split()[-1].replace("/", ".") in LAYERS:
            drawn[package.split()[-1].replace("/", ".")] = set(imported.split()) - {"-"}
    measured: dict[str, set[str]] = {name: set() for name in LAYERS}
    for module, targets in import_graph().items():
        for target in targets:
            here, there = layer_of(module), layer_of(target)
            if here is not None and there is not None and here != there:
                measured[LAYERS[here]].add(LAYERS[there].removeprefix("avatar."))
    width = max(map(len, LAYERS))
    picture = "\n".join(
        f"{name.replace('.', '/'):<{width}}  <-  {' '.join(n for n in short_names() if n in measured[name]) or '-'}"
        for name in reversed(LAYERS)
    )
    assert drawn == measured, f"the picture should be:\n{picture}"


def short_names() -> list[str]:
    return [name.removeprefix("avatar.") for name in LAYERS]


def test_rendering_never_sees_a_model():
    """rendering/ takes functions (density, colour) and does not import the field."""
    seen = [
        f"{path.relative_to(ROOT)}:{imported.line}"
        for path in package_files()
        if module_name(path).startswith("avatar.rendering")
        for imported in imports_of(path)
        if imported.module.startswith("avatar.field")
    ]
    assert not seen, "\n".join(seen)


def test_the_product_never_imports_its_tests_or_scripts():
    for path in package_files():
        for imported in imports_of(path):
            assert imported.module.split(".")[0] not in ("tests", "scripts", "pytest"), f"{path}:{imported.line}"


def test_the_lowest_layers_are_light():
    """base, media and config have no heavy import at module level."""
    heavy = [
        f"{path.relative_to(ROOT)}:{imported.line} {imported.module}"
        for path in package_files()
        if layer_of(module_name(path)) in (None, 0, 1, 2)
        for imported in imports_of(path)
        if imported.top and imported.module.split(".")[0] in HEAVY
    ]
    assert not heavy, "\n".join(heavy)


def test_optional_and_slow_packages_are_imported_where_used():
    early = []
    for path in package_files():
        for imported in imports_of(path):
            package = imported.module.split(".")[0]
            # Warp's kernels are module-level functions, so their own files import it; those are imported lazily.
            kernels = package == "warp" and not module_name(path).startswith("avatar.kernels.")
            if imported.top and (package in ONLY_WHERE_USED or kernels):
                early.append(f"{path.relative_to(ROOT)}:{imported.line} {imported.module}")
    assert not early, "\n".join(early)


def test_the_walk_sees_what_it_should(tmp_path, monkeypatch):
    """The import walk finds nested, relative and lazy imports of one sample file."""
    import source_tree

    monkeypatch.setattr(source_tree, "ROOT", tmp_path)
    path = tmp_path / "avatar" / "data" / "thing.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import torch\nfrom avatar.app.cli import main\nfrom . import sibling\nfrom ..flame import model\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cv2\n"
        "def f():\n    import warp\n    if True:\n        from avatar.training import trainer\n"
        "class C:\n    import json\n"
    )
    found = {(i.module, i.top) for i in source_tree.imports_of(path)}
    assert found == {
        ("torch", True),
        ("avatar.app.cli.main", True),
        ("avatar.data.sibling", True),
        ("avatar.flame.model", True),
        ("typing.TYPE_CHECKING", True),
        ("cv2", False),
        ("warp", False),
        ("avatar.training.trainer", False),
        ("json", True),
    }
    assert layer_of("avatar.app.cli.main") > layer_of("avatar.data.thing") > layer_of("avatar.flame.model")


def test_the_command_line_starts_without_torch():
    code = "import sys, avatar.app.cli; print(sorted({name.split('.')[0] for name in sys.modules}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(ast.literal_eval(found.stdout))
    assert "avatar" in loaded
    assert not loaded & (HEAVY | ONLY_WHERE_USED | {"scipy", "tensorboard", "imageio", "av"})


def test_no_file_is_too_long():
    long = []
    for path in tracked_files():
        if path.suffix in (".py", ".sh"):
            lines = len(path.read_text().splitlines())
            if lines > MOST_LINES:
                long.append(f"{path.relative_to(ROOT)}: {lines} lines, at most {MOST_LINES}")
    assert not long, "\n".join(long)


def test_test_files_have_names_of_their_own():
    """pytest imports them by their bare names: two of one name stop the whole suite."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
