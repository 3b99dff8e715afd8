"""How much better a head model that lacks directions knows people after it learned from clips.

    python scripts/model_learning_clips.py --out DATA --people 50
    python scripts/measure_model_learning.py DATA --learn 40 --test 10 --json FILE

The starting model is the open head without the ten principal directions of its identities, by what they move on the
face and without what moves or sizes all of it: people need what it cannot say. It learns from the first clips of DATA
and is measured on the others, with all frames and with one: the neutral head found by the identity coefficients alone
against the true one (median over the face, mm, one similarity apart), and the albedo inside the face (dB of 8-bit sRGB,
one gain per channel apart). The same with the starting model and with the whole open head, which knows the people's
true directions, say where the ends are. `--landmarks detected` takes what the detector found; `dense` takes dense
landmarks found by it, as `avatar model learn` does; `noisy` takes true landmarks with noise, in metres per axis: 0.8 mm
of each landmark in each frame, 0.8 mm smooth over the face in each frame, 0.6 mm smooth over the face and the same in
all frames of a person, turning with the head.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from measure_tracking import align
from torch import Tensor

from avatar.base.files import write_json
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.geometry.rotations import axis_angle_to_matrix
from avatar.media.images import to_srgb, to_uint8, write_png
from capture_tools.dense_landmarks.placing import place_dense_landmarks
from capture_tools.detect.selection import Crop
from capture_tools.model_learning.from_clips.albedo import SIDE, SeenAlbedo, face_samples
from capture_tools.model_learning.from_clips.albedo_space import albedo_from_head, complete
from capture_tools.model_learning.from_clips.bases import vertex_areas, without_similarity
from capture_tools.model_learning.from_clips.learning import learn, with_directions
from capture_tools.model_learning.from_clips.person_fit import fit_person
from capture_tools.model_learning.from_clips.reading import Clip
from capture_tools.model_learning.from_clips.settings import ClipLearnSettings
from capture_tools.track.landmark_bias import EXTRA
from capture_tools.track.photometric import Pictures

TAKEN_OUT = 10
"""Principal identity directions that the starting model lacks."""
OWN, SMOOTH, CONSTANT, LENGTH = 0.0008, 0.0008, 0.0006, 0.020
"""Metres: the landmarks' noise per axis, and the length over which it is smooth."""
MANY_FRAMES, ONE_FRAME = 0.02, 0.3
"""Weight of the squared identity coefficients for all frames of a clip, and where one is all there is."""
SHOWN = 6
"""People in the picture."""
DISTANCE = 0.72
"""Metres from the camera to the heads, about."""


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    data: Annotated[Path, tyro.conf.Positional]
    """Folder made by model_learning_clips.py."""
    learn: int = 40
    """Clips to learn from."""
    test: int = 10
    """Clips after them to measure on."""
    landmarks: Literal["noisy", "detected", "dense"] = "noisy"
    """Where landmarks come from."""
    options: ClipLearnSettings = field(default_factory=ClipLearnSettings)
    json: Path | None = None
    """File for the figures."""
    picture: Path | None = None
    """File for a picture of the first people measured: true albedo, what the clip shows, what is learned."""


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    torch.set_num_threads(1)
    whole = load_head()
    if settings.landmarks == "noisy":  # which lie on the skin
        whole = replace(whole, extras={key: value for key, value in whole.extras.items() if key != EXTRA})
    start = with_directions(whole, beyond_principal(whole, TAKEN_OUT), "start")
    numbers = range(settings.learn + settings.test)
    clips = {k: read(settings.data / f"clip_{k:03d}.npz", whole, settings.landmarks) for k in numbers}
    learned = learn([clips[k][0] for k in range(settings.learn)], start, settings.options, "learned")
    figures: dict[str, list[float]] = {}
    columns: list[np.ndarray] = []
    for number in range(settings.learn, len(clips)):
        clip, shape, albedo = clips[number]
        true = torch.as_tensor(whole.shapedirs) @ torch.as_tensor(shape)
        figures.setdefault("the mean head", []).append(error(torch.zeros_like(true), true, whole))
        middle = len(clip.times) // 2
        for frames, part, weight in (("many", clip, MANY_FRAMES), ("one", clip.select([middle]), ONE_FRAME)):
            for name, head in (("start", start), ("learned", learned.head), ("whole", whole)):
                fit = fit_person(part, head, shape_weight=weight)
                key = f"{name}, {frames}"
                figures.setdefault(key, []).append(error(fit.displaced.float(), true, whole))
                if name == "learned":
                    said = complete(fit.albedo, albedo_from_head(learned.head))
                    rows = {"flat": fit.albedo.tone.expand_as(said), "observed": observed(fit.albedo), "learned": said}
                    if frames == "many" and len(columns) < SHOWN:
                        columns.append(column([torch.as_tensor(albedo), rows["observed"], said], whole))
                    for kind, found in rows.items():
                        figures.setdefault(f"albedo {kind}, {frames}", []).append(decibels(found, albedo))
        print(number, {name: round(values[-1], 2) for name, values in figures.items()}, flush=True)
    means = {name: round(float(np.mean(values)), 3) for name, values in figures.items()}
    print(means)
    if settings.json is not None:
        write_json(settings.json, {"landmarks": settings.landmarks, "means": means, "people": figures})
    if settings.picture is not None:
        write_png(settings.picture, np.concatenate(columns, 1), synthetic=True)


