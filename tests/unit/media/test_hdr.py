"""Clips of high dynamic range, encoded here from known colours, come out as those colours in sRGB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar.media.hdr import conversion, pq_to_nits
from avatar.media.video import read_video

COLOURS = np.array([(16, 16, 16), (96, 64, 48), (170, 120, 100), (60, 90, 150), (150, 40, 30), (40, 140, 60)], float)
"""sRGB levels below the highlights, skin among them."""
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""BT.709 to BT.2020, ITU-R BT.2087-0, matrix M2."""


def light_of(levels: np.ndarray) -> np.ndarray:
    signal = levels / 255
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def as_pq(light: np.ndarray) -> np.ndarray:
    """Light (1: white of 203 cd/m2) as PQ, from the definition in SMPTE ST 2084."""
    y = (203 * light / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def as_hlg(light: np.ndarray) -> np.ndarray:
    """Light in BT.2020's primaries as HLG: the inverse OOTF of a display of 1000 cd/m2, then the OETF (BT.2100)."""
    shown = 0.203 * light
    luminance = shown @ np.array([0.2627, 0.6780, 0.0593])
    scene = shown * luminance[..., None] ** ((1 - 1.2) / 1.2)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def as_is(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def write(path: Path, signal: np.ndarray, codec: str, transfer: int, *, full: bool = False, matrix: int = 9) -> Path:
    """Patches of R'G'B' `[N, 3]` as 10-bit Y'CbCr of BT.2020's matrix (BT.2100-2, tables 6 and 9), 32 pixels each."""
    import av

    kr, kb = {9: (0.2627, 0.0593), 1: (0.2126, 0.0722)}[matrix]
    y = signal @ np.array([kr, 1 - kr - kb, kb])
    cb, cr = (signal[:, 2] - y) / (2 - 2 * kb), (signal[:, 0] - y) / (2 - 2 * kr)
    planes = [1023 * y, 1023 * cb + 512, 1023 * cr + 512] if full else [876 * y + 64, 896 * cb + 512, 896 * cr + 512]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32 * len(signal), 32, "yuv420p10le"
        stream.options = {"crf": "4"} | ({"x265-params": "log-level=none"} if codec == "libx265" else {})
        context = stream.codec_context
        context.color_primaries, context.color_trc = (1, 1) if matrix == 1 else (9, transfer)
        context.colorspace, context.color_range = matrix, 2 if full else 1
        for _ in range(3):
            frame = av.VideoFrame(32 * len(signal), 32, "yuv420p10le")
            frame.color_range = 2 if full else 1
            for plane, values, side in zip(frame.planes, planes, (32, 16, 16), strict=True):
                row = np.repeat(np.rint(values).clip(0, 1023), side)
                padded = np.zeros((side, plane.line_size // 2), "<u2")
                padded[:, : len(row)] = row
                plane.update(padded.tobytes())
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def middles(path: Path) -> np.ndarray:
    """The colours of the patches' middles, as floats."""
    _, image = next(read_video(path))
    assert image.dtype == np.uint8
    return image[16, 16::32].astype(float)


@pytest.mark.parametrize("codec", ["libx265", "libx264"])
@pytest.mark.parametrize(("transfer", "curve"), [(16, as_pq), (18, as_hlg)])
@pytest.mark.parametrize("full", [False, True])
def test_hdr_comes_out_in_its_colours(tmp_path: Path, codec: str, transfer: int, curve, full: bool) -> None:
    light = light_of(COLOURS) @ TO_2020.T
    found = middles(write(tmp_path / "clip.mp4", curve(light), codec, transfer, full=full))
    assert np.abs(found - COLOURS).max() <= 4


@pytest.mark.parametrize(("transfer", "curve"), [(16, as_pq), (18, as_hlg)])
def test_highlights_bend_and_stay_apart(tmp_path: Path, transfer: int, curve) -> None:
    """White paper stays light, lamps are brighter still, nothing is grey or clipped before 1000 cd/m2."""
    light = np.array([0.18, 1.0, 2.0, 4.9])[:, None].repeat(3, 1)
    found = middles(write(tmp_path / "clip.mp4", curve(light), "libx265", transfer))
    assert np.ptp(found, axis=1).max() <= 3
    grey, paper, lamp, sun = found.mean(1)
    assert grey == pytest.approx(118, abs=3)  # the sRGB level of 18 % grey
    assert 220 <= paper <= 240
    assert paper + 8 < lamp < sun
    assert sun >= 253


def test_wide_gamut_of_standard_range(tmp_path: Path) -> None:
    found = middles(write(tmp_path / "clip.mp4", as_is(light_of(COLOURS) @ TO_2020.T), "libx265", 14))
    assert np.abs(found - COLOURS).max() <= 4


@pytest.mark.parametrize("full", [False, True])
def test_ten_bits_of_standard_range(tmp_path: Path, full: bool) -> None:
    found = middles(write(tmp_path / "clip.mp4", COLOURS / 255, "libx265", 1, full=full, matrix=1))
    assert np.abs(found - COLOURS).max() <= 3


def test_published_numbers() -> None:
    """BT.2087's matrix, and PQ at the levels BT.2408 lists: 58 % is paper white, 75 % a thousand."""
    np.testing.assert_allclose(np.linalg.inv(conversion(9)), TO_2020, atol=2e-4)
    np.testing.assert_allclose(pq_to_nits(np.array([0, 0.5807, 0.7518, 1.0])), [0, 203, 1000, 10000], rtol=2e-3)
