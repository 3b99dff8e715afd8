"""Portraits of synthetic people with the landmarks that the detector finds: what dense landmarks are learned from.

    python scripts/landmark_portraits.py --out DATA --sitters 300 --people 20

Each sitter's paint, hair and clothes are worn by `people` heads of random identities, seen in `views` portraits each. A
file of DATA holds one sitter's; a sitter depends on the seed and its number only, and files that are there are kept, so
that an interrupted run goes on. Sitters of even and odd numbers differ in nothing: hold some out to test.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

FIRST_SEED = 100_000
"""Seed of the first sitter: far from those of synthetic clips, which are small."""

SHADOWS = 0.25
"""Share of the portraits in which the lamp throws shadows, which cost as much as all else."""
BALD, GLASSES = 0.12, 0.1
"""Shares of the people without hair, and of the portraits with glasses."""
EYES = ((33, 133, 159, 145), (263, 362, 386, 374))
"""Landmarks of the right and the left eye: outer and inner corner, upper and lower lid."""


@dataclass(frozen=True)
class Settings:
    """How many portraits."""

    out: Path
    """Folder of the files."""
    seed: int = 0
    """Everything follows from it."""
    sitters: int = 300
    """Paints, hair styles and clothes."""
    people: int = 20
    """Identities of a sitter."""
    views: int = 5
    """Portraits of an identity."""
    size: int = 160
    """Pixels of a portrait."""
    first: int = 0
    """Number of the first sitter."""


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    import torch

    from avatar.base.files import write_npz

    torch.set_num_threads(1)
    settings.out.mkdir(parents=True, exist_ok=True)
    for number in range(settings.first, settings.first + settings.sitters):
        path = settings.out / f"sitter_{number:04d}.npz"
        if path.exists():
            continue
        start = time.perf_counter()
        arrays = portraits_of(number, settings)
        write_npz(path, arrays)
        seconds, count = time.perf_counter() - start, settings.people * settings.views
        print(f"{path.name}: {count} portraits, {arrays['found'].mean():.3f} found, {seconds:.0f} s", flush=True)


def portraits_of(number: int, settings: Settings) -> dict[str, np.ndarray]:
    """All portraits of a sitter as arrays, people and views first."""
    import torch

    from avatar.flame.library import load_head
    from avatar.synthetic import portraits
    from capture_tools.detect.face_mesh import FaceMesh

    rng = np.random.default_rng([settings.seed, 31, number])
    asset = load_head()
    sitter = portraits.Sitter(FIRST_SEED + 1000 * settings.seed + number, asset)
    mesh = FaceMesh(1)
    corners = asset.faces[asset.mediapipe_faces]
    middle = (asset.template[corners] * asset.mediapipe_barycentrics[..., None]).sum(1).mean(0)
    rows: dict[str, list] = {}

    def keep(**values: np.ndarray | float | bool) -> None:
        for name, value in values.items():
            rows.setdefault(name, []).append(value)

    for _ in range(settings.people):
        shape = portraits.random_identity(rng, asset, rng.uniform(0.45, 0.75))
        keep(shape=shape.numpy())
        same_face = portraits.random_face(rng, asset) if rng.random() < 0.4 else None
        bald = bool(rng.random() < BALD)
        for _ in range(settings.views):
            params = same_face.clone() if same_face is not None else portraits.random_face(rng, asset)
            params.shape = shape
            yaw = portraits.random_yaw(rng)
            camera = portraits.place(rng, params, yaw, settings.size, torch.as_tensor(middle))
            backdrop = portraits.random_backdrop(rng, sitter.backdrop, settings.size)
            light = portraits.random_light(rng)
            turned, shadows = yaw * rng.uniform(0, 1), bool(rng.random() < SHADOWS)
            portrait = sitter.draw(params, turned, camera, light, backdrop, shadows=shadows, bald=bald)
            image = with_glasses(rng, portrait.image, portrait.landmarks) if rng.random() < GLASSES else portrait.image
            image = degraded(rng, blotched(rng, image) if rng.random() < 0.5 else image)
            found = detect(mesh, rng, image, portrait.landmarks)
            keep(
                found=found is not None,
                detected=np.zeros((478, 2), np.float32) if found is None else found,
                true=portrait.landmarks,
                picture=image,
                expr=params.expr[0].numpy(),
                jaw=params.jaw[0].numpy(),
                eyes=params.eyes[0].numpy(),
                rotation=params.rotation[0].numpy(),
                cam_from_world=camera.cam_from_world.astype(np.float32),
                lens=np.array([camera.fl_x, camera.cx, camera.cy], np.float32),
            )
    arrays = {name: np.stack(values) for name, values in rows.items()}
    views = {name: values for name, values in arrays.items() if name != "shape"}
    return {"shape": arrays["shape"]} | {
        name: values.reshape(settings.people, settings.views, *values.shape[1:]) for name, values in views.items()
    }


def detect(mesh, rng: np.random.Generator, image: np.ndarray, near: np.ndarray) -> np.ndarray | None:
    """Landmarks `[478, 2]` that the detector finds where a clip's previous frame would have pointed it to."""
    from capture_tools.detect.face_mesh import OUTER_EYE_CORNERS, WIDER
    from capture_tools.detect.regions import Region, box_around, picture_shape, rotation_between, square_around

    shape = picture_shape(image)
    points = (near / shape).astype(np.float32)
    first, last = OUTER_EYE_CORNERS
    region = square_around(box_around(points, rotation_between(points[first], points[last], shape, 0.0)), shape, WIDER)
    centre = region.centre + (rng.normal(0, 0.02, 2) * region.size).astype(np.float32)
    size = region.size * np.float32(np.exp(rng.normal(0, 0.04)))
    region = Region(centre, size, np.float32(region.rotation + rng.normal(0, 0.04)))
    faces, _ = mesh.find(image, [region])
    return (faces[0][:, :2] + 0.5).astype(np.float32) if faces else None


