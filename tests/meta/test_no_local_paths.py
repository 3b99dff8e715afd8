"""Committed files name no folder of one machine; the code has none of the listed unsafe calls.

Both searches are lists of patterns: a call under another name (`from pickle import load`) is not found.
"""

from __future__ import annotations

import ast
import re

import pytest
from source_tree import PACKAGES, ROOT, parse, python_files, tracked_files

TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".txt", ".json", ".cfg", ".ini", ".html", ".lock", ""}
# Put together here so that this file does not contain what it looks for.
LOCAL_PATHS = re.compile("|".join(f"/{name}/" for name in ("work", "root", "home", "Users")) + r"|[A-Z]:\\\\Users")
LOADERS = {("pickle", "load"), ("pickle", "loads"), ("yaml", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load")}
LOADERS |= {("marshal", "load"), ("marshal", "loads"), ("joblib", "load"), ("torch", "load"), ("os", "system")}


def test_no_file_names_a_folder_of_one_machine():
    found = []
    for path in tracked_files():
        if path.suffix in TEXT:
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                if LOCAL_PATHS.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def unsafe_calls(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, what) of listed unsafe calls, and of handlers that catch every error and do nothing."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in ("eval", "exec", "compile"):
                found.append((node.lineno, f"{function.id}()"))
            if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                called = (function.value.id, function.attr)
                # torch.load is accepted with weights_only=True only.
                safe = called == ("torch", "load") and is_set(node, "weights_only", True)
                if called in LOADERS and not safe:
                    found.append((node.lineno, ".".join(called) + "()"))
            if is_set(node, "allow_pickle", True):
                found.append((node.lineno, "allow_pickle=True"))
            if is_set(node, "shell", True):
                found.append((node.lineno, "shell=True"))
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            if node.type is None:
                found.append((node.lineno, "a bare except"))
            elif broad and all(isinstance(step, (ast.Pass, ast.Continue)) for step in node.body):
                found.append((node.lineno, "an error that is swallowed"))
    return found


def is_set(call: ast.Call, name: str, value: object) -> bool:
    """Whether a call has the keyword argument name=value."""
    return any(k.arg == name and isinstance(k.value, ast.Constant) and k.value.value is value for k in call.keywords)


def test_no_listed_unsafe_call():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in python_files(*PACKAGES, "scripts")
        for line, what in unsafe_calls(parse(path))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import pickle\npickle.load(f)", "pickle.load()"),
        ("eval('1')", "eval()"),
        ("yaml.load(text)", "yaml.load()"),
        ("np.load(path, allow_pickle=True)", "allow_pickle=True"),
        ("torch.load(path)", "torch.load()"),
        ("torch.load(path, weights_only=False)", "torch.load()"),
        ("try:\n    f()\nexcept:\n    g()", "a bare except"),
        ("try:\n    f()\nexcept Exception:\n    pass", "an error that is swallowed"),
        ("subprocess.run(line, shell=True)", "shell=True"),
    ],
)
def test_the_search_finds_what_it_should(code, what):
    assert [found for _, found in unsafe_calls(ast.parse(code))] == [what]


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "np.load(path, allow_pickle=False)",
        "torch.load(path, weights_only=True)",
        "yaml.safe_load(text)",
    ],
)
def test_the_search_leaves_alone_what_is_safe(code):
    assert unsafe_calls(ast.parse(code)) == []
