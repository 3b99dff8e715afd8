"""Images as arrays and files. Colours are sRGB; files are 8-bit, rounded half to even."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avatar.base.errors import AvatarError, InputError
from avatar.base.files import write_bytes
from avatar.base.limits import PICTURE_PIXELS, require_picture_size
from avatar.base.provenance import Source, provenance_line
from avatar.media.manifest import signed_png


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] of any shape to 8 bits, rounded half to even, values outside clipped."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def to_linear(srgb: np.ndarray | float) -> np.ndarray:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    srgb = np.asarray(srgb, dtype=np.float32)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light to sRGB in [0, 1] (IEC 61966-2-1); values outside are clipped."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def linear_image(image: np.ndarray) -> np.ndarray:
    """uint8 sRGB of any shape to linear light in [0, 1], float32."""
    return to_linear(np.arange(256) / 255)[image]


def write_png(path: Path, image: np.ndarray, *, synthetic: bool = False, source: Source = Source.RENDERED) -> Path:
    """Write `[H, W, 3]`, `[H, W, 4]` or `[H, W]` uint8, or `[H, W]` uint16, as PNG, atomically.

    synthetic: say in its metadata that it was rendered, and sign it where a certificate is given (`manifest`), which
    says the picture's `source`. Raises as `manifest.require_signing` then.
    """
    data = png_bytes(image, synthetic=synthetic)
    return write_bytes(path, signed_png(data, Path(path).name, source) if synthetic else data)


def png_bytes(image: np.ndarray, *, synthetic: bool = False) -> bytes:
    """The PNG file that `write_png` writes, without a manifest."""
    import imageio.v3 as iio
    from PIL.PngImagePlugin import PngInfo

    if image.dtype != np.uint8 and (image.dtype != np.uint16 or image.ndim != 2):
        raise TypeError(f"a PNG file takes uint8, or uint16 in one channel, got {image.dtype} {image.shape}")
    info = PngInfo()
    if synthetic:
        info.add_text("Comment", provenance_line())
    # encoded in memory: imageio's writer that meets a full disk complains once more when it is collected
    return iio.imwrite("<bytes>", image, extension=".png", compress_level=1, pnginfo=info)


def is_whole_png(path: Path) -> bool:
    """Whether a file is a PNG with every byte as it was written: its checksums are compared, nothing is decoded."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as picture:
            picture.verify()
    except Exception:  # Pillow raises many types for damaged files
        return False
    return True


def read_png(path: Path, error: type[AvatarError] = InputError) -> np.ndarray:
    """Read an 8-bit image as `[H, W, 3]` or `[H, W]` uint8; raises `error` where it is missing or damaged."""
    import imageio.v3 as iio
    from PIL import Image

    try:
        with Image.open(path) as header:
            width, height = header.size
            require_picture_size(width, height, PICTURE_PIXELS, where=path, error=error)
        image = iio.imread(path)
    except AvatarError:
        raise
    except FileNotFoundError as cause:
        raise error("an image is missing", where=path) from cause
    except Exception as cause:  # imageio's plugins raise many types for damaged files
        raise error("an image cannot be read", where=path, expected="an 8-bit image", found=cause) from cause
    if image.dtype != np.uint8:
        raise error("an image has the wrong depth", where=path, expected="8 bits per channel", found=image.dtype)
    return image[..., :3] if image.ndim == 3 else image
