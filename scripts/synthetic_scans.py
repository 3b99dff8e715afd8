"""Coloured scans of one invented person with known truth: expressions, sliding skin, other lights, fresh triangles.

Every scan has triangles of its own: random points on the head, joined in its texture map (Delaunay).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import Delaunay

from avatar.flame.assets import HeadAsset
from avatar.flame.landmarks import surface_points
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.meshes import vertex_normals
from avatar.kernels.mesh.op import MeshQuery
from capture_tools.scan.scan import Scan

UNSEEN = ("mouth_interior", "teeth", "tongue", "eye_sockets")
Colours = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Colours `[N, 3]` in 0 to 1 of surface points: triangles `[N]` and barycentrics `[N, 3]`."""

EXPRESSIONS: tuple[dict[str, float], ...] = (
    {},
    {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5},
    {"browInnerUp": 0.8, "browOuterUpLeft": 0.8, "browOuterUpRight": 0.8, "jawOpen": 0.4},
    {"mouthLeft": 0.8, "noseSneerLeft": 0.5, "browDownLeft": 0.7, "browDownRight": 0.7},
    {"cheekPuff": 0.8, "mouthPucker": 0.5, "eyeSquintLeft": 0.6, "eyeSquintRight": 0.6},
)


@dataclass(frozen=True)
class KnownScan:
    """A scan and its truth."""

    scan: Scan
    vertices: np.ndarray
    """`[V, 3]` of the head, in the scan's frame."""


def invented(asset: HeadAsset, seed: int = 3) -> HeadAsset:
    """The asset with a random person as its template."""
    shape = np.random.default_rng(seed).normal(0, 0.8, asset.shape_count) * (np.arange(asset.shape_count) < 30)
    return replace(asset, template=(asset.template + asset.shapedirs @ shape).astype(np.float32))


def posed(asset: HeadAsset, actions: dict[str, float]) -> np.ndarray:
    """Vertices `[V, 3]` of the asset's template with actions in 0 to 1; `jawOpen` turns the jaw."""
    params = HeadParameters.neutral(asset)
    for name, amount in actions.items():
        if name == "jawOpen":
            params.jaw[0, 0] = amount * float(asset.extras.get("jaw_open_angle", 0.35))
        else:
            params.expr[0, asset.expression_index(name)] = amount
    with torch.no_grad():
        return HeadModel(asset)(params).vertices[0].double().numpy()


def slide(asset: HeadAsset, vertices: np.ndarray, millimetres: float, seed: int) -> np.ndarray:
    """Vertices `[V, 3]` whose skin has slid along the surface, smoothly and by `millimetres` at most.

    No head model has this: it stands for what real faces do beyond a model's expressions.
    """
    rng = np.random.default_rng(seed)
    face = asset.region("face")
    field = np.zeros_like(vertices)
    for centre in asset.template[face][rng.choice(face.sum(), 12, replace=False)]:
        reach = rng.uniform(0.018, 0.03)
        near = np.exp(-(((asset.template - centre) / reach) ** 2).sum(1) / 2)
        field += near[:, None] * rng.normal(size=3)
    faces = torch.as_tensor(asset.faces).long()
    normals = vertex_normals(torch.as_tensor(vertices), faces).numpy()
    field -= (field * normals).sum(1, keepdims=True) * normals
    landmarks = surface_points(asset.template, asset.faces, asset.ibug_faces, asset.ibug_barycentrics)[36:]
    free = np.linalg.norm(asset.template[:, None] - landmarks, axis=2).min(1)
    field *= (face * (1 - np.exp(-((free / 0.012) ** 2))))[:, None]  # eyes and lips stay
    return vertices + field * (millimetres / 1000 / np.linalg.norm(field, axis=1).max())


