"""Pictures of texture spaces: what was seen of people and how it was completed, and the heads of sampled people."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from avatar.flame.assets import HeadAsset
from avatar.flame.model import HeadParameters
from avatar.geometry.cameras import Camera
from avatar.media.images import linear_image, to_uint8
from capture_tools.report.painting import MeshPainter, Skin, as_srgb
from capture_tools.texture_space.reading import SeenTexture
from capture_tools.texture_space.space import TextureSpace

MOST = 12
"""People of whom the picture of a space shows what was seen."""
CELL, GROUND = 192, 40
TURN = 0.35
"""Radians by which the heads of a sheet are turned."""
DISTANCE = 1.0
"""Metres from the camera to them."""
HARMONICS = (2.9, 0.35, 0.5, 0.0)
"""Light of the sheets: coefficients of the constant and of up, towards the camera and right."""


def draw_people(space: TextureSpace, textures: Sequence[SeenTexture], completed: np.ndarray) -> np.ndarray:
    """Maps of up to MOST people, uint8: what was seen above, the completed texture below."""
    columns = []
    for one, whole in list(zip(textures, completed, strict=True))[:MOST]:
        seen = one.srgb * one.seen[:, None] + (1 - one.seen[:, None]) * (GROUND / 255)
        maps = [space.unpacked(seen)[0], space.unpacked(np.asarray(whole))[0]]
        columns.append(
            np.concatenate([cv2.resize(to_uint8(part), (CELL, CELL), interpolation=cv2.INTER_AREA) for part in maps])
        )
    return np.concatenate(columns, 1)


def draw_sheet(asset: HeadAsset, albedos: Sequence[np.ndarray]) -> np.ndarray:
    """Heads with albedos `[T, T, 3]` (uint8) in a nearly square grid, uint8."""
    across = math.ceil(math.sqrt(len(albedos)))
    rows = math.ceil(len(albedos) / across)
    sheet = np.full((rows * CELL, across * CELL, 3), GROUND, np.uint8)
    for number, albedo in enumerate(albedos):
        y, x = (CELL * part for part in divmod(number, across))
        sheet[y : y + CELL, x : x + CELL] = draw_head(asset, albedo)
    return sheet


def draw_head(asset: HeadAsset, albedo: np.ndarray) -> np.ndarray:
    """The mean head with an albedo `[T, T, 3]` (uint8), a little turned: uint8 `[CELL, CELL, 3]`."""
    light = torch.zeros(9, 3)
    for row, value in enumerate(HARMONICS):
        light[row] = value
    painter = MeshPainter(asset, Skin(torch.from_numpy(linear_image(albedo)), light))
    params = HeadParameters.neutral(asset)
    params.rotation[0, 1] = TURN
    face = asset.template[asset.region("face")]
    height = float(np.ptp(face[:, 1]))
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = [0.0, float((face[:, 1].max() + face[:, 1].min()) / 2), DISTANCE]
    focal = 0.62 * CELL * DISTANCE / height
    camera = Camera(CELL, CELL, focal, focal, CELL / 2, CELL / 2, pose)
    seen = painter.look(params, camera)
    ground = np.full((CELL, CELL, 3), GROUND, np.uint8)
    return seen.over(ground, as_srgb(painter.painted(seen)))
