"""Measure texture spaces on synthetic people whose albedo is known.

    python scripts/measure_texture_space.py --people 60 --test 12 --json FILE --out DIR

A space is built from the painted albedo of the first people, each of whom is hidden beyond a border drawn at random, as
clips hide one side. On the people after them, by PSNR of 8-bit sRGB inside the face:

- rebuilt: the whole albedo by the components' coefficients alone
- halves: one half of the map hidden, and completed plainly (the other side and smooth filling, as captures are without
  a space), by the same of what differs from the mean of people, by the network of the build, and by the space (the fit,
  shifted by what was seen); figures are of the hidden half
- hidden: what was hidden of the first people themselves, completed plainly and by the network

With --photographs N the last N of the test people are also photographed, turned by 40 degrees under a light drawn at
random, and captured as by `avatar capture --image`, without the space and with it. Figures are of what the albedo.png
says of face texels the photograph does not show, and of the whole face, after one gain per channel (light and albedo
cannot be told apart) that is measured on what it does show. photographs.png shows photograph, both heads and the true
one.

Painting takes 3 s a person; --paint FILE keeps the albedos for another run.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro

from avatar.base.files import write_json, write_npz
from avatar.base.npz import read_npz
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from avatar.media.images import linear_image, read_png, to_linear, to_srgb, to_uint8, write_png
from avatar.synthetic import portraits
from avatar.synthetic.looks import make_looks
from avatar.synthetic.materials import lookup
from avatar.synthetic.person import paint_head
from capture_tools.model_learning.from_clips.albedo import face_samples
from capture_tools.photo import capture_photograph
from capture_tools.report.texture import ALBEDO, FOLDER, SEEN, completed_plainly, texels
from capture_tools.settings import CaptureSettings
from capture_tools.texture_space.building import Built, build
from capture_tools.texture_space.inpainting import complete_texture
from capture_tools.texture_space.pictures import CELL, draw_head, draw_people
from capture_tools.texture_space.reading import SeenTexture
from capture_tools.texture_space.settings import TextureSettings
from capture_tools.texture_space.space import averaged, complete, fit, save_space, unpacked

FIRST_SEED = 900_000
FINER = 4
"""Texels of the paint to one that is looked up: the map of the space is coarser."""
BORDER, SOFT = 0.15, 0.05
"""Shares of the map: most by which the border of what is seen lies off the first quarter, and its width."""
YAW, PHOTO = 40.0, 512
"""Degrees by which people are turned in photographs, and pixels of these."""
UNSEEN = 0.1


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    people: int = 60
    """People to build from."""
    test: int = 12
    """People after them to measure on."""
    photographs: int = 0
    """Of them, how many are photographed and captured too."""
    build: TextureSettings = field(default_factory=TextureSettings)
    paint: Path | None = None
    """File of painted albedos: read if it is there, else written."""
    json: Path | None = None
    """File for the figures."""
    out: Path | None = None
    """Folder for the space, pictures, and the captures of photographs."""


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    asset, size = load_head(), settings.build.size
    place = texels(asset, size).place.numpy()
    face = np.isin(place, face_samples(asset, size).place.numpy())
    true = painted(settings, asset)
    start = time.perf_counter()
    shown = [half_seen(true[i], place, size, i) for i in range(settings.people)]
    built = build(shown, asset, place, settings.build)
    print(
        f"built in {time.perf_counter() - start:.0f} s, {built.space.explained[: settings.build.components].sum():.4f}"
    )
    figures = of_hidden(built, shown, true, face)
    for albedo in true[settings.people :]:
        for name, value in of_person(built, albedo, face).items():
            figures.setdefault(name, []).append(value)
    if settings.out is not None:
        save_space(settings.out / "space.npz", built.space)
        write_png(settings.out / "people.png", draw_people(built.space, shown, built.completed))
    for number in range(settings.test - settings.photographs, settings.test):
        assert settings.out is not None, "photographs need --out"
        seed = FIRST_SEED + settings.people + number
        for name, value in of_photograph(
            settings.out, seed, asset, true[settings.people + number], built, face
        ).items():
            figures.setdefault(name, []).append(value)
        print(seed, {name: round(values[-1], 2) for name, values in figures.items() if name.startswith("photo")})
    if settings.out is not None and settings.photographs:
        rows = [read_png(path) for path in sorted(settings.out.glob("heads_*.png"))]
        write_png(settings.out / "photographs.png", np.concatenate(rows), synthetic=True)
    for name, values in figures.items():
        print(f"{name:<44} mean {np.mean(values):6.2f} dB, least {np.min(values):6.2f} dB, {len(values)} people")
    if settings.json is not None:
        write_json(settings.json, figures)


def painted(settings: Settings, asset: HeadAsset) -> np.ndarray:
    """True albedos `[N, P, 3]`, sRGB in [0, 1], of all people at the texels of the map."""
    count = settings.people + settings.test
    if settings.paint is not None and settings.paint.is_file():
        kept = read_npz(settings.paint)["albedos"]
        if len(kept) >= count:
            return kept[:count].astype(np.float32)
    found = np.stack([true_albedo(FIRST_SEED + i, asset, settings.build.size) for i in range(count)])
    if settings.paint is not None:
        write_npz(settings.paint, {"albedos": found.astype(np.float16)})
    return found


def true_albedo(seed: int, asset: HeadAsset, size: int) -> np.ndarray:
    """The painted albedo `[P, 3]` of a seed, sRGB in [0, 1], at the texels of a map."""
    atlas, albedo, _ = paint_head(seed, make_looks(seed), asset)
    samples = texels(asset, size)
    corners = asset.template[asset.faces[samples.face.numpy()]]
    at = atlas.coordinates((corners * samples.barycentrics.numpy()[..., None]).sum(1))
    coarse = cv2.resize(albedo, (atlas.width // FINER, atlas.height // FINER), interpolation=cv2.INTER_AREA)
    scale = np.array([coarse.shape[1] / atlas.width, coarse.shape[0] / atlas.height])
    column, row = torch.from_numpy(((at + 0.5) * scale - 0.5).astype(np.float32)).T
    return to_srgb(lookup(coarse, column, row).numpy()).astype(np.float32)


def half_seen(albedo: np.ndarray, place: np.ndarray, size: int, number: int) -> SeenTexture:
    """A person who is hidden beyond an upright border that differs from person to person."""
    rng = np.random.default_rng([number, 93])
    across = ((place % size + 0.5) / size - 0.5) * float(rng.choice([-1, 1]))
    seen = ((across + 0.25 + rng.uniform(-BORDER, BORDER)) / SOFT).clip(0, 1).astype(np.float32)
    return SeenTexture(f"person_{number:03d}", albedo * (seen > 0)[:, None], seen)


def of_hidden(built: Built, shown: list[SeenTexture], true: np.ndarray, face: np.ndarray) -> dict[str, list[float]]:
    """PSNR of what was hidden of the people a space was built from."""
    space, rows = built.space, {"hidden, plain": [], "hidden, network": []}
    for one, whole, albedo in zip(shown, built.completed, true, strict=False):
        hidden = face & (one.seen < UNSEEN)
        if hidden.sum() < 100:
            continue
        maps = unpacked(one.srgb, space.place, space.size)[0], unpacked(one.seen[:, None], space.place, space.size)[0]
        plain = as_today(maps[0], maps[1][..., 0], built).reshape(-1, 3)[space.place]
        rows["hidden, plain"].append(decibels(plain[hidden], albedo[hidden]))
        rows["hidden, network"].append(decibels(whole[hidden], albedo[hidden]))
    return rows


def of_person(built: Built, albedo: np.ndarray, face: np.ndarray) -> dict[str, float]:
    """PSNR of a person who was not in the build: rebuilt, and halves completed."""
    space = built.space
    everything = np.ones(len(space.place))
    rebuilt = space.albedo(fit(space, albedo, everything))
    figures = {
        "one colour (the mean of the space)": decibels(space.mean[face], albedo[face]),
        f"rebuilt, {len(space.components)} components": decibels(rebuilt[face], albedo[face]),
    }
    left = space.place % space.size < space.size // 2
    for side in (left, ~left):
        seen = unpacked((~side)[:, None].astype(np.float32), space.place, space.size)[0][..., 0]
        texture = unpacked(albedo * ~side[:, None], space.place, space.size)[0]
        ways = {
            "plain": as_today(texture, seen, built),
            "mean and plain": complete_texture(None, texture, seen, built.maps),
            "network": complete_texture(built.network, texture, seen, built.maps),
            "space": complete(space, texture, seen)[0],
        }
        for name, whole in ways.items():
            value = decibels(whole.reshape(-1, 3)[space.place][face & side], albedo[face & side])
            figures[f"halves, {name}"] = figures.get(f"halves, {name}", 0) + value / 2
    return figures


def as_today(texture: np.ndarray, seen: np.ndarray, built: Built) -> np.ndarray:
    """A texture `[T, T, 3]` (sRGB) completed as a capture without a space does it."""
    return completed_plainly(to_linear(texture), seen > 0.5, built.maps.symmetric)


def of_photograph(
    out: Path, seed: int, asset: HeadAsset, albedo: np.ndarray, built: Built, face: np.ndarray
) -> dict[str, float]:
    """PSNR of what a capture of one photograph says of a person's albedo, without the space and with it."""
    photo = out / f"photo_{seed}.png"
    write_png(photo, photograph(seed, asset), synthetic=True)
    figures, space = {}, built.space
    heads = [cv2.resize(read_png(photo), (CELL, CELL), interpolation=cv2.INTER_AREA)]
    for name, path in (("plain", None), ("space", out / "space.npz")):
        folder = capture_photograph(photo, out / f"capture_{seed}_{name}", CaptureSettings(texture_space=path))
        seen = read_png(folder / FOLDER / SEEN).astype(np.float32) / 255
        linear = linear_image(read_png(folder / FOLDER / ALBEDO))
        found = averaged(linear, np.ones_like(seen), space.size)[0].reshape(-1, 3)[space.place]
        share = averaged(linear, seen, space.size)[1].reshape(-1)[space.place]
        well, hidden = face & (share > 0.9), face & (share < UNSEEN)
        true = to_linear(albedo)
        found = found * np.median(true[well] / np.maximum(found[well], 0.01), 0)
        guess = to_srgb(found)
        figures[f"photographs, unseen, {name}"] = decibels(guess[hidden], albedo[hidden])
        figures[f"photographs, face, {name}"] = decibels(guess[face], albedo[face])
        figures["photographs, seen"] = decibels(guess[well], albedo[well])
        heads.append(draw_head(asset, to_uint8(space.picture(guess.astype(np.float32)))))
    heads.append(draw_head(asset, to_uint8(space.picture(albedo))))
    write_png(out / f"heads_{seed}.png", np.concatenate(heads, 1), synthetic=True)
    return figures