def freckled(asset: HeadAsset, seed: int = 0, freckles: int = 900) -> Colours:
    """Skin with mottling, freckles, brows and red lips."""
    rng = np.random.default_rng(seed)
    template = asset.template.astype(np.float64)
    waves = rng.normal(size=(24, 3)) * rng.uniform(60, 400, (24, 1))
    phases, amounts = rng.uniform(0, 6.28, 24), rng.uniform(0.004, 0.014, 24)
    front = np.flatnonzero(asset.region("face") | asset.region("scalp"))
    spots = template[rng.choice(front, freckles)] + rng.normal(0, 0.002, (freckles, 3))
    radius, dark = rng.uniform(0.0005, 0.0016, freckles), rng.uniform(0.08, 0.35, freckles)
    marked = {name: asset.region(name).astype(np.float64) for name in ("lips", "brows", "eyeballs")}

    def colours(face: np.ndarray, barycentrics: np.ndarray) -> np.ndarray:
        from scipy.spatial import KDTree

        corners = asset.faces[face]
        points = (template[corners] * barycentrics[..., None]).sum(1)
        share = {name: (mask[corners] * barycentrics).sum(1)[:, None] for name, mask in marked.items()}
        light = 1 + (np.sin(points @ waves.T + phases) * amounts).sum(1)
        distance, spot = KDTree(spots).query(points)
        light -= dark[spot] * np.exp(-((distance / radius[spot]) ** 2))
        skin = np.array([0.80, 0.62, 0.54]) * light[:, None]
        for name, colour in (("lips", (0.7, 0.4, 0.4)), ("brows", (0.3, 0.22, 0.18)), ("eyeballs", (0.85, 0.85, 0.85))):
            skin += share[name] * (np.array(colour) * light[:, None] - skin)
        return np.clip(skin, 0, 1)

    return colours


def fresh_scan(
    asset: HeadAsset, vertices: np.ndarray, colours: Colours | None, points: int = 120_000, seed: int = 0
) -> Scan:
    """A head's outer surface with `points` random vertices and triangles of their own, lit from some side."""
    assert asset.uv is not None
    assert asset.uv_faces is not None
    rng = np.random.default_rng(seed)
    inside = np.any([asset.region(name) for name in UNSEEN], axis=0)
    outer = np.flatnonzero(~inside[asset.faces].any(1))
    corners = vertices[asset.faces[outer]]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = rng.choice(len(outer), points, p=area / area.sum())
    mix = rng.dirichlet((1, 1, 1), points)
    face = outer[chosen]
    places = (vertices[asset.faces[face]] * mix[..., None]).sum(1)
    uv = (asset.uv[asset.uv_faces[face]].astype(np.float64) * mix[..., None]).sum(1)
    triangles = Delaunay(uv).simplices.astype(np.int64)
    flat = torch.cat([torch.as_tensor(asset.uv), torch.zeros(len(asset.uv), 1)], 1)
    middle = np.concatenate([uv[triangles].mean(1), np.ones((len(triangles), 1))], 1)
    query = MeshQuery(torch.as_tensor(asset.uv_faces[outer])).update(flat)
    down = torch.tensor([0.0, 0.0, -1.0]).expand(len(middle), 3).contiguous()
    covered = (query.cast_rays(torch.as_tensor(middle, dtype=torch.float32), down).face >= 0).numpy()
    longest = np.linalg.norm(places[triangles] - places[np.roll(triangles, 1, axis=1)], axis=2).max(1)
    triangles = triangles[covered & (longest < 0.008)]
    normals = vertex_normals(torch.as_tensor(vertices), torch.as_tensor(asset.faces).long()).numpy()
    own = (normals[asset.faces[face]] * mix[..., None]).sum(1)
    winding = np.cross(
        places[triangles[:, 1]] - places[triangles[:, 0]], places[triangles[:, 2]] - places[triangles[:, 0]]
    )
    turned = (winding * own[triangles].mean(1)).sum(1) < 0
    triangles[turned] = triangles[turned][:, ::-1]
    painted = None
    if colours is not None:
        direction = rng.normal(size=3) + np.array([0, 0, 1.5])
        light = 0.75 + 0.3 * (own @ (direction / np.linalg.norm(direction)))
        painted = np.rint(255 * np.clip(colours(face, mix) * light[:, None], 0, 1)).astype(np.uint8)
    return Scan(f"scan {seed}", places, triangles, painted)


def known_scans(
    asset: HeadAsset, colours: Colours | None, scans: int, *, slid: float = 3.0, points: int = 120_000, seed: int = 0
) -> list[KnownScan]:
    """The first `scans` of EXPRESSIONS, of a person who is the asset's template, moved a little between scans."""
    made = []
    for number, actions in enumerate(EXPRESSIONS[:scans]):
        vertices = posed(asset, actions)
        if number:
            vertices = slide(asset, vertices, slid, seed + number) if slid else vertices
        rng = np.random.default_rng(seed + 50 + number)
        turn = torch.matrix_exp(torch.as_tensor(_skew(rng.normal(0, 0.05, 3)))).numpy()
        vertices = vertices @ turn.T + rng.normal(0, 0.005, 3)
        scan = fresh_scan(asset, vertices, colours, points, seed + number)
        made.append(KnownScan(scan, vertices))
    return made


def _skew(v: np.ndarray) -> np.ndarray:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