def degraded(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """What cameras and files do: fewer pixels, blur, noise, compression; now and then something before the face."""
    import cv2

    size = image.shape[0]
    image = occluded(rng, image) if rng.random() < 0.04 else image
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 0.7)))
    if rng.random() < 0.2:
        small = int(size * rng.uniform(0.55, 0.95))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    if rng.random() < 0.08:
        length, angle = rng.uniform(1, 4), rng.uniform(0, np.pi)
        steps = np.linspace(-0.5, 0.5, 7)[:, None] * length * np.array([np.cos(angle), np.sin(angle)])
        moved = [
            cv2.warpAffine(image, np.float32([[1, 0, x], [0, 1, y]]), (size, size), borderMode=1) for x, y in steps
        ]
        image = np.mean(moved, 0).astype(np.uint8)
    values = image.astype(np.float32)
    if rng.random() < 0.3:  # what phones sharpen
        values += rng.uniform(0.3, 1.5) * (values - cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.7, 2.0))))
        values = values.clip(0, 255)
    gamma, gain = np.exp(rng.normal(0, 0.12)), np.exp(rng.normal(0, 0.06, 3))
    values = 255 * (values / 255) ** gamma * gain
    values += rng.normal(0, rng.uniform(0, 3), values.shape)
    image = np.clip(values, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(50, 95))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)
    return np.ascontiguousarray(image)


def blotched(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Smooth patches of other brightness and colour: uneven skin, coloured lights, local tone mapping."""
    import cv2

    size = image.shape[0]
    cells = int(rng.integers(3, 14))
    patches = rng.normal(0, 1, (cells, cells, 1)) * rng.uniform(0, 0.14) + rng.normal(0, 0.04, (cells, cells, 3))
    patches = cv2.resize(patches.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(image * np.exp(patches), 0, 255).astype(np.uint8)


def with_glasses(rng: np.random.Generator, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Rims around the eyes, a bridge and temples, drawn over the picture; now and then the glasses are dark."""
    import cv2

    image, shades = image.copy(), image.copy()
    colour = tuple(int(v) for v in rng.integers(0, 200, 3) * rng.choice([0.15, 1.0]))
    width, round_ones = int(rng.integers(1, 4)), rng.random() < 0.5
    across, up = landmarks[263] - landmarks[33], landmarks[10] - landmarks[152]
    wide, high = rng.uniform(0.19, 0.27), rng.uniform(0.10, 0.16)
    angles = np.linspace(0, 2 * np.pi, 33)
    power = 1.0 if round_ones else 0.45
    lobe = np.stack([np.cos(angles), np.sin(angles)], 1)
    lobe = np.sign(lobe) * np.abs(lobe) ** power
    inner = []
    for eye, ear, side in zip(EYES, (127, 356), (-1, 1), strict=True):
        middle = landmarks[list(eye)].mean(0) - 0.03 * up
        shown = np.linalg.norm(landmarks[eye[0]] - landmarks[eye[1]]) / (0.33 * np.linalg.norm(across) + 1e-6)
        half = across * wide * np.clip(shown, 0.3, 1.2)
        rim = middle + lobe[:, :1] * half + lobe[:, 1:] * up * high
        points = np.rint(8 * rim).astype(np.int32)
        cv2.fillPoly(shades, [points], colour, cv2.LINE_AA, 3)
        cv2.polylines(image, [points], True, colour, width, cv2.LINE_AA, 3)
        outer = middle + side * half
        cv2.line(image, _pixel(outer), _pixel(landmarks[ear]), colour, width, cv2.LINE_AA)
        inner.append(2 * middle - outer)
    cv2.line(image, _pixel(inner[0]), _pixel(inner[1]), colour, width, cv2.LINE_AA)
    tint = rng.uniform(0.0, 0.15) if rng.random() < 0.85 else rng.uniform(0.5, 0.95)
    return np.rint((1 - tint) * image + tint * shades).astype(np.uint8)


def _pixel(place: np.ndarray) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


def occluded(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A plain shape of any colour over a part of the picture."""
    import cv2

    image, size = image.copy(), image.shape[0]
    centre = tuple(int(v) for v in rng.uniform(0.1, 0.9, 2) * size)
    axes = tuple(int(v) for v in rng.uniform(0.06, 0.22, 2) * size)
    colour = tuple(int(v) for v in rng.integers(20, 230, 3))
    cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    return image


if __name__ == "__main__":
    main()
