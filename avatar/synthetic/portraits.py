"""Portraits: synthetic people of any identity seen from anywhere, made quickly, to learn from.

Painting a person takes seconds, reshaping one milliseconds: a sitter lends paint, hair and clothes to heads of any
shape. Hair follows the scalp below it, the shoulders follow the neck; what occludes what is taken from the sitter's own
neutral head. Light, lens, pose and expression are drawn anew for every portrait.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera, image_rays, look_at, project
from avatar.geometry.meshes import vertex_normals
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatar.media.images import to_srgb, to_uint8
from avatar.synthetic import shading
from avatar.synthetic.held_out import EXPRESSIONS as STRONG
from avatar.synthetic.looks import make_looks
from avatar.synthetic.materials import shade
from avatar.synthetic.motion import CONSONANTS, EXPRESSIONS, VOWELS, Motion
from avatar.synthetic.person import Person, Posed, grow_lashes, make_person
from avatar.synthetic.render import cast_with_strands
from avatar.synthetic.textures import room

NEIGHBOURS = 6
"""Vertices of the scalp that a point of the hair follows."""
FACE_HEIGHT = 0.19
"""Metres from the hairline to the chin, about."""
LEFT_ALONE = ("jawOpen", "mouthClose", "tongueOut")
"""Actions that portraits leave at zero: the jaw opens by its joint, and no picture of a mesh shows a tongue well."""


@dataclass(frozen=True)
class Portrait:
    """One picture and its truth."""

    image: np.ndarray
    """`[S, S, 3]` uint8 sRGB."""
    landmarks: np.ndarray
    """`[478, 2]` float32 pixels, where the head's embedding lies."""
    camera: Camera
    params: HeadParameters
    """One frame, in the camera's world."""
    mask: np.ndarray
    """`[S, S]` bool: pixels that show the person."""


class Sitter:
    """The paint, hair and clothes of the synthetic person of a seed, worn by heads of any shape."""

    def __init__(self, seed: int, asset: HeadAsset) -> None:
        still = [np.zeros((1, count), np.float32) for count in (asset.expression_count, 3, 3, 3, 6)]
        self.looks = make_looks(seed)
        self.person: Person = make_person(seed, self.looks, asset, Motion(*still))
        self.asset, self.model = asset, self.person.model
        own = HeadParameters.neutral(asset)
        own.shape = self.person.parameters.shape
        with torch.no_grad():
            self.neutral = self.model(own).vertices[0]
        self.backdrop = room(np.random.default_rng([seed, 21]), self.looks, 256)
        outer = np.flatnonzero(asset.region("scalp") | asset.region("face") | asset.region("neck"))
        away, nearest = KDTree(self.neutral.numpy()[outer]).query(self.person.hair.vertices, NEIGHBOURS)
        weights = 1 / (away + 0.003)
        self._followed = torch.as_tensor(outer[nearest])
        self._weights = torch.as_tensor(weights / weights.sum(1, keepdims=True), dtype=torch.float32)[..., None]
        self._neck = torch.as_tensor(np.flatnonzero(asset.region("neck")))

    @torch.no_grad()
    def pose(self, params: HeadParameters, turned: float, bald: bool = False) -> Posed:
        """All meshes of the person with the head of `params` (one frame) and shoulders turned by `turned` radians.

        bald: whether the hair is left out; the scalp then has the colour it has below hair.
        """
        person = self.person
        still = HeadParameters.neutral(self.asset)
        still.shape = params.shape
        neutral = self.model(still)
        moved = neutral.vertices[0] - self.neutral
        hair = torch.from_numpy(person.hair.vertices) + (moved[self._followed] * self._weights).sum(1)
        root = neutral.joints[0, 0]
        torso = torch.from_numpy(person.torso.vertices) + moved[self._neck].mean(0) - root
        about_y = axis_angle_to_matrix(torch.tensor([0.0, turned, 0.0]))
        torso = torso @ about_y.T + root + params.translation[0]
        head = self.model(params)
        skull = head.world_from_skull[0]
        hair = hair @ skull[:3, :3].T + skull[:3, 3]
        if bald:  # a point inside the skull, where no ray finds it
            hair = hair.mean(0).expand_as(hair)
        lashes = grow_lashes(person, head.vertices[0], skull[:3, 1])
        vertices = torch.cat([head.vertices[0], hair, torso, *lashes])
        tangents = torch.zeros_like(vertices)
        first = len(head.vertices[0])
        tangents[first : first + len(hair)] = torch.from_numpy(person.hair.tangents) @ skull[:3, :3].T
        person.query.update(vertices)
        normals = vertex_normals(vertices, person.faces)
        return Posed(vertices, normals, tangents, person.occlusion, self.model.landmarks(head.vertices)[0])

    @torch.no_grad()
    def draw(
        self,
        params: HeadParameters,
        turned: float,
        camera: Camera,
        light: shading.Light,
        backdrop: np.ndarray,
        *,
        shadows: bool = True,
        bald: bool = False,
    ) -> Portrait:
        """Render one ray a pixel. backdrop: `[S, S, 3]` linear float32 of the camera's size. shadows: whether the lamp
        throws any, which takes as long as the rest. bald: see `pose`."""
        posed = self.pose(params, turned, bald)
        person = self.person
        if not shadows:
            person = replace(person, shadowed=torch.zeros_like(person.shadowed))
        origins, directions = (rays.reshape(-1, 3) for rays in image_rays(camera))
        hits = cast_with_strands(person, posed.normals, origins, directions)
        seen = hits.face >= 0
        view = -directions[seen]
        points = origins[seen] - view * hits.depth[seen][:, None]
        linear = torch.from_numpy(backdrop.reshape(-1, 3).copy())
        linear[seen] = shading.tone(shade(person, light, posed, hits.face[seen], hits.barycentrics[seen], points, view))
        image = to_uint8(to_srgb(linear.numpy().reshape(camera.height, camera.width, 3)))
        places = project(posed.landmarks, camera)[0].numpy().astype(np.float32)
        return Portrait(image, places, camera, params, seen.reshape(camera.height, camera.width).numpy())


