"""Embedding of MediaPipe's 478 landmarks and iBUG's 68 in any head mesh: detected on renders, fitted on the surface.

The detector sees many renders of the head: identities, expressions, open mouths, gazes, views and lights. Each landmark
becomes the surface point whose projections lie closest to its detections, in a robust distance. Moving lips and lids
tell upper from lower, which a single closed-mouth view cannot. Left and right share their evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.base.conventions import LANDMARK_COUNT
from avatar.base.errors import HeadModelError
from avatar.base.progress import Progress
from avatar.flame.assets import HeadAsset
from avatar.flame.importing import read_flame
from avatar.flame.landmarks import IBUG_FROM_MEDIAPIPE, IRISES, mediapipe_mirror
from avatar.flame.library import list_heads, require_free_name, require_name, store_head, stored_copy
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.regions import with_landmark_regions
from avatar.geometry.cameras import Camera, look_at
from avatar.kernels.mesh.op import MeshQuery
from capture_tools.detect.landmark_detector import LandmarkDetector
from capture_tools.embed.head_painting import Painter, random_look
from capture_tools.track.landmark_bias import measure_bias, with_bias

PASSES = {1: "1 of 3", 2: "2 of 3", 8: "3 of 3"}
"""Number of a search pass, by the order of its barycentric grid."""
ROBUST_SCALE = 0.001
"""Metres: errors well above this count linearly, not squared."""


@dataclass(frozen=True)
class EmbeddingSettings:
    """Number and variation of the renders."""

    renders: int = 400
    """Number of images."""
    size: int = 512
    """Pixels across each square image."""
    identity_deviation: float = 0.6
    """Standard deviation of the random shape coefficients; every third render is the template itself."""
    yaw_deviation: float = 0.25
    """Radians."""
    pitch_deviation: float = 0.12
    """Radians."""
    roll_deviation: float = 0.08
    """Radians."""
    detection_error_limit: float = 0.012
    """Metres; renders with a larger median error are outliers and left out."""
    seed: int = 0


@dataclass(frozen=True)
class Observation:
    """One render with its detected landmarks."""

    params: HeadParameters
    """One frame."""
    vertices: Tensor
    """`[V, 3]` as posed."""
    camera: Camera
    pixels: np.ndarray
    """`[478, 2]`."""
    faces_seen: np.ndarray
    """`[F]` bool: faces visible in at least one pixel."""


def embed_landmarks(asset: HeadAsset, settings: EmbeddingSettings | None = None) -> HeadAsset:
    """A copy of `asset` with fitted landmark embeddings and the remaining bias (landmark_bias).

    Raises HeadModelError where the detector finds the rendered head in fewer than a quarter of the images.
    """
    settings = settings or EmbeddingSettings()
    observations = observe(asset, settings)
    if len(observations) < settings.renders // 4:
        raise HeadModelError(
            f"the landmark detector does not recognise the head model {asset.name}",
            expected=f"a face in most of {settings.renders} renders",
            found=len(observations),
        )
    return embed_observed(asset, observations, settings.detection_error_limit)


def embed_observed(asset: HeadAsset, observations: list[Observation], error_limit: float) -> HeadAsset:
    """A copy of `asset` with the landmark embeddings, and their bias, fitted to detections on known heads.

    error_limit: metres; observations with a larger median error are outliers and left out.
    """
    faces, barycentrics = fit_embedding(asset, observations, error_limit)
    ibug = np.array(IBUG_FROM_MEDIAPIPE)
    embedded = asset.with_landmarks((faces, barycentrics), (faces[ibug], barycentrics[ibug]))
    right = np.median(embedding_error(embedded, observations), axis=1) < error_limit
    kept = [o for o, keep in zip(observations, right, strict=True) if keep]
    params, cameras, pixels = zip(*((o.params, o.camera, o.pixels) for o in kept), strict=True)
    return with_bias(embedded, measure_bias(embedded, params, cameras, np.stack(pixels)))


def random_parameters(asset: HeadAsset, rng: np.random.Generator, identity_deviation: float) -> HeadParameters:
    """One random head: identity, closed and open mouths, single and mixed expressions, gaze."""
    p = HeadParameters.neutral(asset)
    if rng.random() > 1 / 3:
        p.shape = torch.tensor(rng.normal(0, identity_deviation, asset.shape_count), dtype=torch.float32)
    jaw_open = float(asset.extras.get("jaw_open_angle", 0.35))
    kind = rng.random()
    if kind > 0.5:
        p.jaw[0, 0] = float(rng.uniform(0.1, 0.9)) * jaw_open
    if rng.random() > 0.5 and asset.expression_count:
        names = list(asset.expression_names)
        if "jawOpen" in names:
            usable = [i for i, n in enumerate(names) if not n.startswith(("jaw", "tongue", "eyeLook", "cheekPuff"))]
            for index in rng.choice(usable, 3, replace=False):
                p.expr[0, index] = float(rng.uniform(0, 0.8))
            if rng.random() < 0.4:  # people blink with both eyes
                for side in ("Left", "Right"):
                    p.expr[0, names.index(f"eyeBlink{side}")] = float(rng.uniform(0.2, 1.0))
        else:
            p.expr[0] = torch.tensor(rng.normal(0, 0.6, asset.expression_count), dtype=torch.float32)
    pitch, yaw = rng.normal(0, [0.08, 0.16], 2)
    p.eyes[0] = torch.tensor([pitch, yaw, 0, pitch, yaw, 0], dtype=torch.float32)
    return p


def observe(asset: HeadAsset, settings: EmbeddingSettings) -> list[Observation]:
    """Render random heads and detect their landmarks; renders without a detection are left out."""
    rng = np.random.default_rng(settings.seed)
    model, painter = HeadModel(asset), Painter(asset)
    query = MeshQuery(torch.as_tensor(asset.faces))
    centre = asset.template[asset.template[:, 2] > 0].mean(0)
    found = []
    with (
        torch.no_grad(),
        LandmarkDetector(static=True) as detector,
        Progress("landmarks of the head, pictures", settings.renders, unit="picture") as bar,
    ):
        for done in range(settings.renders):
            params = random_parameters(asset, rng, settings.identity_deviation)
            vertices = model(params).vertices[0]
            yaw, pitch = rng.normal(0, settings.yaw_deviation), rng.normal(0, settings.pitch_deviation)
            camera = random_camera(centre, yaw, pitch, rng.normal(0, settings.roll_deviation), settings.size, rng)
            image, face = painter.render(query.update(vertices), camera, random_look(rng))
            pixels, _count = detector.detect(image)
            if pixels is not None:
                seen = np.zeros(len(asset.faces), bool)
                seen[face[face >= 0]] = True
                found.append(Observation(params, vertices, camera, pixels.astype(np.float64), seen))
            bar.update(done + 1)
    return found


def random_camera(centre: np.ndarray, yaw: float, pitch: float, roll: float, size: int, rng) -> Camera:
    """A camera at 0.45 to 1.2 m that shows the head across most of the image."""
    distance = rng.uniform(0.45, 1.2)
    direction = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    target = centre + rng.normal(0, 0.006, 3)
    pose = look_at(target + distance * direction, target, up=(np.sin(roll), np.cos(roll), 0.0))
    focal = size * distance / rng.uniform(0.26, 0.38)
    return Camera(size, size, focal, focal, size / 2, size / 2, pose)


# --- fit -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidates:
    """Points on the mesh considered for a landmark."""

    face: Tensor  # [C]
    barycentrics: Tensor  # [C, 3]

    def on(self, vertices: Tensor, faces: Tensor) -> Tensor:
        """Positions `[..., C, 3]` on vertices `[..., V, 3]`."""
        return (vertices[..., faces[self.face], :] * self.barycentrics[:, :, None]).sum(-2)


def barycentric_grid(order: int) -> Tensor:
    """Evenly spread interior points of a triangle: barycentrics `[order (order + 1) / 2, 3]`."""
    rows = [(i, j, order - 1 - i - j) for i in range(order) for j in range(order - i)]
    return (torch.tensor(rows, dtype=torch.float32) + 1 / 3) / order


def sample_faces(faces: Tensor, order: int) -> Candidates:
    """The barycentric grid of `order` on each of the faces `[K]`."""
    grid = barycentric_grid(order)
    return Candidates(faces.repeat_interleave(len(grid)), grid.repeat(len(faces), 1))


class _Evidence:
    """All detections, and the error of candidate points as landmarks, in metres at the head's distance."""

    def __init__(self, asset: HeadAsset, observations: list[Observation]) -> None:
        self.faces = torch.as_tensor(asset.faces).long()
        self.observations = observations
        self.pixels = torch.tensor(np.stack([o.pixels for o in observations]), dtype=torch.float32)  # [K, 478, 2]
        centre = asset.template.mean(0)
        distances = [np.linalg.norm(o.camera.position - centre) / o.camera.fl_x for o in observations]
        self.metres_per_pixel = torch.tensor(distances, dtype=torch.float32)
        # projection is linear before the division, so candidates are interpolated from projected vertices [K, V, 3]
        self.homogeneous = torch.stack([_project_homogeneous(o.vertices, o.camera) for o in observations])

    def project(self, candidates: Candidates, chosen: Tensor) -> Tensor:
        """Pixels `[K', C, 2]` of candidates in the chosen observations."""
        corners = self.homogeneous[chosen][:, self.faces[candidates.face]]
        mixed = (corners * candidates.barycentrics[:, :, None]).sum(-2)
        return mixed[..., :2] / mixed[..., 2:]

    def cost(self, projected: Tensor, landmark: int, chosen: Tensor) -> Tensor:
        """Mean robust error `[C]` in metres of candidates `[K', C, 2]` as one landmark."""
        error = (projected - self.pixels[chosen, landmark, None]).norm(dim=-1) * self.metres_per_pixel[chosen, None]
        return ((error.square() + ROBUST_SCALE**2).sqrt() - ROBUST_SCALE).mean(0)

    def errors(self, candidates: Candidates) -> Tensor:
        """Distances `[K, 478]` in metres of one candidate per landmark to the detections."""
        projected = self.project(candidates, torch.arange(len(self.observations)))
        return (projected - self.pixels).norm(dim=-1) * self.metres_per_pixel[:, None]


