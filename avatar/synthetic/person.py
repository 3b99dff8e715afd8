"""A synthetic person as meshes: the head model, hair and torso of one identity, posed together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.meshes import vertex_normals
from avatar.kernels.mesh.op import MeshQuery
from avatar.synthetic.lids import LASH_COLUMNS, LASH_LENGTH, LASH_ROWS, Rim, find_rims, lash_points
from avatar.synthetic.looks import Looks
from avatar.synthetic.motion import Motion
from avatar.synthetic.shapes import Shell, fit_collar, grid_faces, hairline, make_hair, make_torso
from avatar.synthetic.skin import Atlas, make_atlas, paint_roots, paint_skin
from avatar.synthetic.textures import cloth, noise

SKIN, EYE, TEETH, TONGUE, MOUTH, HAIR, CLOTH, LASH = range(8)
"""Materials of faces."""
SHAPE_SPREAD = 0.55
"""Standard deviation of the shape coefficients; the model's own is 1, which gives caricatures now and then."""
TORSO_FOLLOWS = 0.75
"""Share of the head's translation that the shoulders follow."""
STRAND_LENGTH = 0.45
"""Metres of hair that the strand texture covers."""
OCCLUSION_RAYS = 48
OCCLUSION_REACH = 0.09
"""Metres beyond which nothing occludes."""


@dataclass
class Person:
    """One identity; vertices are the head's, then the hair's, the torso's and the lashes'."""

    asset: HeadAsset
    model: HeadModel
    parameters: HeadParameters
    """All frames."""
    looks: Looks
    atlas: Atlas
    albedo: np.ndarray
    """`[h, w, 3]` float32, linear: the painted atlas of the skin."""
    gloss: np.ndarray
    """`[h, w]` float32."""
    cloth: np.ndarray
    """`[h, w, 3]` float32, linear."""
    strands: np.ndarray
    """`[h, w]` float32 noise drawn out along the hair; rows run down."""
    fibres: Tensor
    """`[R, A]` noise of the irises."""
    hair: Shell
    torso: Shell
    faces: Tensor
    """`[F, 3]` int32 of all meshes."""
    materials: Tensor
    """`[F]` int64."""
    canonical: Tensor
    """`[V, 3]`: template position (head); across, along, edge (hair, lashes); across, along, 0 (torso)."""
    marks: Tensor
    """`[V, 3]`: 1 on the inside of the mouth and 0 elsewhere; metres to the rims of the upper and the lower lids."""
    rims: list[Rim]
    """Where the lashes grow."""
    occlusion: Tensor
    """`[V]` openness of the neutral pose."""
    moving: Tensor
    """Indices of head vertices whose openness changes with the face: mouth and eyes."""
    shadowed: Tensor
    """`[V]` bool: vertices on which other parts can throw a visible shadow."""
    query: MeshQuery


@dataclass(frozen=True)
class Posed:
    """All vertices of one frame, world space."""

    vertices: Tensor
    """`[V, 3]`."""
    normals: Tensor
    """`[V, 3]`."""
    tangents: Tensor
    """`[V, 3]` along the hair; zero elsewhere."""
    occlusion: Tensor
    """`[V]`."""
    landmarks: Tensor
    """`[478, 3]`."""


def landmarks_of(asset: HeadAsset, vertices: np.ndarray) -> np.ndarray:
    """`[478, 3]` landmark positions on vertices `[V, 3]`."""
    corners = vertices[asset.faces[asset.mediapipe_faces]]
    return (corners * asset.mediapipe_barycentrics[..., None]).sum(1)


def paint_head(seed: int, looks: Looks, asset: HeadAsset) -> tuple[Atlas, np.ndarray, np.ndarray]:
    """The painted atlas of a seed: albedo `[h, w, 3]` (linear) with the roots of the hair, and gloss `[h, w]`."""
    template = asset.template.astype(np.float64)
    landmarks, atlas = landmarks_of(asset, template), make_atlas(asset.template)
    albedo, gloss = paint_skin(np.random.default_rng([seed, 4]), looks, atlas, landmarks)
    column_angle = ((np.arange(atlas.width) + 0.5) / atlas.width - 0.5) * 2 * np.pi
    roots = hairline(looks, landmarks, template[asset.region("ears")], atlas.axis_z, column_angle, roots=True)
    paint_roots(np.random.default_rng([seed, 10]), looks, atlas, albedo, roots)
    return atlas, albedo, gloss


