"""Reading of FLAME's own files; no code in them is executed.

FLAME ships as Python pickles: `generic_model.pkl` (2017 to 2020, Python 2, with chumpy arrays and scipy sparse
matrices), `flame2023.pkl` (plain numpy) and `flame2023_Open.pkl`; some tools keep the same arrays as `.npz`. A pickle
can name any function to call, so the unpickler here knows only numpy's array constructors, and gives inert stand-ins
for chumpy's and scipy's classes, whose arrays are then read from their attributes. Neither package is needed.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from avatar.base.errors import HeadModelError
from avatar.base.npz import read_npz
from avatar.flame.assets import FILE_SUFFIXES, PARENTS, HeadAsset, make_head, read_head
from avatar.flame.downloads import MOST_SHOWN, SITE, is_zip, model_content

EXPRESSION_COUNT = 100
"""The last 100 of FLAME's `shapedirs` are expression in every release."""
NEEDED = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
OWN = {"template", "joint_regressor"}
"""What a head written by `save_head` has."""
DOWNLOAD = f"download the model itself, a .pkl or the .zip it comes in, from {SITE}"
OTHER_MODELS = {16: "MANO, a hand", 24: "SMPL, a body", 52: "SMPL-H, a body", 55: "SMPL-X, a body"}
"""Relatives of FLAME by their number of joints, which people take for it."""
_NUMPY_MODULES = (
    "numpy",
    "numpy.core.multiarray",
    "numpy._core.multiarray",
    "numpy.core.numeric",
    "numpy._core.numeric",
)
_NUMPY_NAMES = ("ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer")


class _Inert:
    """Stands in for an object whose class is not wanted; it only takes the attributes the pickle gives it."""

    def __init__(self, *_arguments: object) -> None:
        pass


class _FlameUnpickler(pickle.Unpickler):
    """An unpickler that can make numpy arrays, containers and inert stand-ins, and calls nothing else."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream, encoding="latin1", fix_imports=False)
        # fresh classes for every file, so that no file can change what another sees
        self._inert: dict[tuple[str, str], type] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module in _NUMPY_MODULES and name in _NUMPY_NAMES:
            return _numpy_constructor(module, name)
        if module.split(".")[0] == "chumpy" or module.startswith("scipy.sparse"):
            return self._inert.setdefault((module, name), type(name, (_Inert,), {}))
        if (module, name) in (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")):
            return _make_inert
        if module in ("__builtin__", "builtins") and name in ("object", "set"):  # chumpy keeps its dirty names in a set
            return {"object": object, "set": set}[name]
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for protocol 2
            return _encode_latin1
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no FLAME file needs")

    def persistent_load(self, _identifier: object) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def _numpy_constructor(module: str, name: str) -> Any:
    if name in ("ndarray", "dtype"):
        return getattr(np, name)
    from numpy._core import multiarray, numeric  # NumPy 2's name; a file may use either

    return getattr(numeric if name == "_frombuffer" else multiarray, name)


def _make_inert(kind: type, _base: object, _state: object) -> object:
    """copyreg's `_reconstructor` for stand-ins only."""
    if not (isinstance(kind, type) and issubclass(kind, _Inert)):
        raise pickle.UnpicklingError(f"it makes an object of {kind}")
    return kind()