def _project_homogeneous(points: Tensor, camera: Camera) -> Tensor:
    matrix = torch.tensor(camera.intrinsics() @ camera.cam_from_world[:3], dtype=torch.float64)
    return (points.double() @ matrix[:, :3].T + matrix[:, 3]).float()


def fit_embedding(
    asset: HeadAsset, observations: list[Observation], error_limit: float = 0.012
) -> tuple[np.ndarray, np.ndarray]:
    """Face `[478]` and barycentrics `[478, 3]` of each landmark: coarse to fine over points of the visible surface."""
    allowed = _allowed_faces(asset, observations)
    every_nth = observations[:: max(1, len(observations) // 60)]
    evidence = _Evidence(asset, every_nth)
    best = _search(asset, evidence, allowed, order=1)
    evidence = _Evidence(asset, observations)
    right = evidence.errors(best).median(1).values < error_limit
    evidence = _Evidence(asset, [o for o, keep in zip(observations, right.tolist(), strict=True) if keep])
    for order, radius in ((2, 0.010), (8, 0.0025)):
        best = _search(asset, evidence, allowed, order=order, near=best, radius=radius)
    return best.face.numpy().astype(np.int32), best.barycentrics.numpy()


def _allowed_faces(asset: HeadAsset, observations: list[Observation]) -> dict[str, Tensor]:
    """Indices of the faces allowed for skin landmarks and irises: visible in renders, in the right region."""
    seen = np.stack([o.faces_seen for o in observations]).mean(0) > 0.02
    excluded = np.zeros(asset.vertex_count, bool)
    for name in ("eyeballs", "teeth", "tongue", "eye_sockets", "ears", "neck", "scalp"):
        excluded |= asset.regions.get(name, np.zeros(asset.vertex_count, bool))
    eyes = asset.weights[:, 3:] > 0.9
    excluded |= eyes.any(1)
    allowed = {"skin": torch.as_tensor(np.flatnonzero(seen & ~excluded[asset.faces].all(1)))}
    for side, joint in (("left", 0), ("right", 1)):
        allowed[side] = torch.as_tensor(np.flatnonzero(eyes[asset.faces, joint].all(1)))
    return allowed


def _search(
    asset: HeadAsset,
    evidence: _Evidence,
    allowed: dict[str, Tensor],
    *,
    order: int,
    near: Candidates | None = None,
    radius: float = np.inf,
) -> Candidates:
    """The best candidate per landmark, among those within `radius` (m) of the points `near` on the template.

    A landmark and its mirror twin are solved jointly: the cost of a point includes that of its mirror image.
    """
    template = torch.as_tensor(asset.template)
    signatures = _signatures(asset)
    centroids = template[evidence.faces].mean(1)
    start = None if near is None else near.on(template, evidence.faces)
    everything = torch.arange(len(evidence.observations))
    sides = {index: side for side, indices in IRISES.items() for index in indices}
    twin = {"skin": "skin", "left": "right", "right": "left"}
    whole = {kind: sample_faces(faces, order) for kind, faces in allowed.items()} if start is None else {}
    seen_whole = {kind: evidence.project(points, everything) for kind, points in whole.items()}

    def mirrored(points: Candidates, among: Candidates) -> Tensor:
        return _mirrored(points.on(signatures, evidence.faces), among.on(signatures, evidence.faces))

    def sample(landmark: int, kind: str) -> tuple[Candidates, Tensor]:
        if start is None:
            return whole[kind], seen_whole[kind]
        close = (centroids[allowed[kind]] - start[landmark]).norm(dim=-1) < radius + 0.006
        points = sample_faces(allowed[kind][close], order)
        inside = (points.on(template, evidence.faces) - start[landmark]).norm(dim=-1) < radius
        points = Candidates(points.face[inside], points.barycentrics[inside])
        return points, evidence.project(points, everything)

    whole_match = {kind: mirrored(points, whole[twin[kind]]) for kind, points in whole.items()}

    face, barycentrics = torch.zeros(LANDMARK_COUNT, dtype=torch.int64), torch.zeros(LANDMARK_COUNT, 3)
    with Progress(f"landmarks of the head, search {PASSES[order]}", LANDMARK_COUNT, unit="landmark") as bar:
        for landmark, other in enumerate(mediapipe_mirror().tolist()):
            bar.update(landmark)
            if other < landmark:
                continue
            kind = sides.get(landmark, "skin")
            mine, seen = sample(landmark, kind)
            theirs, seen_theirs = (mine, seen) if other == landmark else sample(other, twin[kind])
            match = mirrored(mine, theirs) if start is not None else whole_match[kind]
            cost = evidence.cost(seen, landmark, everything) + evidence.cost(seen_theirs, other, everything)[match]
            if other == landmark:  # on the middle line
                away = mine.on(template, evidence.faces)[:, 0].abs()
                cost = torch.where(away <= max(0.005 / order, float(away.min())), cost, cost + 1.0)
            pick = int(cost.argmin())
            face[landmark], barycentrics[landmark] = mine.face[pick], mine.barycentrics[pick]
            if other != landmark:
                face[other], barycentrics[other] = theirs.face[match[pick]], theirs.barycentrics[match[pick]]
        bar.update(LANDMARK_COUNT)
    return Candidates(face, barycentrics)


def _signatures(asset: HeadAsset) -> Tensor:
    """Vertex positions `[V, 6]` with closed and open mouth, which distinguish lips that touch."""
    open_mouth = HeadParameters.neutral(asset)
    open_mouth.jaw[0, 0] = 0.3
    with torch.no_grad():
        opened = HeadModel(asset)(open_mouth).vertices[0]
    return torch.cat([torch.as_tensor(asset.template), opened], -1)


def _mirrored(points: Tensor, among: Tensor) -> Tensor:
    """Index `[C]` of the candidate closest to the mirror image of each point; signatures `[*, 6]`."""
    flipped = points * torch.tensor([-1.0, 1, 1, -1, 1, 1])
    return torch.cat([torch.cdist(part, among).argmin(1) for part in flipped.split(512)])


def embedding_error(asset: HeadAsset, observations: list[Observation]) -> np.ndarray:
    """Distance `[K, 478]` in metres (at the head's distance) of an embedding's projections to the detections."""
    mine = Candidates(torch.as_tensor(asset.mediapipe_faces).long(), torch.as_tensor(asset.mediapipe_barycentrics))
    return _Evidence(asset, observations).errors(mine).numpy()


def import_head(
    path: Path, name: str | None = None, *, settings: EmbeddingSettings | None = None
) -> tuple[HeadAsset, Path]:
    """Read a FLAME file, embed its landmarks, derive its regions, and store it in the models folder.

    Returns the head and its file. Raises HeadModelError where the file is not FLAME (see `read_flame`) or its name is
    taken, before anything is computed, or where no face is detected.
    """
    if name is not None:
        require_name(name)
    return keep_head(stored_copy(read_flame(path, name)), settings)


def ready_head(asset: HeadAsset) -> HeadAsset:
    """A head from `open_head_model`, imported first (minutes) where it is not in the library."""
    return asset if asset.name in list_heads() and asset.has_landmarks() else keep_head(asset)[0]


def keep_head(asset: HeadAsset, settings: EmbeddingSettings | None = None) -> tuple[HeadAsset, Path]:
    """Embed a head's landmarks where it has none and store it; returns it and its file. Raises as `import_head`."""
    require_free_name(asset)
    if not asset.has_landmarks():
        asset = with_landmark_regions(embed_landmarks(asset, settings))
    return asset, store_head(asset)