def make_person(seed: int, looks: Looks, asset: HeadAsset, motion: Motion) -> Person:
    """Build the identity of `seed`: shape, paint, hair and torso."""
    model = HeadModel(asset)
    rng = np.random.default_rng([seed, 3])
    shape = rng.standard_normal(asset.shape_count).clip(-2, 2) * SHAPE_SPREAD
    parameters = HeadParameters.neutral(asset, len(motion.expr))
    parameters.shape = torch.tensor(shape, dtype=torch.float32)
    for name in ("expr", "rotation", "translation", "jaw", "eyes"):
        setattr(parameters, name, torch.from_numpy(getattr(motion, name)))
    neutral = HeadParameters.neutral(asset)
    neutral.shape = parameters.shape
    with torch.no_grad():
        shaped = model(neutral).vertices[0]
    points = shaped.numpy().astype(np.float64)

    atlas, albedo, gloss = paint_head(seed, looks, asset)
    ears, neck = asset.region("ears"), asset.region("neck")
    skull_faces = torch.from_numpy(asset.faces[~ears[asset.faces].any(1)])
    skull = MeshQuery(skull_faces).update(shaped)

    def surface(start: np.ndarray, direction: np.ndarray) -> np.ndarray:
        hits = skull.cast_rays(torch.from_numpy(start).float(), torch.from_numpy(direction).float())
        return hits.depth.numpy().astype(np.float64)

    hair_rng = np.random.default_rng([seed, 5])
    axis_z = make_atlas(points).axis_z
    hair = make_hair(hair_rng, looks, landmarks_of(asset, points), points[ears], axis_z, surface)
    torso_rng = np.random.default_rng([seed, 6])
    collar = fit_collar(landmarks_of(asset, points), points[neck], surface)
    torso = make_torso(torso_rng, looks, collar)

    heads, hairs = asset.vertex_count, len(hair.vertices)
    # The wide, open lower end of the neck would cut through the shoulders when the head turns: the shirt covers it.
    covered = neck & collar.hides(points)
    head_faces = asset.faces[~covered[asset.faces].all(1)]
    rims, lid_distances = find_rims(asset)
    lash_grid, lashes = grid_faces(LASH_ROWS, LASH_COLUMNS), LASH_ROWS * LASH_COLUMNS
    first_lash = heads + hairs + len(torso.vertices)
    parts = [head_faces, hair.faces + heads, torso.faces + heads + hairs]
    parts += [lash_grid + first_lash + lashes * side for side in range(len(rims))]
    faces = np.concatenate(parts).astype(np.int32)
    materials = np.full(len(faces), SKIN)
    for name, material in (("mouth_interior", MOUTH), ("tongue", TONGUE), ("teeth", TEETH), ("eyeballs", EYE)):
        materials[: len(head_faces)][asset.region(name)[head_faces].all(1)] = material
    materials[len(head_faces) :] = HAIR
    materials[len(head_faces) + len(hair.faces) :] = CLOTH
    materials[len(faces) - len(rims) * len(lash_grid) :] = LASH
    row, column = np.divmod(np.arange(lashes), LASH_COLUMNS)
    down_lash = LASH_LENGTH * row / (LASH_ROWS - 1)
    lash_place = np.stack([column / (LASH_COLUMNS - 1), down_lash, LASH_LENGTH - down_lash], 1)
    canonical = np.concatenate(
        [
            asset.template,
            np.stack([hair.across, hair.along, hair.edge], 1),
            np.stack([torso.across, torso.along, np.zeros_like(torso.along)], 1),
            *[lash_place] * len(rims),
        ]
    )
    marks = np.ones((len(canonical), 3), np.float32)
    marks[:, 0] = 0
    marks[:heads, 0] = asset.region("mouth_interior")
    marks[:heads, 1:] = lid_distances
    moving = np.zeros(heads, bool)
    for name in ("lips", "mouth_interior", "teeth", "tongue", "eyes", "eyeballs"):
        moving |= asset.region(name)
    fibre_rng = np.random.default_rng([seed, 8])
    fibres = noise(fibre_rng, 24, 360, 2, 90) * 0.8 + noise(fibre_rng, 24, 360, 6, 160) * 0.5
    person = Person(
        asset=asset,
        model=model,
        parameters=parameters,
        looks=looks,
        atlas=atlas,
        albedo=albedo,
        gloss=gloss,
        cloth=cloth(torso_rng, looks, 700, 1400),
        strands=strand_texture(hair_rng),
        fibres=torch.from_numpy(np.clip(fibres, -1.6, 1.6).astype(np.float32)),
        hair=hair,
        torso=torso,
        faces=torch.from_numpy(faces),
        materials=torch.from_numpy(materials),
        canonical=torch.from_numpy(canonical.astype(np.float32)),
        marks=torch.from_numpy(marks),
        rims=rims,
        occlusion=torch.ones(len(canonical)),
        moving=torch.from_numpy(np.flatnonzero(moving)),
        shadowed=torch.zeros(len(canonical), dtype=torch.bool),
        query=MeshQuery(torch.from_numpy(faces)),
    )
    rest = torch.cat(
        [
            shaped,
            torch.from_numpy(hair.vertices),
            torch.from_numpy(torso.vertices),
            *grow_lashes(person, shaped, torch.tensor([0.0, 1.0, 0.0])),
        ]
    )
    person.query.update(rest)
    person.occlusion = openness(person.query, rest, vertex_normals(rest, person.faces))
    open_to_light = person.occlusion > 0.03  # the skull below the hair is not
    open_to_light[person.moving] = True
    open_to_light[heads : heads + hairs] = False
    open_to_light[first_lash:] = False
    person.shadowed = open_to_light
    return person