def _encode_latin1(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("it encodes something that is not text")
    return text.encode("latin1")


def read_pickle(stream: BinaryIO, path: Path) -> dict[str, Any]:
    """The dictionary in a FLAME pickle, read from `path`'s content without executing anything from it.

    Raises HeadModelError where the file is damaged, holds something else, or names anything that is not an array.
    """
    try:
        content = _FlameUnpickler(stream).load()
    except Exception as cause:  # damaged pickles raise nearly anything
        raise HeadModelError(
            "the file is no FLAME model, or it is damaged",
            where=path,
            expected="a FLAME .pkl as its authors publish it",
            found=cause,
            fix=f"download the model again from {SITE}",
        ) from cause
    if not isinstance(content, dict):
        raise HeadModelError(
            "the file is no FLAME model",
            where=path,
            expected="a dictionary",
            found=type(content).__name__,
            fix=DOWNLOAD,
        )
    return {str(key): value for key, value in content.items()}


def to_array(value: Any, name: str = "value") -> np.ndarray:
    """A dense float or integer array of what a FLAME file holds: numpy, chumpy or sparse.

    Raises ValueError for anything else.
    """
    attributes = getattr(value, "__dict__", {}) if isinstance(value, _Inert) else None
    if attributes is None:
        array = np.asarray(value)
    elif {"data", "indices", "indptr"} <= attributes.keys() and type(value).__name__ in ("csc_matrix", "csr_matrix"):
        array = _dense_compressed(attributes, by_column=type(value).__name__ == "csc_matrix")
    elif {"data", "row", "col"} <= attributes.keys():
        array = np.zeros(_shape_of(attributes))
        np.add.at(array, (np.asarray(attributes["row"]), np.asarray(attributes["col"])), np.asarray(attributes["data"]))
    elif "x" in attributes:
        array = np.asarray(attributes["x"])
    elif {"a", "idxs"} <= attributes.keys():  # chumpy.reordering.Select: entries of another array
        array = to_array(attributes["a"], name).ravel()[np.asarray(attributes["idxs"])]
        array = array.reshape(attributes.get("preferred_shape", array.shape))
    else:
        raise ValueError(f"{name} has attributes {sorted(attributes)}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} is of {array.dtype}")
    return array


def _shape_of(attributes: dict[str, Any]) -> tuple[int, int]:
    shape = attributes.get("_shape", attributes.get("shape"))
    if shape is None:
        raise TypeError("a sparse matrix without a shape")
    rows, columns = (int(n) for n in shape)
    if not 0 <= rows * columns <= 10**8:
        raise ValueError(f"a sparse matrix of {rows} x {columns}")
    return rows, columns


def _dense_compressed(attributes: dict[str, Any], by_column: bool) -> np.ndarray:
    shape = _shape_of(attributes)
    data, inner, starts = (np.asarray(attributes[key]) for key in ("data", "indices", "indptr"))
    outer = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    dense = np.zeros(shape)
    np.add.at(dense, (inner, outer) if by_column else (outer, inner), data)
    return dense


def read_flame(path: Path, name: str | None = None) -> HeadAsset:
    """Read a FLAME `.pkl` or `.npz` of any release, the `.zip` it comes in, or a head written by `save_head`.

    A FLAME file has no landmark embedding: `capture_tools.embed.embedding.import_head` makes one.
    Raises HeadModelError where the file is missing, damaged, unsafe or not FLAME.
    """
    path = Path(path)
    if path.is_dir():
        models = sorted(str(file) for file in path.iterdir() if file.suffix.lower() in FILE_SUFFIXES)
        fix = f"give one of these: {', '.join(models[:MOST_SHOWN])}" if models else "give the .pkl file itself"
        raise HeadModelError("the head model is a folder, not a file", where=path, fix=fix)
    if not path.is_file():
        raise HeadModelError("the head model's file is missing", where=path, fix="check the path")
    name = name or model_name(path)
    file = model_content(path)
    content = _read_npz(file, path) if is_zip(file) else read_pickle(file, path)
    if OWN.issubset(content):
        return read_head(path, name)
    return from_flame_arrays(name, content, path)


def _read_npz(file: BinaryIO, path: Path) -> dict[str, Any]:
    try:
        return read_npz(file, {*NEEDED, *OWN})  # SMPL-X's files hold objects besides
    except ValueError as cause:
        raise HeadModelError(
            "the head model's file is damaged",
            where=path,
            expected="an .npz of plain arrays",
            found=cause,
            fix=DOWNLOAD,
        ) from cause


def from_flame_arrays(name: str, content: dict[str, Any], where: Path | str) -> HeadAsset:
    """A HeadAsset of FLAME's own array names (`v_template`, `f`, `shapedirs`, ...); see `read_flame` for errors."""
    missing = [key for key in NEEDED if key not in content]
    if missing:
        raise HeadModelError(
            "the file is no FLAME model",
            where=where,
            expected=", ".join(NEEDED),
            found=f"no {', '.join(missing)}",
            fix=DOWNLOAD,
        )
    try:
        arrays = {key: to_array(content[key], key) for key in NEEDED}
    except Exception as cause:  # the attributes of stand-ins are the file's, and may be anything
        raise HeadModelError(
            "an array of the FLAME file cannot be read", where=where, found=cause, fix=DOWNLOAD
        ) from cause
    parents = arrays["kintree_table"].astype(np.int64)
    other = OTHER_MODELS.get(parents.shape[-1] if parents.ndim else 0)
    if other is not None:
        raise HeadModelError(
            "the file is a model of another kind",
            where=where,
            expected="FLAME, a head",
            found=other,
            fix=DOWNLOAD,
        )
    parents = tuple(int(p) if 0 <= p < 5 else -1 for p in parents[0]) if parents.ndim == 2 else ()
    shapedirs = arrays["shapedirs"]
    if parents != PARENTS or shapedirs.ndim != 3 or shapedirs.shape[2] <= EXPRESSION_COUNT:
        raise HeadModelError(
            "the file is a model of another kind",
            where=where,
            expected=f"joints {PARENTS} and more than {EXPRESSION_COUNT} shape directions",
            found=f"joints {parents}, shape directions {list(shapedirs.shape)}",
            fix=DOWNLOAD,
        )
    return make_head(
        name,
        {
            "template": arrays["v_template"],
            "faces": arrays["f"],
            "shapedirs": shapedirs[..., :-EXPRESSION_COUNT],
            "exprdirs": shapedirs[..., -EXPRESSION_COUNT:],
            "posedirs": arrays["posedirs"],
            "joint_regressor": arrays["J_regressor"],
            "weights": arrays["weights"],
        },
        regions={"eyeballs": np.any(arrays["weights"][:, 3:] > 0.9, axis=1)},
        where=where,
    )


def model_name(path: Path) -> str:
    """The name a file is stored under: its stem in lower case, with dashes for everything odd."""
    return re.sub(r"[^a-z0-9.]+", "-", path.stem.lower()).strip("-.") or "head"
