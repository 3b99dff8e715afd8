"""Three-dimensional room for synthetic clips with a moving camera: walls, a shelf, boxes at several distances.

Everything is a textured rectangle; rays are cast at them as at the person, so a moving camera sees true parallax.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from avatar.kernels.mesh.op import MeshQuery
from avatar.media.images import to_linear
from avatar.synthetic.looks import Looks
from avatar.synthetic.materials import lookup
from avatar.synthetic.textures import octaves

Point = tuple[float, float, float]

TEXELS = 250
"""Texels per metre of a surface: about one per pixel of a 512-pixel picture at the wall."""
BACK, SIDE, FLOOR, CEILING, FRONT = -2.1, 2.0, -1.4, 1.4, 3.0
"""Where the walls stand, metres: z, +-x, y, y, z."""


@dataclass(frozen=True)
class Room:
    """Rectangles with textures. Two triangles each, in order."""

    query: MeshQuery
    textures: list[np.ndarray]
    """`[h, w, 3]` float32 linear colours, one per rectangle."""

    def colours(self, origins: Tensor, directions: Tensor) -> Tensor:
        """Linear colours `[P, 3]` that rays `[P, 3]` from inside the room see; black for a ray that leaves it."""
        hits = self.query.cast_rays(origins, directions)
        colours = torch.zeros(len(hits.face), 3)
        panels = torch.div(hits.face, 2, rounding_mode="floor")
        # Corners run (0, 0), (1, 0), (1, 1), (0, 1); the faces are corners 0 1 2 and 0 2 3.
        _, second, third = hits.barycentrics.unbind(1)
        first_half = hits.face % 2 == 0
        across = torch.where(first_half, second + third, second)
        down = torch.where(first_half, third, second + third)
        for number in panels[panels >= 0].unique().tolist():
            there = panels == number
            texture = self.textures[number]
            height, width = texture.shape[:2]
            colours[there] = lookup(texture, across[there] * (width - 1), down[there] * (height - 1))
        return colours


def furnished_room(rng: np.random.Generator, looks: Looks) -> Room:
    """A room of four metres with the person's head at the origin, looking along +z; what stands in it follows `rng`."""
    builder = _Builder(rng, looks)
    builder.walls()
    side = 1 if rng.random() < 0.5 else -1
    builder.shelf(side)
    builder.boxes(-side)
    builder.posts()
    corners = np.stack(builder.corners).astype(np.float32)
    first = 4 * np.arange(len(corners), dtype=np.int32)[:, None, None]
    faces = (first + np.array([[0, 1, 2], [0, 2, 3]], np.int32)).reshape(-1, 3)
    query = MeshQuery(torch.from_numpy(faces)).update(torch.from_numpy(corners.reshape(-1, 3)))
    return Room(query, builder.textures)


