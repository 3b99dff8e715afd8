"""A texture space: mean albedo plus principal components in a head's texture map, its file, and the fit of a person.

After photometric_optimization (H. Feng), which fits FLAME's texture space, a linear space of albedos as that of Blanz
and Vetter, "A morphable model for the synthesis of 3D faces", SIGGRAPH 1999, section 3: T = mean + sum_k c_k s_k B_k.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar.base.errors import HeadModelError, InputError
from avatar.base.files import sha256_of_file, write_npz
from avatar.base.npz import read_npz
from avatar.flame.assets import HeadAsset
from capture_tools.camera.background import fill_smoothly

SCHEMA_VERSION = 1
NOISE = 0.03
"""sRGB: deviation of a texel that was seen well from the space."""
INDEPENDENT = 30.0
"""Number of independent measurements that a whole map of texels stands for: errors of light and tracking are smooth,
and so is hair where the space has skin. Chosen on photographs of three synthetic people, with MOST_SPREAD."""
ROBUST = 2.0
"""Multiples of the noise from which on a texel's deviation counts less (Huber)."""
PASSES = 8
"""Rounds of reweighting."""
MOST_SPREAD = 0.06
"""sRGB: most by which what was seen shifts the fit beyond the border."""
TEXTS = ("head_name", "head_fingerprint", "uv_fingerprint")
ARRAYS = ("place", "mean", "components", "deviations", "explained")


