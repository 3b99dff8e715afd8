"""HeadAsset: a head model as arrays; checking, reading, writing and fingerprints."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from avatar.base.conventions import LANDMARK_COUNT
from avatar.base.errors import HeadModelError
from avatar.base.files import write_npz
from avatar.base.npz import read_npz

FILE_SUFFIXES = (".pkl", ".npz", ".zip")
"""Endings that tell a file that is missing from a name that is unknown."""
DATA_FOLDER = Path(__file__).parent / "data"
JOINT_NAMES = ("root", "neck", "jaw", "left_eye", "right_eye")
PARENTS = (-1, 0, 1, 1, 1)

GEOMETRY = ("template", "faces", "shapedirs", "exprdirs", "posedirs", "joint_regressor", "weights")
LANDMARKS = ("mediapipe_faces", "mediapipe_barycentrics", "ibug_faces", "ibug_barycentrics")


@dataclass(frozen=True)
class HeadAsset:
    """A head in FLAME's form; arrays are numpy, float32 or int32, in metres, y up, face towards +z.

    The model is that of Li et al. 2017: template plus shape, expression and pose offsets, posed by linear blend
    skinning about five joints (root, neck, jaw, left eye, right eye; "left" is the person's left, at +x).
    """

    name: str
    fingerprint: str
    """SHA-256 over the arrays that define the geometry, as hexadecimal."""
    template: np.ndarray
    """`[V, 3]` rest vertices."""
    faces: np.ndarray
    """`[F, 3]` int32, counter-clockwise from outside."""
    shapedirs: np.ndarray
    """`[V, 3, S]` offsets of one unit of each shape coefficient (one standard deviation)."""
    exprdirs: np.ndarray
    """`[V, 3, E]` offsets of one unit of each expression coefficient."""
    posedirs: np.ndarray
    """`[V, 3, 36]` offsets per entry of R - I of the neck, jaw, left eye and right eye (row-major)."""
    joint_regressor: np.ndarray
    """`[5, V]` joint positions as weighted sums of shaped vertices; each row sums to one."""
    weights: np.ndarray
    """`[V, 5]` skinning weights; each row sums to one."""
    expression_names: tuple[str, ...]
    """`E` names; the open head's are the ARKit actions in [0, 1], FLAME's `expression_00` and so on, unit variance."""
    regions: dict[str, np.ndarray]
    """Vertex masks, bool `[V]` each, by name: face, lips, eyes, eyeballs, mouth_interior, scalp, neck, ..."""
    mediapipe_faces: np.ndarray
    """`[478]` int32 face index of each MediaPipe landmark, irises last."""
    mediapipe_barycentrics: np.ndarray
    """`[478, 3]`."""
    ibug_faces: np.ndarray
    """`[68]` int32."""
    ibug_barycentrics: np.ndarray
    """`[68, 3]`."""
    uv: np.ndarray | None = None
    """`[U, 2]` texture coordinates, v upwards; the open head's map is upright and symmetric about u = 1/2."""
    uv_faces: np.ndarray | None = None
    """`[F, 3]` int32 indices into `uv`, in the order of `faces`."""
    parents: tuple[int, ...] = PARENTS
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    """Further numbers of one model only, for example the open head's `jaw_open_angle` (radians)."""

    @property
    def uv_fingerprint(self) -> str | None:
        """SHA-256 of the texture map as hexadecimal, which tells pictures in it from others; None without a map."""
        if self.uv is None or self.uv_faces is None:
            return None
        digest = hashlib.sha256(np.ascontiguousarray(self.uv, "<f4").tobytes())
        digest.update(np.ascontiguousarray(self.uv_faces, "<i4").tobytes())
        return digest.hexdigest()

    @property
    def expression_count(self) -> int:
        return self.exprdirs.shape[2]

    @property
    def shape_count(self) -> int:
        return self.shapedirs.shape[2]

    @property
    def vertex_count(self) -> int:
        return self.template.shape[0]

    def expression_index(self, name: str) -> int:
        """Index of a named expression; raises HeadModelError with the known names where there is none."""
        if name not in self.expression_names:
            raise HeadModelError(
                f"the head model {self.name} has no expression {name!r}", expected=", ".join(self.expression_names)
            )
        return self.expression_names.index(name)

    def region(self, name: str) -> np.ndarray:
        """The vertex mask `[V]` of a region; raises HeadModelError with the known names where there is none."""
        if name not in self.regions:
            raise HeadModelError(
                f"the head model {self.name} has no region {name!r}", expected=", ".join(sorted(self.regions))
            )
        return self.regions[name]

    def has_landmarks(self) -> bool:
        return bool((self.mediapipe_faces >= 0).all())

    def require_landmarks(self) -> None:
        """Raise HeadModelError where the head has no landmark embedding."""
        if not self.has_landmarks():
            raise HeadModelError(
                f"the head model {self.name} has no landmark embedding", fix="import it again: avatar model import FILE"
            )

    def with_landmarks(
        self, mediapipe: tuple[np.ndarray, np.ndarray], ibug: tuple[np.ndarray, np.ndarray]
    ) -> HeadAsset:
        """A copy with landmark embeddings (face indices, barycentrics) put in."""
        return replace(
            self,
            mediapipe_faces=mediapipe[0].astype(np.int32),
            mediapipe_barycentrics=mediapipe[1].astype(np.float32),
            ibug_faces=ibug[0].astype(np.int32),
            ibug_barycentrics=ibug[1].astype(np.float32),
        )


def fingerprint_of(arrays: dict[str, np.ndarray]) -> str:
    """Hexadecimal SHA-256 over names, shapes and values of the arrays that define the geometry.

    Values are hashed as little-endian float32 and int32, so that a model has one fingerprint on every machine.
    Landmarks, regions and UVs do not count: bettering them leaves parameters valid.
    """
    digest = hashlib.sha256()
    for name in GEOMETRY:
        array = arrays[name]
        kind = "<i4" if name == "faces" else "<f4"
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()


def make_head(
    name: str,
    arrays: dict[str, np.ndarray],
    *,
    expression_names: tuple[str, ...] | None = None,
    regions: dict[str, np.ndarray] | None = None,
    extras: dict[str, np.ndarray] | None = None,
    where: str | Path | None = None,
) -> HeadAsset:
    """Check arrays and make a HeadAsset of them.

    `arrays` holds the names of GEOMETRY and, where known, of LANDMARKS, `uv` and `uv_faces`; missing landmarks are
    marked by face index -1. Raises HeadModelError for a missing array, a wrong shape, an index out of range or a
    value that is not finite.
    """
    missing = [key for key in GEOMETRY if key not in arrays]
    if missing:
        raise HeadModelError(
            "the head model lacks arrays", where=where, expected=", ".join(GEOMETRY), found=f"no {', '.join(missing)}"
        )
    data = {
        key: np.ascontiguousarray(arrays[key], dtype=np.int32 if key == "faces" else np.float32) for key in GEOMETRY
    }
    vertices = data["template"].shape[0]
    joints = len(PARENTS)
    expected = {
        "template": (vertices, 3),
        "faces": (None, 3),
        "shapedirs": (vertices, 3, None),
        "exprdirs": (vertices, 3, None),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
        "joint_regressor": (joints, vertices),
        "weights": (vertices, joints),
    }
    for key, shape in expected.items():
        _check_shape(key, data[key], shape, where)
    for key, count, default in (("mediapipe", LANDMARK_COUNT, -1), ("ibug", 68, -1)):
        data[f"{key}_faces"] = np.asarray(arrays.get(f"{key}_faces", np.full(count, default)), dtype=np.int32)
        data[f"{key}_barycentrics"] = np.asarray(
            arrays.get(f"{key}_barycentrics", np.full((count, 3), 1 / 3)), dtype=np.float32
        )
        _check_shape(f"{key}_faces", data[f"{key}_faces"], (count,), where)
        _check_shape(f"{key}_barycentrics", data[f"{key}_barycentrics"], (count, 3), where)
        _check_range(f"{key}_faces", data[f"{key}_faces"], -1, len(data["faces"]), where)
    _check_range("faces", data["faces"], 0, vertices, where)
    for key, array in data.items():
        if not np.isfinite(array).all():
            raise HeadModelError("the head model holds values that are not finite", where=where, found=key)
    uv, uv_faces = arrays.get("uv"), arrays.get("uv_faces")
    if uv is not None and uv_faces is not None:
        uv, uv_faces = np.asarray(uv, dtype=np.float32), np.asarray(uv_faces, dtype=np.int32)
        _check_shape("uv", uv, (None, 2), where)
        _check_shape("uv_faces", uv_faces, data["faces"].shape, where)
        _check_range("uv_faces", uv_faces, 0, len(uv), where)
    masks = {key: np.asarray(mask, dtype=bool) for key, mask in (regions or {}).items()}
    for key, mask in masks.items():
        _check_shape(f"region {key}", mask, (vertices,), where)
    count = data["exprdirs"].shape[2]
    names = expression_names or tuple(f"expression_{i:02d}" for i in range(count))
    if len(names) != count:
        raise HeadModelError(
            "the head model's expression names do not fit", where=where, expected=count, found=len(names)
        )
    return HeadAsset(
        name=name,
        fingerprint=fingerprint_of(data),
        expression_names=tuple(names),
        regions=masks,
        uv=uv,
        uv_faces=uv_faces,
        parents=PARENTS,
        extras=dict(extras or {}),
        **data,
    )


def _check_shape(name: str, array: np.ndarray, shape: tuple[int | None, ...], where: str | Path | None) -> None:
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
        raise HeadModelError(
            f"the head model's {name} has a wrong shape", where=where, expected=wanted, found=list(array.shape)
        )


def _check_range(name: str, array: np.ndarray, low: int, high: int, where: str | Path | None) -> None:
    if array.size and (array.min() < low or array.max() >= high):
        raise HeadModelError(
            f"the head model's {name} point outside",
            where=where,
            expected=f"{low} to {high - 1}",
            found=f"{array.min()} to {array.max()}",
        )


def save_head(path: Path, asset: HeadAsset, *, half: bool = False) -> Path:
    """Write a head as a compressed npz without pickled objects; `half` stores the bases in float16."""
    small = np.float16 if half else np.float32
    arrays: dict[str, np.ndarray] = {}
    for key in (*GEOMETRY, *LANDMARKS):
        array = getattr(asset, key)
        arrays[key] = array.astype(small) if key in ("shapedirs", "exprdirs", "posedirs") else array
    arrays["name"] = np.array(asset.name)
    arrays["expression_names"] = np.array(asset.expression_names)
    for key in ("uv", "uv_faces"):
        if getattr(asset, key) is not None:
            arrays[key] = getattr(asset, key)
    arrays |= {f"region.{key}": mask for key, mask in asset.regions.items()}
    arrays |= {f"extra.{key}": np.asarray(value) for key, value in asset.extras.items()}
    return write_npz(path, arrays, compressed=True)


def read_head(path: Path, name: str | None = None) -> HeadAsset:
    """Read a head written by `save_head`. Raises HeadModelError where the file is missing or damaged."""
    path = Path(path)
    try:
        arrays = read_npz(path)
    except FileNotFoundError as cause:
        raise HeadModelError("the head model's file is missing", where=path) from cause
    except (OSError, ValueError) as cause:
        raise HeadModelError("the head model's file is damaged", where=path, found=cause) from cause
    names = arrays.get("expression_names")
    return make_head(
        name or str(arrays.get("name", path.stem)),
        arrays,
        expression_names=None if names is None else tuple(str(n) for n in names),
        regions={key.removeprefix("region."): array for key, array in arrays.items() if key.startswith("region.")},
        extras={key.removeprefix("extra."): array for key, array in arrays.items() if key.startswith("extra.")},
        where=path,
    )


def check_same_head(asset: HeadAsset, name: str, fingerprint: str, where: str | Path) -> None:
    """Raise HeadModelError unless data recorded with head `name` and `fingerprint` was made with `asset`.

    Parameters of one head model mean nothing in another, even where the shapes fit.
    """
    if fingerprint != asset.fingerprint:
        raise HeadModelError(
            "the data was made with another head model",
            where=where,
            expected=f"{asset.name} ({asset.fingerprint[:12]})",
            found=f"{name} ({fingerprint[:12]})",
            fix=f"use --head-model {name}, or capture again with {asset.name}",
        )
