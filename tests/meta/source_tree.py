"""The project's own files, for tests that read source code."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("avatar", "capture_tools")


@dataclass(frozen=True)
class Import:
    """One imported module, as written in a file."""

    module: str
    line: int
    top: bool
    """Runs when the file is imported: not inside a function, not under `if TYPE_CHECKING`."""


def tracked_files() -> list[Path]:
    """Files under version control; in an unpacked archive without git, all files outside hidden folders."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True, text=True)
        files = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        files = [p for p in ROOT.rglob("*") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)]
    return sorted(path for path in files if path.is_file())


def python_files(*folders: str) -> list[Path]:
    """Tracked Python files below the given top-level folders (all where none is given)."""
    files = [path for path in tracked_files() if path.suffix == ".py"]
    return [path for path in files if not folders or path.relative_to(ROOT).parts[0] in folders]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def module_name(path: Path) -> str:
    """`avatar/data/capture.py` -> `avatar.data.capture`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports_of(path: Path) -> list[Import]:
    """Every import statement of a file, also those inside functions, as absolute module names.

    `from a import b` gives `a.b`: whether b is a module or a name makes no difference to its layer.
    """
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    return list(walk_imports(parse(path), package, top=True))


def walk_imports(node: ast.AST, package: list[str], top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = top and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            inside = False
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else []
            origin = ".".join([*base, *([child.module] if child.module else [])])
            yield from (Import(f"{origin}.{alias.name}", child.lineno, top) for alias in child.names)
        yield from walk_imports(child, package, inside)