@dataclass(frozen=True)
class TextureSpace:
    """K components over the P texels of a head's texture map; colours are sRGB in [0, 1]."""

    head_name: str
    head_fingerprint: str
    uv_fingerprint: str
    """Of the texture map: pictures in another map mean nothing in this one."""
    size: int
    """Texels across the map."""
    place: np.ndarray
    """`[P]` int64: row-major texels that the map covers; the first row is v = 1."""
    mean: np.ndarray
    """`[P, 3]` float32."""
    components: np.ndarray
    """`[K, P, 3]` float32, orthonormal over texels and channels."""
    deviations: np.ndarray
    """`[K]` float32: standard deviation of the people along each component."""
    explained: np.ndarray
    """`[min(N, 3 P)]` float32: share of the variance of each of all components, largest first."""
    people: int
    """N, of whom it was made."""

    def albedo(self, coefficients: np.ndarray) -> np.ndarray:
        """The albedo `[P, 3]` of coefficients `[K]`, each in standard deviations; not clipped."""
        return self.mean + np.tensordot((coefficients * self.deviations).astype(np.float32), self.components, 1)

    def picture(self, albedo: np.ndarray, size: int | None = None) -> np.ndarray:
        """An albedo `[P, 3]` as a picture `[T, T, 3]` float32 of `size` texels, filled smoothly beside the map."""
        import cv2

        filled = fill_smoothly(*self.unpacked(albedo))
        return filled if size in (None, self.size) else cv2.resize(filled, (size, size), interpolation=cv2.INTER_CUBIC)

    def unpacked(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values `[P, C]` in the map, `[T, T, C]` and zero beside it, and which texels `[T, T]` it covers."""
        return unpacked(values, self.place, self.size)


def unpacked(values: np.ndarray, place: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Values `[P, C]` of texels `place` as a map `[T, T, C]`, zero elsewhere, and the texels `[T, T]` that have one."""
    picture, covered = np.zeros((size * size, values.shape[1]), np.float32), np.zeros(size * size, bool)
    picture[place], covered[place] = values, True
    return picture.reshape(size, size, -1), covered.reshape(size, size)


def averaged(texture: np.ndarray, weight: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A texture `[T, T, 3]` with weights `[T, T]` averaged down to `size` texels: `[S, S, 3]` and `[S, S]`.

    Texels of weight zero do not count. Where `size` is larger the texture is interpolated.
    """
    import cv2

    way = cv2.INTER_AREA if size <= len(weight) else cv2.INTER_LINEAR
    total = cv2.resize(weight.astype(np.float32), (size, size), interpolation=way)
    colour = cv2.resize((texture * weight[..., None]).astype(np.float32), (size, size), interpolation=way)
    return colour / np.maximum(total, 1e-6)[..., None], total


def fit(space: TextureSpace, srgb: np.ndarray, seen: np.ndarray, noise: float = NOISE) -> np.ndarray:
    """The most likely coefficients `[K]` of an albedo `[P, 3]` that was seen so well (`[P]` in [0, 1]).

    They minimise n / P sum_p w_p rho(r_p / sigma) + |c|^2 with n independent measurements, Huber's rho and the unit
    normal as prior of c, by iteratively reweighted least squares (Holland and Welsch 1977).
    """
    basis = space.components * space.deviations[:, None, None]
    wanted = (srgb - space.mean).astype(np.float64)
    strength = INDEPENDENT / (len(seen) * noise**2)
    found, flat = np.zeros(len(basis)), basis.reshape(len(basis), -1).astype(np.float64)
    for _ in range(PASSES):
        away = np.abs(wanted - (found @ flat).reshape(wanted.shape)).mean(-1)
        # before anything is known the whole tone is off: the typical deviation counts as noise until it is fitted
        limit = ROBUST * max(noise, typical(away, seen))
        weight = strength * seen * np.minimum(1.0, limit / np.maximum(away, 1e-9))
        scaled = flat * np.repeat(weight, 3)
        before, found = found, np.linalg.solve(scaled @ flat.T + np.eye(len(flat)), scaled @ wanted.ravel())
        if np.abs(found - before).max(initial=0) < 1e-3:
            break
    return found.astype(np.float32)


def typical(away: np.ndarray, seen: np.ndarray) -> float:
    """The weighted median of deviations `[P]` with weights `[P]`; 0 where nothing was seen."""
    order = np.argsort(away)
    total = np.cumsum(seen[order])
    return float(away[order][np.searchsorted(total, total[-1] / 2)]) if total[-1] > 0 else 0.0


def complete(space: TextureSpace, texture: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A texture `[T, T, 3]` (sRGB in [0, 1]) of any size whose unseen texels are taken from the space.

    seen: `[T, T]` in [0, 1], how well. What was not seen is the fit plus the smoothly continued difference between what
    was seen and the fit, so that no border shows; in between the two are mixed by `seen`. Returns the completed
    texture, float32, and the coefficients `[K]`.
    """
    size = len(seen)
    small, weight = averaged(texture, seen, space.size)
    coefficients = fit(
        space, small.reshape(-1, 3)[space.place], weight.reshape(-1)[space.place].clip(0, 1).astype(np.float64)
    )
    guess = space.picture(space.albedo(coefficients), size)
    well = seen > 0.5
    if well.any():
        shift = np.where(well[..., None], texture - guess, 0).clip(-MOST_SPREAD, MOST_SPREAD).astype(np.float32)
        guess = guess + fill_smoothly(shift, well)
    share = (seen * seen * (3 - 2 * seen))[..., None]
    return (share * texture + (1 - share) * guess).clip(0, 1).astype(np.float32), coefficients


def save_space(path: Path, space: TextureSpace) -> Path:
    """Write a space as an .npz file of plain arrays. Raises OutputError where it cannot be written."""
    arrays = {name: getattr(space, name) for name in ARRAYS} | {name: np.array(getattr(space, name)) for name in TEXTS}
    arrays |= {
        "schema_version": np.array(SCHEMA_VERSION),
        "size": np.array(space.size),
        "people": np.array(space.people),
        "components": space.components.astype(np.float16),
    }
    return write_npz(path, arrays, compressed=True)


def read_space(path: Path) -> TextureSpace:
    """Read a file of `save_space`. Raises InputError for one that is missing, damaged or no texture space."""
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "the texture space does not exist",
            where=path,
            fix="check the path, or make one: avatar texture build CAPTURES... --out SPACE.npz",
        )
    try:
        arrays = read_npz(path)
    except (OSError, ValueError) as cause:
        raise _no_space(path, cause) from cause
    missing = [name for name in (*TEXTS, *ARRAYS, "schema_version", "size", "people") if name not in arrays]
    if missing:
        raise _no_space(path, f"no {', no '.join(missing)}")
    version = arrays["schema_version"]
    if version.shape != () or version.item() != SCHEMA_VERSION:
        raise InputError(
            "the texture space has an unknown schema_version",
            where=path,
            expected=SCHEMA_VERSION,
            found=version.tolist(),
            fix="build it again with this version: avatar texture build CAPTURES... --out SPACE.npz",
        )
    return _checked(path, arrays)


def _checked(path: Path, arrays: dict[str, np.ndarray]) -> TextureSpace:
    """The space of a file's arrays; raises InputError where shapes or values cannot be."""
    numbers = {name: arrays[name] for name in ("size", "people")}
    texts = {name: arrays[name] for name in TEXTS}
    if any(value.shape != () or value.dtype.kind not in "iu" for value in numbers.values()):
        raise _no_space(path, "size or people that are no whole numbers")
    if any(value.shape != () or value.dtype.kind != "U" for value in texts.values()):
        raise _no_space(path, "names that are no text")
    size, place, components = int(numbers["size"]), arrays["place"], arrays["components"]
    if components.ndim != 3 or place.ndim != 1 or place.dtype.kind not in "iu" or not len(place):
        raise _no_space(path, f"components of shape {components.shape}")
    shapes = {
        "mean": (len(place), 3),
        "components": (len(components), len(place), 3),
        "deviations": (len(components),),
        "explained": (arrays["explained"].size,),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape or arrays[name].dtype.kind != "f":
            raise _no_space(path, f"{name} of shape {arrays[name].shape} and type {arrays[name].dtype}")
        if not np.isfinite(arrays[name]).all():
            raise InputError(
                "the texture space holds numbers that are not finite",
                where=path,
                expected="finite numbers",
                found=f"NaN or infinity in {name}",
                fix="build it again: avatar texture build CAPTURES... --out SPACE.npz",
            )
    if not 1 <= size <= 4096 or place.min() < 0 or place.max() >= size * size:
        raise _no_space(path, f"texels outside a map of {size} texels")
    return TextureSpace(
        *(str(texts[name].item()) for name in TEXTS),
        size=size,
        place=place.astype(np.int64),
        **{name: arrays[name].astype(np.float32) for name in ARRAYS[1:]},
        people=int(numbers["people"]),
    )


def _no_space(path: Path, found: object) -> InputError:
    return InputError(
        "the file is no texture space",
        where=path,
        expected="a file made by avatar texture build",
        found=found,
        fix="avatar texture build CAPTURES... --out SPACE.npz",
    )


def require_same_map(space: TextureSpace, asset: HeadAsset, where: Path) -> TextureSpace:
    """The space, if it is in the texture map of a head; raises HeadModelError otherwise."""
    if space.uv_fingerprint != asset.uv_fingerprint:
        own = "no texture map" if asset.uv_fingerprint is None else f"the map {asset.uv_fingerprint[:12]}"
        raise HeadModelError(
            "the texture space is of another head's texture map",
            where=where,
            expected=f"{asset.name} with {own}",
            found=f"{space.head_name} with the map {space.uv_fingerprint[:12]}",
            fix=f"use --head-model {space.head_name}, or build a space from captures of {asset.name}",
        )
    return space


def open_space(path: Path, asset: HeadAsset) -> TextureSpace:
    """The texture space of a file, in the map of a head.

    Raises InputError for a file that is none, HeadModelError for one of another map.
    """
    return require_same_map(read_space(path), asset, path)


def space_identity(path: Path) -> str:
    """What tells a texture space from others in a folder's claim."""
    return sha256_of_file(path)[:16]