def beyond_principal(asset: HeadAsset, count: int) -> Tensor:
    """Identity directions `[S - count, 3 V]` without the `count` principal ones.

    Principal by the area of the face's vertices, after the best similarity. The first columns of a basis are no such
    directions: on the face, others say nine tenths of what they say. Coefficients stay normal of unit variance.
    """
    areas = vertex_areas(asset) * torch.as_tensor(asset.region("face"))
    own = torch.as_tensor(asset.shapedirs).double().permute(2, 0, 1)
    seen = without_similarity(own, torch.as_tensor(asset.template).double(), areas) * areas.sqrt()[:, None]
    _, _, turns = torch.linalg.svd(seen.flatten(1).T, full_matrices=False)
    return (turns[count:] @ own.flatten(1)).float()


def read(path: Path, asset: HeadAsset, landmarks: str) -> tuple[Clip, np.ndarray, np.ndarray]:
    """A clip, the true identity `[S]` and the true albedo `[P, 3]` of `face_samples`."""
    with np.load(path) as arrays:
        data = dict(arrays)
    size = data["images"].shape[1]
    marks = noisy(data, asset, int(path.stem[-3:])) if landmarks == "noisy" else data["detected"]
    rows = np.flatnonzero(np.isfinite(marks).all((1, 2)))
    masks = data["masks"][rows].astype(np.uint8) * 255
    pictures = Pictures(data["images"][rows], masks, Crop(size / 2, size / 2, size, size))
    hidden = np.zeros((len(rows), 478), bool)
    marks = marks[rows].astype(np.float64) + size / 2
    dense = place_dense_landmarks(asset, pictures.images, pictures.crop, marks) if landmarks == "dense" else None
    clip = Clip(path.stem, marks, hidden, rows * 1.0, pictures, 2 * size, float(data["focal"]), dense)
    return clip, data["shape"], data["albedo"].reshape(-1, 3)[face_samples(asset).place.numpy()]


def noisy(data: dict[str, np.ndarray], asset: HeadAsset, seed: int) -> np.ndarray:
    """True landmarks `[N, 478, 2]` with the noise that the module's text describes."""
    rng = np.random.default_rng([seed, 71])
    corners = asset.template[asset.faces[asset.mediapipe_faces]].astype(float)
    points = (corners * asset.mediapipe_barycentrics[..., None]).sum(1)
    squared = ((points[:, None] - points) ** 2).sum(-1)
    factor = np.linalg.cholesky(np.exp(-squared / (2 * LENGTH**2)) + 1e-6 * np.eye(len(points)))
    turns = axis_angle_to_matrix(torch.as_tensor(data["rotation"])).numpy()
    own = CONSTANT * factor @ rng.standard_normal((len(points), 3))
    error = np.einsum("nij,kj->nki", turns, own)[..., :2] * [1, -1]
    shape = (len(turns), len(points), 2)
    error = error + SMOOTH * np.einsum("kl,nlc->nkc", factor, rng.standard_normal(shape))
    error = error + OWN * rng.standard_normal(shape)
    return data["landmarks"] + error * float(data["focal"]) / DISTANCE


def error(found: Tensor, true: Tensor, asset: HeadAsset) -> float:
    """Median distance in millimetres over the face between two displaced templates, one similarity apart."""
    template, face = torch.as_tensor(asset.template), torch.as_tensor(asset.region("face"))
    mine, real = (template + found)[face], (template + true)[face]
    size = (mine - mine.mean(0)).norm() / (real - real.mean(0)).norm()
    return float(1000 * (align(mine / size, real) - real).norm(dim=-1).median())


def observed(albedo: SeenAlbedo) -> Tensor:
    """What the clip itself shows, and the mean colour where it shows nothing."""
    return torch.where(albedo.seen[:, None] > 0, albedo.linear, torch.ones_like(albedo.linear)) * albedo.tone


def column(albedos: list[Tensor], asset: HeadAsset) -> np.ndarray:
    """Linear albedos `[P, 3]` of `face_samples` below each other as sRGB maps, with the mean colours of the first."""
    place, maps = face_samples(asset).place.numpy(), []
    for albedo in albedos:
        picture = np.zeros((SIDE**2, 3), np.float32)
        toned = albedo.double() * (albedos[0].double().mean(0) / albedo.double().mean(0))
        picture[place] = to_srgb(toned.numpy().clip(0, 1).astype(np.float32))
        maps.append(picture.reshape(SIDE, SIDE, 3)[10:-10, 10:-10])
    return to_uint8(np.concatenate(maps))


def decibels(found: Tensor, true: np.ndarray) -> float:
    """PSNR of an albedo `[P, 3]` after one gain per channel."""
    linear = found.numpy() * (true.mean(0) / found.numpy().mean(0))
    off = to_srgb(linear.clip(0, 1).astype(np.float32)) - to_srgb(true)
    return float(-10 * np.log10(np.mean(off**2)))


if __name__ == "__main__":
    main()