class _Builder:
    """Collects rectangles: corners `[4, 3]` from the texture's top left corner clockwise, and textures."""

    def __init__(self, rng: np.random.Generator, looks: Looks) -> None:
        self.rng, self.looks = rng, looks
        self.corners: list[np.ndarray] = []
        self.textures: list[np.ndarray] = []

    def panel(self, corner: Point, across: Point, down: Point, art: np.ndarray) -> None:
        """Add the rectangle that `across` and `down` span from `corner`, metres."""
        start, right, below = (np.asarray(v, float) for v in (corner, across, down))
        self.corners.append(np.stack([start, start + right, start + right + below, start + below]))
        # Light falls in from above and from the camera's side: surfaces facing sideways are darker.
        normal = np.abs(np.cross(right, below) / (np.linalg.norm(right) * np.linalg.norm(below)))
        brightness = float(normal @ [0.72, 0.9, 1.0])
        self.textures.append(np.ascontiguousarray(to_linear(np.clip(art, 0, 1)) * brightness, np.float32))

    def art(self, width: float, height: float, colour: np.ndarray, patches: float, grain: float = 0.05) -> np.ndarray:
        """An sRGB texture for metres of surface: a colour, grain, and `patches` painted shapes per square metre."""
        rng = self.rng
        rows, columns = max(8, round(height * TEXELS)), max(8, round(width * TEXELS))
        canvas = np.broadcast_to(np.asarray(colour, np.float32), (rows, columns, 3)).copy()
        for _ in range(max(1, round(patches * width * height)) if patches else 0):
            place = (int(rng.uniform(0, columns)), int(rng.uniform(0, rows)))
            size = np.maximum(rng.uniform(0.008, 0.05, 2) * TEXELS, 1).astype(int)
            paint = rng.uniform(0.05, 0.95, 3).tolist()
            if rng.random() < 0.5:
                cv2.ellipse(canvas, place, tuple(size.tolist()), rng.uniform(0, 180), 0, 360, paint, -1, cv2.LINE_AA)
            else:
                end = (place[0] + int(size[0]), place[1] + int(size[1]))
                cv2.rectangle(canvas, place, end, paint, -1, cv2.LINE_AA)
        canvas *= (1 + grain * octaves(rng, rows, columns, max(2.0, 6 * height), 5, 0.7))[..., None]
        return cv2.GaussianBlur(canvas, (0, 0), 0.7)

    def box(self, low: Point, high: Point, colour: np.ndarray, patches: float) -> None:
        """A box by its corners, metres: front, both sides and the top; its back and bottom are never seen."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        wide, tall, deep = x1 - x0, y1 - y0, z1 - z0
        self.panel((x0, y1, z1), (wide, 0, 0), (0, -tall, 0), self.art(wide, tall, colour, patches))
        self.panel((x0, y1, z0), (0, 0, deep), (0, -tall, 0), self.art(deep, tall, colour, patches))
        self.panel((x1, y1, z1), (0, 0, -deep), (0, -tall, 0), self.art(deep, tall, colour, patches))
        self.panel((x0, y1, z0), (wide, 0, 0), (0, 0, deep), self.art(wide, deep, colour, patches))

    def colour(self, low: float = 0.15, high: float = 0.8) -> np.ndarray:
        return np.clip(self.rng.uniform(low, high) + 0.25 * self.rng.uniform(-1, 1, 3), 0.05, 0.95)

    def walls(self) -> None:
        wide, tall, deep = 2 * SIDE, CEILING - FLOOR, FRONT - BACK
        wall = self.looks.wall
        self.panel((-SIDE, CEILING, BACK), (wide, 0, 0), (0, -tall, 0), self._papered(wide, tall, wall))
        for x, z, run in ((-SIDE, FRONT, -deep), (SIDE, BACK, deep)):
            self.panel((x, CEILING, z), (0, 0, run), (0, -tall, 0), self.art(deep, tall, wall * 0.9, 3))
        self.panel((-SIDE, CEILING, FRONT), (wide, 0, 0), (0, 0, -deep), self.art(wide, deep, np.full(3, 0.85), 0))
        self.panel((-SIDE, FLOOR, BACK), (wide, 0, 0), (0, 0, deep), self.art(wide, deep, wall * 0.5, 8))
        self.panel((SIDE, CEILING, FRONT), (-wide, 0, 0), (0, -tall, 0), self.art(wide, tall, wall, 3))

    def _papered(self, wide: float, tall: float, wall: np.ndarray) -> np.ndarray:
        """The back wall with framed pictures of many shapes."""
        canvas = self.art(wide, tall, wall, 0, 0.04)
        for x in np.arange(-1.15, 1.2, 0.38):
            for y in (0.55, 0.12, -0.3):
                left = int((x + SIDE + self.rng.uniform(-0.05, 0.05)) * TEXELS)
                top = int((CEILING - y - 0.15 + self.rng.uniform(-0.04, 0.04)) * TEXELS)
                w, h = self.rng.uniform(0.18, 0.3, 2)
                picture = self.art(w, h, self.colour(0.3, 0.8), 160)
                rows, columns = picture.shape[:2]
                canvas[top - 4 : top + rows + 4, left - 4 : left + columns + 4] = self.rng.uniform(0.05, 0.25)
                canvas[top : top + rows, left : left + columns] = picture
        return canvas

    def shelf(self, side: int) -> None:
        """Books of several depths on boards along the back wall."""
        start, end = sorted((side * 0.34, side * 1.25))
        for board in (-0.45, -0.02, 0.41):
            self.box((start, board - 0.03, BACK), (end, board, BACK + 0.34), np.array([0.4, 0.28, 0.18]), 0)
            x = start + 0.01
            while x < end - 0.09:
                width, tall, deep = (
                    self.rng.uniform(0.03, 0.085),
                    self.rng.uniform(0.2, 0.34),
                    self.rng.uniform(0.1, 0.33),
                )
                self.box((x, board, BACK), (x + width, board + tall, BACK + deep), self.colour(), 120)
                x += width + self.rng.uniform(0.004, 0.05)

    def boxes(self, side: int) -> None:
        """Three piles of boxes between the wall and the person, the nearest at about a metre behind the head."""
        for near, inner, size in ((-1.75, 0.36, 0.3), (-1.3, 0.5, 0.26), (-0.95, 0.30, 0.2)):
            y = FLOOR
            while y < self.rng.uniform(0.1, 0.45):
                start, end = sorted((side * inner, side * (inner + size)))
                shift, tall = self.rng.uniform(-0.03, 0.03), self.rng.uniform(0.16, 0.3)
                low, high = (
                    (start + shift, y, near - size),
                    (end + shift, y + tall, near + self.rng.uniform(-0.05, 0.05)),
                )
                self.box(low, high, self.colour(0.3, 0.8), 60)
                y += tall

    def posts(self) -> None:
        """A slim post on either side, much nearer than the wall."""
        for x, z in ((-0.62, -0.7), (0.58, -1.15)):
            x += self.rng.uniform(-0.04, 0.04)
            self.box((x - 0.03, FLOOR, z - 0.06), (x + 0.03, CEILING, z), self.colour(0.3, 0.7), 150)