def photograph(seed: int, asset: HeadAsset) -> np.ndarray:
    """A person turned by YAW under a light drawn at random, uint8."""
    rng = np.random.default_rng([seed, 94])
    sitter = portraits.Sitter(seed, asset)
    params = portraits.HeadParameters.neutral(asset)
    params.shape = sitter.person.parameters.shape
    turn = axis_angle_to_matrix(torch.tensor([0.0, math.radians(YAW) * float(rng.choice([-1, 1])), 0.0]))
    params.rotation[0] = matrix_to_axis_angle(turn)
    with torch.no_grad():
        middle = sitter.model.landmarks(sitter.model(params).vertices)[0].mean(0)
    params.translation[0] = -middle
    distance, pose = 0.8, np.diag([1.0, -1.0, -1.0, 1.0])
    pose[2, 3] = distance
    focal = 0.45 * PHOTO * distance / portraits.FACE_HEIGHT
    camera = portraits.Camera(PHOTO, PHOTO, focal, focal, PHOTO / 2, PHOTO / 2, pose)
    backdrop = portraits.random_backdrop(rng, sitter.backdrop, PHOTO)
    return sitter.draw(params, 0.0, camera, portraits.random_light(rng), backdrop).image


def decibels(found: np.ndarray, true: np.ndarray) -> float:
    """PSNR of sRGB colours `[P, 3]`, rounded to 8 bits."""
    away = to_uint8(found).astype(np.float64) - to_uint8(true)
    return float(10 * np.log10(255**2 / max(np.mean(away**2), 1e-9)))


if __name__ == "__main__":
    main()
