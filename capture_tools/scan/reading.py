"""Reading of scans from files: obj, ply, stl and glb, by trimesh; checked, joined and, where huge, made coarser."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.errors import InputError
from capture_tools.scan.scan import Scan

ENDINGS = (".obj", ".ply", ".stl", ".glb")
FEWEST_POINTS = 500
"""Points below which no face can be told from another."""
MOST_FACES = 1_000_000
"""Triangles above which a scan is made coarser: a face has some 60,000 of them then, half a millimetre wide."""
COARSE_CELLS = 250_000
"""Cells of the surface that a coarser scan keeps."""


def read_scan(path: Path) -> Scan:
    """Read a scan from a file.

    Several parts of a scene are joined. Raises InputError for a file that is missing, no mesh or cloud of points, has
    vertices that are not finite or too few of them.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise InputError(
            "the scan's format is unknown",
            where=path,
            expected=", ".join(ENDINGS),
            found=path.suffix or "no ending",
            fix="export the scan as ply or obj",
        )
    if not path.is_file():
        raise InputError("the scan does not exist", where=path, fix="check the path")
    vertices, faces, look, notes = _joined(_loaded(path), path)
    if faces is not None and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise _damaged(path, "triangles that name vertices which are not there")
    used = np.arange(len(vertices)) if faces is None else np.unique(faces)
    bad = used[~np.isfinite(vertices[used]).all(1)]
    if len(bad):
        raise InputError(
            "the scan holds vertices that are not finite",
            where=path,
            expected="numbers",
            found=f"{len(bad)} of {len(used)} vertices, the first is {bad[0]}",
            fix="remove them in the program that made the scan, for example MeshLab",
        )
    if len(used) < FEWEST_POINTS or not np.ptp(vertices[used], axis=0).max() > 0:
        raise InputError(
            "the scan has too few points for a face",
            where=path,
            expected=f"at least {FEWEST_POINTS}, not all at one place",
            found=len(used),
            fix="give the scan itself, not a coarse copy of it",
        )
    scan = _compact(Scan(path.stem, vertices, faces, **look, notes=tuple(notes)), used)
    return scan if scan.faces is None or len(scan.faces) <= MOST_FACES else coarser(scan, COARSE_CELLS)


def _loaded(path: Path) -> Any:
    import trimesh

    log = logging.getLogger("trimesh")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what it complains about is told below
    try:
        return trimesh.load(path, process=False, maintain_order=True)
    except MemoryError:
        raise
    except Exception as cause:  # trimesh's readers raise many types for damaged files
        raise _damaged(path, str(cause) or type(cause).__name__) from cause
    finally:
        log.setLevel(level)


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        "the file cannot be read as a scan",
        where=path,
        expected="a mesh or a cloud of points: " + ", ".join(ENDINGS),
        found=found,
        fix="export the scan again as ply or obj",
    )


def _joined(loaded: Any, path: Path) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any], list[str]]:
    """Vertices, faces, look (colours or uv and texture) and notes of all parts of what trimesh loaded."""
    import trimesh

    parts = loaded.dump() if isinstance(loaded, trimesh.Scene) else [loaded]
    meshes = [p for p in parts if isinstance(p, trimesh.Trimesh) and len(p.faces)]
    clouds = [p for p in parts if isinstance(p, trimesh.PointCloud) and len(p.vertices)]
    clouds += [p for p in parts if isinstance(p, trimesh.Trimesh) and not len(p.faces) and len(p.vertices)]
    if not meshes and not clouds:
        raise _damaged(path, "no triangles and no points")
    notes = []
    if meshes and clouds:
        notes.append("the scan's loose points are left out: its triangles are used")
    chosen = meshes or clouds
    looks = [_look(part) for part in chosen]
    vertices = np.concatenate([np.asarray(p.vertices, np.float64) for p in chosen])
    faces = None
    if meshes:
        offsets = np.cumsum([0] + [len(p.vertices) for p in meshes[:-1]])
        faces = np.concatenate([np.asarray(p.faces, np.int64) + o for p, o in zip(meshes, offsets, strict=True)])
    if len(looks) == 1:
        return vertices, faces, looks[0], notes
    colours = [_vertex_colours(look, len(part.vertices)) for look, part in zip(looks, chosen, strict=True)]
    if all(colour is not None for colour in colours):
        return vertices, faces, {"colours": np.concatenate([c for c in colours if c is not None])}, notes
    return vertices, faces, {}, notes