def random_identity(rng: np.random.Generator, asset: HeadAsset, deviation: float) -> Tensor:
    """Identity coefficients `[S]`: normal, cut at two deviations as the people of synthetic clips are."""
    return torch.tensor(rng.standard_normal(asset.shape_count).clip(-2, 2) * deviation, dtype=torch.float32)


def random_face(rng: np.random.Generator, asset: HeadAsset) -> HeadParameters:
    """One frame with an expression, a jaw and a gaze: rest, speech, slow and strong expressions, single actions."""
    params = HeadParameters.neutral(asset)
    weights: dict[str, float] = {}

    def add(shape: dict[str, float], size: float) -> None:
        for name, value in shape.items():
            for side in (f"{name[:-1]}Left", f"{name[:-1]}Right") if name.endswith("*") else (name,):
                weights[side] = weights.get(side, 0.0) + value * size

    jaw = 0.0
    if rng.random() < 0.55:
        opening, vowel = VOWELS[str(rng.choice(list(VOWELS)))]
        strength = rng.uniform(0.2, 1.1)
        jaw = opening * strength
        add(vowel, strength)
        add(CONSONANTS[str(rng.choice(list(CONSONANTS)))], rng.uniform(0, 1))
    if rng.random() < 0.5:
        add(EXPRESSIONS[str(rng.choice(list(EXPRESSIONS)))], rng.uniform(0.3, 1.0))
    if rng.random() < 0.2:
        opening, shape = STRONG[str(rng.choice(list(STRONG)))]
        strength = rng.uniform(0.4, 1.0)
        jaw = max(jaw, opening * strength)
        add(shape, strength)
    names = [name for name in asset.expression_names if name not in LEFT_ALONE and not name.startswith("eyeLook")]
    for name in rng.choice(names, 2, replace=False):
        if rng.random() < 0.5:
            add({str(name): 1.0}, rng.uniform(0.0, 0.5))
    if rng.random() < 0.15:
        add({"eyeBlink*": 1.0}, rng.uniform(0.2, 1.0))
    for name, value in weights.items():
        if name in asset.expression_names and name not in LEFT_ALONE:
            params.expr[0, asset.expression_index(name)] = float(np.clip(value, 0, 1))
    params.jaw[0, 0] = float(jaw)
    pitch, yaw = rng.normal(0, [0.07, 0.16])
    params.eyes[0] = torch.tensor([pitch, yaw, 0, pitch, yaw, 0], dtype=torch.float32)
    return params