def grow_lashes(person: Person, head_vertices: Tensor, up: Tensor) -> list[Tensor]:
    faces = torch.from_numpy(person.asset.faces)
    return [lash_points(rim, head_vertices, faces, up) for rim in person.rims]


def strand_texture(rng: np.random.Generator) -> np.ndarray:
    """Noise `[256, 2048]` of hairs: fine across, long along, in locks; unit variance."""
    rows, columns = 256, 2048
    total = 0.75 * noise(rng, rows, columns, 3, 700) + 0.65 * noise(rng, rows, columns, 2, 260)
    total += 0.5 * noise(rng, rows, columns, 4, 90)
    return (total / total.std()).astype(np.float32)


def hemisphere(count: int) -> Tensor:
    """Directions `[count, 3]` around +z, spread by the cosine (Hammersley points), the same at every call."""
    index = np.arange(count)
    radical = np.array([int(f"{i:016b}"[::-1], 2) / 65536 for i in index])
    height, angle = np.sqrt(1 - (index + 0.5) / count), 2 * np.pi * radical
    flat = np.sqrt(1 - height**2)
    return torch.tensor(np.stack([flat * np.cos(angle), flat * np.sin(angle), height], 1), dtype=torch.float32)


def openness(query: MeshQuery, points: Tensor, normals: Tensor, count: int = OCCLUSION_RAYS) -> Tensor:
    """Share `[K]` of a cosine-weighted hemisphere that is open; near covers count more than far ones."""
    helper = torch.where(normals[:, :1].abs() > 0.8, torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    side = torch.nn.functional.normalize(torch.linalg.cross(normals, helper), dim=-1)
    frame = torch.stack([side, torch.linalg.cross(normals, side), normals], -1)  # [K, 3, 3]
    directions = torch.einsum("kij,cj->kci", frame, hemisphere(count)).reshape(-1, 3)
    start = (points + 0.0012 * normals).repeat_interleave(count, 0)
    hits = query.cast_rays(start, directions, max_depth=OCCLUSION_REACH)
    free = (hits.depth / OCCLUSION_REACH).clamp(0, 1)
    return free.reshape(-1, count).pow(0.7).mean(1)


def pose_person(person: Person, index: int) -> Posed:
    """Pose all meshes for one frame and update the ray query."""
    with torch.no_grad():
        head = person.model(person.parameters.frame(index))
        landmarks = person.model.landmarks(head.vertices)[0]
    skull = head.world_from_skull[0]
    hair = torch.from_numpy(person.hair.vertices) @ skull[:3, :3].T + skull[:3, 3]
    rotation, translation = torso_motion(person.parameters, index)
    torso = torch.from_numpy(person.torso.vertices) @ rotation.T + translation
    lashes = grow_lashes(person, head.vertices[0], skull[:3, 1])
    vertices = torch.cat([head.vertices[0], hair, torso, *lashes])
    normals = vertex_normals(vertices, person.faces)
    person.query.update(vertices)
    occlusion = person.occlusion.clone()
    occlusion[person.moving] = openness(person.query, vertices[person.moving], normals[person.moving], 20)
    tangents = torch.zeros_like(vertices)
    first = len(head.vertices[0])
    tangents[first : first + len(hair)] = torch.from_numpy(person.hair.tangents) @ skull[:3, :3].T
    return Posed(vertices, normals, tangents, occlusion, landmarks)


def torso_motion(parameters: HeadParameters, index: int) -> tuple[Tensor, Tensor]:
    """Rotation `[3, 3]` and translation `[3]` (metres) of the shoulders: shares of the head's, and breathing."""
    yaw = 0.08 * float(parameters.rotation[index, 1])
    rotation = torch.tensor([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    breath = 0.0012 * math.sin(2 * math.pi * 0.25 * index / 25)
    return rotation, TORSO_FOLLOWS * parameters.translation[index] + torch.tensor([0.0, breath, 0.0])