def _look(part: Any) -> dict[str, Any]:
    """Colours of the vertices, or UV and texture, of a part; nothing where it has none."""
    colours = getattr(part, "colors", None) if not hasattr(part, "faces") else None
    visual = getattr(part, "visual", None)
    kind = getattr(visual, "kind", None)
    if visual is not None and kind == "texture":
        uv, image = visual.uv, _image(visual.material)
        if uv is not None and image is not None and len(uv) == len(part.vertices) and np.isfinite(uv).all():
            return {"uv": np.asarray(uv, np.float64), "texture": image}
        return {}
    if visual is not None and kind in ("vertex", "face"):
        colours = visual.vertex_colors
    if colours is None or len(colours) != len(part.vertices):
        return {}
    return {"colours": np.asarray(colours)[:, :3].astype(np.uint8)}


def _image(material: Any) -> np.ndarray | None:
    image = getattr(material, "image", None) or getattr(material, "baseColorTexture", None)
    return None if image is None else np.asarray(image.convert("RGB"))


def _vertex_colours(look: dict[str, Any], count: int) -> np.ndarray | None:
    if "texture" in look:
        return sample_texture(look["texture"], look["uv"])
    return look.get("colours")


def sample_texture(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """The nearest pixels of a texture `[H, W, 3]` at `uv` `[..., 2]` (v upwards, repeated outside 0 to 1)."""
    height, width = texture.shape[:2]
    column = np.floor((uv[..., 0] % 1) * width).astype(int) % width
    row = np.floor((1 - uv[..., 1]) % 1 * height).astype(int) % height
    return texture[row, column]


def _compact(scan: Scan, used: np.ndarray) -> Scan:
    """The scan without vertices that no triangle uses and without triangles that name a vertex twice."""
    if scan.faces is None:
        return scan
    number = np.zeros(len(scan.vertices), np.int64)
    number[used] = np.arange(len(used))
    faces = number[scan.faces]
    proper = (faces != np.roll(faces, 1, axis=1)).all(1)
    kept = {key: None if (v := getattr(scan, key)) is None else v[used] for key in ("colours", "uv")}
    return Scan(scan.name, scan.vertices[used], faces[proper], texture=scan.texture, notes=scan.notes, **kept)


def coarser(scan: Scan, cells: int) -> Scan:
    """A scan whose vertices are joined in cells of a grid, about `cells` of them, with a note."""
    assert scan.faces is not None
    corners = scan.vertices[scan.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    side = float(np.sqrt(area / cells)) or 1.0
    cell = np.floor((scan.vertices - scan.vertices.min(0)) / side).astype(np.int64)
    extent = cell.max(0) + 1
    key = (cell[:, 0] * extent[1] + cell[:, 1]) * extent[2] + cell[:, 2]
    _, number = np.unique(key, return_inverse=True)
    count = np.bincount(number).astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(number, values[:, i]) for i in range(values.shape[1])], 1) / count[:, None]

    faces = number[scan.faces]
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(1)]
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    faces = faces[np.sort(first)]
    look = {"colours": scan.colours, "uv": scan.uv, "texture": scan.texture}
    colours = _vertex_colours({k: v for k, v in look.items() if v is not None}, len(scan.vertices))
    note = f"the scan's {len(scan.faces):,} triangles were made coarser: {len(faces):,} are used"
    return Scan(
        scan.name,
        mean(scan.vertices),
        faces,
        None if colours is None else np.rint(mean(colours)).astype(np.uint8),
        notes=(*scan.notes, note),
    )
