"""Picture quality of a face: too dark, overexposed, without contrast, out of focus.

Measured on 15 recordings and synthetic clips of six seeds, as they are and degraded (brightness -0.35 with contrast
0.35, brightness +0.4 with contrast 1.5, contrast 0.2, a blur of 3 percent of the face's width). The light is judged
by the brightest part of the face, not by its mean: highlights are bright on skin of every colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BRIGHTEST, DARKEST = 95, 5
"""Percentiles of the face's grey levels taken as its brightest and darkest part."""
DARK = 80.0
"""Grey level of the brightest part below which a face is dark: 121 and more in good clips, 67 and less made dark."""
LITTLE_CONTRAST = 35.0
"""Grey levels between the brightest and the darkest part: 56 and more in good clips, 24 and less made flat."""
CLIPPED_LEVEL = 250
"""Level from which on a channel is clipped."""
BLOWN_OUT = 0.25
"""Share of clipped pixels in an overexposed face: 0.09 and less in good clips, 0.47 and more made bright (but 0.06 in
the darkest clip)."""
OUT_OF_FOCUS = 1.15
"""Detail (sharpness.absolute_detail) below which a face is out of focus: 1.39 and more in good clips, soft webcams and
MPEG-1 of 360 x 288 among them; 0.96 and less blurred."""
JUDGED_WIDTH = 64.0
"""Width of a face, pixels, from which on its focus is judged."""
FRAMES = 30
"""Frames examined, evenly spread."""


class FaceLevels(NamedTuple):
    """Grey levels of a face, in [0, 255] of sRGB."""

    darkest: float
    brightest: float
    clipped: float
    """Share of the face's pixels with a clipped channel."""


def inside_face(size: tuple[int, ...], face: np.ndarray) -> np.ndarray:
    """Which pixels of a picture of `size` (height, width) lie within a face's outline: bool `[H, W]`.

    face: `[478, 2+]` landmarks in its pixels.
    """
    import cv2

    inside = np.zeros(size, np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(np.rint(face[:, :2]).astype(np.int32)), (1,))
    return inside > 0


def face_levels(image: np.ndarray, face: np.ndarray) -> FaceLevels:
    """The levels within the outline of a face: uint8 `[H, W, 3]`, landmarks `[478, 2+]` in its pixels.

    Zeros where the face lies outside the picture.
    """
    import cv2

    pixels = image[inside_face(image.shape[:2], face)]
    if len(pixels) == 0:
        return FaceLevels(0.0, 0.0, 0.0)
    grey = cv2.cvtColor(pixels[:, None], cv2.COLOR_RGB2GRAY)
    darkest, brightest = np.percentile(grey, [DARKEST, BRIGHTEST])
    return FaceLevels(float(darkest), float(brightest), float((pixels.max(axis=-1) >= CLIPPED_LEVEL).mean()))


def picture_warnings(
    images: Sequence[np.ndarray] | np.ndarray,
    faces: np.ndarray,
    details: np.ndarray,
    widths: np.ndarray,
    *,
    driver: bool = False,
) -> list[str]:
    """Warnings about N pictures of a face, for the user; the median frame decides.

    images: uint8, N times `[H, W, 3]`. faces: `[N, 478, 2]` in their pixels. details: `[N]` sharpness.absolute_detail
    of the faces as they were filmed. widths: `[N]` pixels across them, as filmed. driver: the clip gives an avatar its
    motion, not its looks.
    """
    face = "the driver's face" if driver else "the face"
    rows = np.linspace(0, len(faces) - 1, min(len(faces), FRAMES)).round().astype(int)
    levels = np.array([face_levels(np.asarray(images[row]), faces[row]) for row in rows])
    darkest, brightest, clipped = np.median(levels, axis=0)
    less_exact = "the avatar will follow it less exactly"
    warnings = []
    if brightest < DARK:
        warnings.append(
            f"{face} is very dark (its brightest part is at {brightest:.0f} of 255): film in more light, or brighten "
            f"the video; {less_exact if driver else 'the avatar will be as dark'}"
        )
    elif brightest - darkest < LITTLE_CONTRAST:
        warnings.append(
            f"{face} has hardly any contrast ({brightest - darkest:.0f} of 255 levels between dark and bright): film "
            "without haze or filters, with light from the front"
        )
    if clipped > BLOWN_OUT:
        warnings.append(
            f"{face} is overexposed ({clipped:.0%} of it at the end of the scale): film with less light or a lower "
            "exposure; what is white there cannot be brought back"
        )
    if float(np.median(widths)) >= JUDGED_WIDTH and float(np.nanmedian(details)) < OUT_OF_FOCUS:
        warnings.append(
            f"{face} is out of focus in the whole clip: wipe the lens, let the camera focus on the face, film in more "
            f"light; {less_exact if driver else 'the avatar will be as soft'}"
        )
    return warnings
