"""MediaPipe's 478 face landmarks (face mesh with irises) in images and clips.

The networks run in `face_mesh.py`. Here faces that they lose are searched again, and one of several is chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from avatar.flame.landmark_sets import inter_ocular_distance
from capture_tools.detect.face_mesh import FaceMesh
from capture_tools.detect.regions import Region

PIXEL_CENTRE = 0.5
"""MediaPipe puts the centre of the first pixel at 0, this program at 0.5. Measured by scaling frames by 0.35 to 3: the
landmarks move by (1/scale - 1) * (-0.5, -0.5) px, one percent of an eye distance of 60 px."""
SEARCH_GROWTH = 2.5
"""Side of the square in which a lost face is searched, over its last size."""
SEARCH_SIZE = 512
"""Pixels; smaller search squares are enlarged to this, because the detector misses small faces."""
MINIMAL_INSIDE = 0.85
"""A face with a smaller share of its landmarks inside the image is rejected. Measured on five recordings, cropped at
each side of the face: at this share the landmarks inside move by 0.02 of the eye distance, at 0.7 by up to 0.08,
because the network draws the face into the picture."""


class LandmarkDetector:
    """Finds the landmarks of up to `max_faces` faces.

    `static=True` treats images as independent; otherwise calls must come in the order of the clip, and a lost face is
    searched again around its last position. Use as a context manager, or call `close`.
    """

    def __init__(self, static: bool = False, max_faces: int = 2) -> None:
        self.static, self.max_faces = static, max_faces
        self._mesh = FaceMesh(max_faces)
        self._regions: list[Region] = []
        self._last: np.ndarray | None = None

    def __enter__(self) -> LandmarkDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the clip: what follows is a new one."""
        self._regions, self._last = [], None

    def detect(self, rgb: np.ndarray) -> tuple[np.ndarray | None, int]:
        """The face in uint8 `[H, W, 3]` that continues the last one (else the largest), and the number of faces.

        Returns (float32 `[478, 2]` pixels, the first pixel's centre at 0.5, or None; faces found).
        """
        face, shares = self.detect_with_shares(rgb)
        return face, sum(share >= MINIMAL_INSIDE for share in shares)

    def detect_with_shares(self, rgb: np.ndarray) -> tuple[np.ndarray | None, list[float]]:
        """The face as from `detect`, and the share inside the picture of every face, those cut by its edge too."""
        faces = self.detect_all(rgb)
        shares = [share_inside(face, *rgb.shape[1::-1]) for face in faces]
        whole = [face for face, share in zip(faces, shares, strict=True) if share >= MINIMAL_INSIDE]
        face = choose_face(whole, None if self.static else self._last)[:, :2] if whole else None
        return face, shares

    def detect_all(self, rgb: np.ndarray) -> list[np.ndarray]:
        """All faces as float32 `[478, 3]`: x, y in pixels, and MediaPipe's z (pixels, smaller is nearer).

        Faces that the picture's edge cuts are among them (see `share_inside`).
        """
        faces, regions = self._find(rgb, self._regions)
        self._regions = [] if self.static else regions
        if not faces and not self.static and self._last is not None:
            faces = self._search_again(rgb)
        if faces:
            self._last = choose_face(faces, None if self.static else self._last)
        return faces

    def _search_again(self, rgb: np.ndarray) -> list[np.ndarray]:
        import cv2

        assert self._last is not None
        low, high = self._last[:, :2].min(0), self._last[:, :2].max(0)
        centre, half = (low + high) / 2, (high - low).max() * SEARCH_GROWTH / 2
        x0, y0 = np.maximum(np.floor(centre - half), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(centre + half), rgb.shape[1::-1]).astype(int)
        if x1 - x0 < 16 or y1 - y0 < 16:
            return []
        crop = rgb[y0:y1, x0:x1]
        scale = max(1.0, SEARCH_SIZE / max(crop.shape[:2]))
        if scale > 1:
            crop = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        faces, _ = self._find(crop)
        whole = [face for face in faces if share_inside(face, *crop.shape[1::-1]) >= MINIMAL_INSIDE]
        return [face / scale + np.array([x0, y0, 0], np.float32) for face in whole]

    def _find(self, rgb: np.ndarray, regions: Sequence[Region] = ()) -> tuple[list[np.ndarray], list[Region]]:
        faces, found = self._mesh.find(np.ascontiguousarray(rgb), regions)
        return [(face + np.array([PIXEL_CENTRE, PIXEL_CENTRE, 0])).astype(np.float32) for face in faces], found


def choose_face(faces: list[np.ndarray], previous: np.ndarray | None) -> np.ndarray:
    """The face that continues `previous` (nearest centre within its width and of like size), else the largest."""
    if previous is not None:
        size = float(inter_ocular_distance(previous[:, :2]))
        near = [
            (float(np.linalg.norm(face[:, :2].mean(0) - previous[:, :2].mean(0))), index)
            for index, face in enumerate(faces)
            if 0.6 < float(inter_ocular_distance(face[:, :2])) / max(size, 1e-6) < 1.7
        ]
        if near and min(near)[0] < 2.0 * size:
            return faces[min(near)[1]]
    return max(faces, key=lambda face: float(np.ptp(face[:, :2], axis=0).max()))


def cut_share(images: Iterable[np.ndarray]) -> float | None:
    """Median share of the face inside uint8 `[H, W, 3]` images that cut it too much for the detector.

    The images are padded with their edge pixels, so that the detector finds the outline of a face. None where fewer
    than a third of them show such a face.
    """
    shares = []
    with LandmarkDetector(static=True) as detector:
        for image in images:
            height, width = image.shape[:2]
            margin = max(height, width) // 2
            faces = detector.detect_all(np.pad(image, ((margin, margin), (margin, margin), (0, 0)), "edge"))
            place = np.array([margin, margin, 0], np.float32)
            shares.append(min((share_inside(face - place, width, height) for face in faces), default=1.0))
    cut = [share for share in shares if share < MINIMAL_INSIDE]
    return float(np.median(cut)) if cut and 3 * len(cut) >= len(shares) else None


def inside_picture(faces: np.ndarray, width: int, height: int) -> np.ndarray:
    """Which landmarks `[..., 2+]` (pixels) lie in a picture: bool `[...]`. Those outside are the network's guess."""
    x, y = faces[..., 0], faces[..., 1]
    return (x >= 0) & (x <= width) & (y >= 0) & (y <= height)


def share_inside(face: np.ndarray, width: int, height: int) -> float:
    """The share of a face's landmarks `[478, 2+]` that lie in the picture."""
    return float(inside_picture(face, width, height).mean())
