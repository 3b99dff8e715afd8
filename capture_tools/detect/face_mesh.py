"""MediaPipe's face mesh with attention: 478 landmarks of each face in a picture, lips and eyes refined.

Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", 2019, and Grishchenko et al.,
"Attention mesh", 2020. The network has operations that LiteRT lacks: between its trunk and its heads for lips and eyes
it turns patches of its features upright. It is cut there, and the patches are taken here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from avatar.base.conventions import LANDMARK_COUNT
from capture_tools.detect.box_detector import face_detector
from capture_tools.detect.regions import (
    F,
    Region,
    atan32,
    box_around,
    carried_on,
    cos32,
    cut_out,
    picture_shape,
    put_back,
    rotation_between,
    sigmoid32,
    sin32,
    square_around,
    summed,
)
from capture_tools.detect.tflite_models import ModelParts, Network, model_bytes

SIDE = 192
"""Pixels of the square the network sees."""
PRESENT = 0.5
"""Score above which a region still shows a face."""
WIDER = 1.5
"""The square that is looked at over the box around a face."""
OUTER_EYE_CORNERS = (33, 263)
EYE_OUTLINE = 16
"""So many landmarks at the beginning of an eye's list outline it; their mean z is the iris's."""
IRIS_POINTS = 5
PARTS = (0, 1, 1, 2, 2)
"""Whose patch each head sees: lips, the eye and the iris in the left of the picture, those in the right."""


class FaceMesh:
    """The two networks, for one picture at a time. It keeps nothing: callers hand the regions on."""

    def __init__(self, max_faces: int) -> None:
        self.max_faces = max_faces
        self._detector = face_detector()
        model = ModelParts(model_bytes("face_landmark_with_attention.tflite"))
        patches = ["transform_tensor_bilinear_v2", *(f"transform_tensor_bilinear_v2_{k}" for k in (1, 2))]
        points = ["multiply_by_constant", "multiply_by_constant_2", "multiply_by_constant_4"]
        heads = ["reshape_1", "reshape_3", "reshape_4", "reshape_6", "reshape_7"]
        self._trunk = Network(model.part(["input_1"], ["output_mesh", "conv_faceflag", "p_re_lu_3", *points]))
        self._heads = Network(model.part(patches, heads))
        self._patches = [
            _Patch(options, model.constant(f"multiply_by_constant_{k}/Constant")[0])
            for options, k in zip(model.options("Landmarks2TransformMatrix"), (1, 3, 5), strict=True)
        ]

    def find(self, rgb: np.ndarray, previous: Sequence[Region] = ()) -> tuple[list[np.ndarray], list[Region]]:
        """The faces in uint8 `[H, W, 3]`, looked for in the regions of the previous frame and, while there are fewer
        than `max_faces`, in the whole picture.

        Returns (float64 `[478, 3]` each: x, y and z in pixels, the first pixel's centre at 0; their regions).
        """
        shape = picture_shape(rgb)
        found = []
        if len(previous) < self.max_faces:
            for face in self._detector.detect(rgb)[: self.max_faces]:
                turn = rotation_between(face.points[0], face.points[1], shape, 0.0)
                found.append(square_around(Region(face.low + face.size / F(2), face.size, turn), shape, WIDER))
        faces = [self._landmarks(rgb, region) for region in carried_on(found, previous)]
        seen = [face for face in faces if face is not None]
        first, last = OUTER_EYE_CORNERS
        regions = [
            square_around(box_around(face, rotation_between(face[first], face[last], shape, 0.0)), shape, WIDER)
            for face in seen
        ]
        return [face * shape[[0, 1, 0]].astype(np.float64) for face in seen], regions

    def _landmarks(self, rgb: np.ndarray, region: Region) -> np.ndarray | None:
        """The face that a region shows, float32 `[478, 3]` in shares of the picture; None where there is none."""
        mesh, flag, features, *points = self._trunk(cut_out(rgb, region, SIDE, (0.0, 1.0)))
        if sigmoid32(flag.item()) <= PRESENT:
            return None
        matrices = [patch.matrix(one) for patch, one in zip(self._patches, points, strict=True)]
        refined = self._heads(*_sampled(features, np.stack(matrices), self._patches[0].side))
        landmarks = np.empty((LANDMARK_COUNT, 3), F)
        landmarks[: -2 * IRIS_POINTS] = mesh.reshape(-1, 3)
        irises = np.arange(LANDMARK_COUNT - 2 * IRIS_POINTS, LANDMARK_COUNT).reshape(2, IRIS_POINTS)
        lips, left, right = (patch.subset for patch in self._patches)
        for rows, part, head in zip((lips, left, irises[0], right, irises[1]), PARTS, refined, strict=True):
            landmarks[rows, :2] = self._patches[part].unpatched(head, matrices[part])
        for iris, eye in zip(irises, (left, right), strict=True):
            landmarks[iris, 2] = summed(landmarks[eye[:EYE_OUTLINE], 2]) / F(EYE_OUTLINE)
        return put_back(landmarks / F(SIDE), region)


class _Patch:
    """Where the network looks closer: a turned square of its features around some of its landmarks."""

    def __init__(self, options: dict[str, Any], scale: np.ndarray) -> None:
        self.subset = np.array(options["subset_idxs"])
        self.side = int(options["output_width"])
        self._grow = F(options["scale_x"])
        self._corners = options["left_rotation_idx"], options["right_rotation_idx"]
        self._scale = scale[:2, [0, 1, 3]]

    def matrix(self, points: np.ndarray) -> np.ndarray:
        """From the patch's cells to those of the features: float32 `[2, 3]`, for landmarks `[468, 3]` in cells."""
        left, right = (points[index] for index in self._corners)
        turn = -atan32(right[1] - left[1], right[0] - left[0])
        cos, sin = cos32(turn), sin32(turn)
        x, y = points[self.subset, 0], points[self.subset, 1]
        upright = np.stack([x * cos + y * -sin, x * sin + y * cos], axis=1)
        high, low = upright.max(0), upright.min(0)
        size, (middle_x, middle_y) = self._grow * (high - low) / F(self.side), (high + low) / F(2)
        centre = np.array([cos * middle_x + sin * middle_y, -sin * middle_x + cos * middle_y], F)
        turned = np.array([[cos, sin], [-sin, cos]], F) * size
        half = F(-self.side / 2)
        return np.concatenate([turned, (turned[:, :1] * half + turned[:, 1:] * half) + centre[:, None]], axis=1)

    def unpatched(self, points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """Points `[N, 2]` of a head -> pixels of the network's picture."""
        scaled = matrix * self._scale
        return (scaled[:, 0] * points[:, :1] + scaled[:, 1] * points[:, 1:]) + scaled[:, 2]


def _sampled(features: np.ndarray, matrices: np.ndarray, side: int) -> np.ndarray:
    """Patches of features `[h, w, C]` between their cells, zero beyond them: float32 `[P, side, side, C]`."""
    height, width, channels = features.shape
    y, x = (grid.ravel().astype(F) for grid in np.mgrid[:side, :side])
    exact = matrices.astype(np.float64)  # the shift by half a cell is made in double
    shift = (exact[..., 2] + (exact[..., 0] * 0.5 + exact[..., 1] * 0.5 - 0.5)).astype(F)
    place = (matrices[..., :1] * x + matrices[..., 1:2] * y) + shift[..., None]
    limit = np.array([[width - 1], [height - 1]], F)
    inside = ((place >= 0) & (place <= limit)).all(1)
    floor = np.clip(np.floor(place), 0, limit)
    across, lower = ((place - floor)[:, axis, :, None] for axis in (0, 1))
    (left, top), (right, bottom) = (
        np.moveaxis(cell.astype(np.intp), 1, 0) for cell in (floor, np.minimum(floor + 1, limit))
    )
    cells = features.reshape(-1, channels)
    stay = 1.0 - across.astype(np.float64)
    rows = [(stay * cells[row * width + left] + across * cells[row * width + right]).astype(F) for row in (top, bottom)]
    mixed = (lower * rows[1] + (1.0 - lower.astype(np.float64)) * rows[0]).astype(F)
    return (mixed * inside[..., None]).reshape(len(matrices), side, side, channels)
