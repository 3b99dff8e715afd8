"""HDR and wide-gamut colours, as phones record them, to 8-bit sRGB.

Curves and the display's rendering intent are those of ITU-R BT.2100-2 (PQ: table 4; HLG: table 5 with its OOTF at 1000
cd/m2). White of paper lies at 203 cd/m2 (ITU-R BT.2408-7, section 2.2) and becomes the white of sRGB; what is brighter
is bent below it by the EETF of ITU-R BT.2390-10, section 5.4.1, on the largest of red, green and blue, so that hues
stay. Primaries are converted by way of XYZ (SMPTE RP 177).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from avatar.media import images

PQ, HLG = 16, 18
"""Transfer functions as files number them (ITU-T H.273, table 3): SMPTE ST 2084 and ARIB STD-B67."""
BT2020, P3 = 9, 12
"""Primaries as files number them (ITU-T H.273, table 2): BT.2020 and Display P3. Any others are taken for BT.709's."""
CHROMATICITIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""x and y of red, green and blue."""
WHITE_XY = (0.3127, 0.3290)
"""D65, the white of all of them."""
REFERENCE_WHITE = 203.0
PEAK = 1000.0
"""cd/m2: what HLG's brightest signal means on its reference display, and what phones master PQ for."""
HLG_GAMMA = 1.2
BT2020_LUMINANCE = (0.2627, 0.6780, 0.0593)
LEVELS = 1 << 16
BAND = 1 << 20
"""Pixels converted at a time: the memory of a frame in floating point stays small at any size."""


def is_plain(transfer: int, primaries: int) -> bool:
    """Whether a picture is shown as sRGB as it is (standard range, BT.709's primaries or similar)."""
    return transfer not in (PQ, HLG) and primaries not in (BT2020, P3)


def to_srgb(signal: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """uint16 `[H, W, 3]` R'G'B' of full range (0 to 65535) to uint8 `[H, W, 3]` sRGB.

    `transfer` and `primaries` as in H.273. Standard-range curves are taken for sRGB's, as players do.
    """
    result = np.empty(signal.shape, np.uint8)
    rows = max(1, BAND // signal.shape[1])
    for top in range(0, len(signal), rows):
        result[top : top + rows] = _band_to_srgb(signal[top : top + rows], transfer, primaries)
    return result


def _band_to_srgb(signal: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    import cv2

    light = _curve(transfer).take(signal, mode="clip")  # no index is outside; this mode is the quick one
    if transfer == HLG:  # OOTF: display light is scene light times its luminance to the power of gamma - 1
        luminance = light @ np.array(BT2020_LUMINANCE, np.float32)
        light *= (cv2.pow(luminance, HLG_GAMMA - 1) * (PEAK / REFERENCE_WHITE))[..., None]
    if primaries in CHROMATICITIES:
        light = cv2.transform(light, conversion(primaries).astype(np.float32))
    light = np.maximum(light, 0)
    if transfer in (PQ, HLG):
        brightest = np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2])
        place = brightest * ((LEVELS - 1) * REFERENCE_WHITE / PEAK)
        light *= _tone_gain()[np.minimum(place, LEVELS - 1).astype(np.uint16)][..., None]
    return _srgb_levels()[(np.minimum(light, 1) * (LEVELS - 1) + 0.5).astype(np.uint16)]


def pq_to_nits(signal: np.ndarray) -> np.ndarray:
    """PQ's EOTF: signal in [0, 1] to cd/m2 (BT.2100-2, table 4)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = np.power(signal, 1 / m2)
    return 10000 * np.power(np.maximum(root - c1, 0) / (c2 - c3 * root), 1 / m1)


def nits_to_pq(nits: np.ndarray | float) -> np.ndarray:
    """The inverse of `pq_to_nits`."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    y = np.power(np.asarray(nits) / 10000, m1)
    return np.power((c1 + c2 * y) / (1 + c3 * y), m2)


def hlg_to_scene(signal: np.ndarray) -> np.ndarray:
    """HLG's inverse OETF: signal in [0, 1] to scene light in [0, 1] (BT.2100-2, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def bend_highlights(nits: np.ndarray) -> np.ndarray:
    """BT.2390's EETF from a display of 1000 to one of 203 cd/m2: dark and middle tones stay, highlights bend."""
    peak, white = nits_to_pq(PEAK), nits_to_pq(REFERENCE_WHITE)
    e, top = nits_to_pq(np.minimum(nits, PEAK)) / peak, white / peak
    knee = 1.5 * top - 0.5
    t = (e - knee) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * top
    return pq_to_nits(np.where(e < knee, e, bent) * peak)


def conversion(primaries: int) -> np.ndarray:
    """`[3, 3]` from linear RGB of these primaries to linear RGB of BT.709's."""
    return np.linalg.inv(_to_xyz(1)) @ _to_xyz(primaries)


def _to_xyz(primaries: int) -> np.ndarray:
    corners = np.array([(x / y, 1, (1 - x - y) / y) for x, y in CHROMATICITIES[primaries]]).T
    x, y = WHITE_XY
    return corners * np.linalg.solve(corners, np.array([x / y, 1, (1 - x - y) / y]))


@lru_cache(maxsize=4)
def _curve(transfer: int) -> np.ndarray:
    """Light per 16-bit signal level, float32 `[65536]`: 1 is white (HLG: scene light, 1 is its brightest)."""
    curves: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        PQ: lambda signal: pq_to_nits(signal) / REFERENCE_WHITE,
        HLG: hlg_to_scene,
    }
    return curves.get(transfer, images.to_linear)(np.linspace(0, 1, LEVELS)).astype(np.float32)


@lru_cache(maxsize=1)
def _tone_gain() -> np.ndarray:
    """Factor per brightness from 0 to 1000 cd/m2, float32 `[65536]`."""
    nits = np.linspace(0, PEAK, LEVELS)
    nits[0] = nits[1]
    return (bend_highlights(nits) / nits).astype(np.float32)


@lru_cache(maxsize=1)
def _srgb_levels() -> np.ndarray:
    """8-bit level per linear light from 0 to 1, uint8 `[65536]`."""
    return np.rint(255 * images.to_srgb(np.linspace(0, 1, LEVELS))).astype(np.uint8)