def random_light(rng: np.random.Generator) -> shading.Light:
    """A room from any side: lamp, light opposite, sky and ground, in colours from warm to cold."""
    warm = rng.uniform(-0.12, 0.12)
    tint = torch.tensor([1 + warm, 1.0, 1 - warm], dtype=torch.float32)
    exposure = float(np.exp(rng.normal(0, 0.3)))
    strong = rng.uniform(0.1, 1.3) * exposure

    def unit(x: float, y: float, z: float) -> Tensor:
        return torch.nn.functional.normalize(torch.tensor([x, y, z], dtype=torch.float32), dim=0)

    side = rng.uniform(-1.3, 1.3)
    sky, ground = exposure * rng.uniform(0.25, 0.65), exposure * rng.uniform(0.1, 0.4)
    return shading.Light(
        key_direction=unit(side, rng.uniform(-0.1, 1.2), rng.uniform(0.1, 1.2)),
        key=strong * tint,
        fill_direction=unit(-side, rng.uniform(-0.3, 0.5), 0.6),
        fill=torch.full((3,), 0.3 * rng.uniform(0, 1) * exposure),
        sky=sky * torch.tensor([1 - 0.3 * warm, 1.0, 1 + 0.3 * warm], dtype=torch.float32),
        ground=ground * tint,
    )


def random_yaw(rng: np.random.Generator) -> float:
    """Radians to either side: mostly within 40 degrees, a fifth from 35 degrees to the profile."""
    if rng.random() < 0.8:
        return math.radians(rng.normal(0, 18))
    return math.radians(rng.uniform(35, 92)) * float(rng.choice([-1, 1]))


def place(rng: np.random.Generator, params: HeadParameters, yaw: float, size: int, centre: Tensor) -> Camera:
    """Turn the head of `params` (in place) by `yaw` and some pitch and roll, and a camera that sees it.

    centre: `[3]` middle of the rest head's landmarks. The picture of `size` pixels is a part of a wider one, so that
    the head may lie off the lens's axis; the distance is 0.3 to 2.5 m.
    """
    pitch, roll = rng.normal(0, [0.16, 0.10])
    angles = torch.tensor([[0.0, yaw, 0.0], [float(pitch), 0.0, 0.0], [0.0, 0.0, float(roll)]])
    turns = axis_angle_to_matrix(angles)
    params.rotation[0] = matrix_to_axis_angle(turns[0] @ turns[1] @ turns[2])
    distance = float(np.exp(rng.uniform(math.log(0.3), math.log(2.5))))
    aside = distance * np.tan(rng.normal(0, [0.12, 0.08]))
    eye = centre.numpy() + np.array([0, 0, distance])
    pose = look_at(tuple(eye), (centre[0].item() + aside[0], centre[1].item() + aside[1], centre[2].item()))
    focal = size * rng.uniform(0.50, 0.62) * distance / FACE_HEIGHT
    whole = Camera(size, size, focal, focal, 0.0, 0.0, pose)
    middle = project(centre[None], whole)[0][0].numpy() + rng.normal(0, 0.02 * size, 2)
    return Camera(size, size, focal, focal, size / 2 - middle[0], size / 2 - middle[1], pose)


def random_backdrop(rng: np.random.Generator, picture: np.ndarray, size: int) -> np.ndarray:
    """A part of a room's picture `[H, W, 3]` (linear float32), recoloured, or a plain or shaded wall."""
    import cv2

    tint = np.exp(rng.normal(0, 0.25, 3)).astype(np.float32)
    if rng.random() < 0.25:
        slope = np.linspace(rng.uniform(0.3, 1), rng.uniform(0.3, 1), size, dtype=np.float32)
        return np.ascontiguousarray(
            np.broadcast_to(rng.uniform(0.02, 0.8) * slope[:, None, None] * tint, (size, size, 3))
        )
    side = int(rng.integers(96, picture.shape[0]))
    y, x = rng.integers(0, picture.shape[0] - side + 1, 2)
    part = cv2.resize(picture[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_LINEAR)
    part = part[:, ::-1] if rng.random() < 0.5 else part
    return np.ascontiguousarray((part * tint * np.exp(rng.normal(0, 0.35))).astype(np.float32))
