"""How well an avatar shows the part of the room that its synthetic clip shows too, and how much no clip can tell.

    python scripts/make_synthetic_clip.py --seed 0 --size 256 --camera moving --out CLIP
    avatar capture CLIP/clip.mp4 --out CAPTURE --size 256 && avatar train CAPTURE --out RUN
    avatar eval RUN --truth CLIP/truth
    python scripts/measure_room.py RUN CLIP --seed 0

`room_15` looks at the room from cameras off the clip's path, and much of what they see no frame shows: beyond the
frames' edges, and behind the person. Every pixel beside the person is followed to its point of the room, and counts as
shown where at least two of every fourth training frame see that point beside the person. PSNR is of all such pixels of
the set at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from avatar.data.capture import Capture, read_capture
from avatar.geometry.cameras import Camera, image_rays, project
from avatar.media.images import read_png
from avatar.synthetic.clip import make_synthetic_scene
from avatar.synthetic.room import Room

SET = "room_15"
STRIDE, ENOUGH = 4, 2
"""One training frame of so many is looked at; so many of them must see a point."""
SAME = 0.03
"""Two distances within this share are those of one point."""


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run that `avatar eval --truth CLIP/truth` has scored."""
    clip: Annotated[Path, tyro.conf.Positional]
    """The synthetic clip's folder."""
    seed: int = 0
    """The clip's seed, from which its room is built again."""


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    torch.set_num_threads(1)
    truth, held = read_capture(settings.clip / "truth"), read_capture(settings.clip / "truth" / "held_out" / SET)
    count = len(truth.frames)
    scene = make_synthetic_scene(seed=settings.seed, size=truth.width, frames=count, fps=truth.fps, camera="moving")
    assert scene.room is not None
    views = training_views(truth, scene.room)
    errors: dict[str, list[np.ndarray]] = {"shown by the clip": [], "shown by no frame": [], "the person": []}
    for index, frame in enumerate(held.frames):
        folder = settings.run / "eval" / SET
        pair = (read_png(folder / kind / f"{frame.name}.png").astype(float) for kind in ("pred", "gt"))
        squared = np.square(np.subtract(*pair)).mean(2)
        shown, person = shown_by(views, frame.camera, scene.room), held.read_mask(index) > 127
        for name, where in zip(errors, (shown & ~person, ~shown & ~person, person), strict=True):
            errors[name].append(squared[where])
    everything = np.concatenate([part for parts in errors.values() for part in parts])
    for name, parts in errors.items():
        part = np.concatenate(parts)
        share, of_error = len(part) / len(everything), part.sum() / everything.sum()
        print(f"{name:<18} {share:4.0%} of the pixels, {of_error:4.0%} of the error, {decibels(part):.1f} dB")
    flawless = decibels(everything, of=np.concatenate(errors["shown by no frame"]))
    print(f"all {decibels(everything):.1f} dB; {flawless:.1f} dB if all but what no frame shows were flawless")


@dataclass(frozen=True)
class View:
    """A training frame's camera, and what it sees of the room."""

    camera: Camera
    distance: np.ndarray
    """`[H, W]` metres to the room, infinite where the person hides it."""


def training_views(truth: Capture, room: Room) -> list[View]:
    """One of STRIDE training frames of a clip's truth."""
    views = []
    for index in list(truth.splits["train"])[::STRIDE]:
        camera = truth.frames[index].camera
        distance = np.linalg.norm(room_points(camera, room) - camera.position, axis=-1)
        views.append(View(camera, np.where(truth.read_mask(index) > 127, np.inf, distance)))
    return views


def shown_by(views: Sequence[View], camera: Camera, room: Room) -> np.ndarray:
    """`[H, W]` bool: which pixels of a camera show a point of the room that ENOUGH of the views see."""
    points = room_points(camera, room)
    count = np.zeros(points.shape[:2], int)
    for view in views:
        pixels, depth = (each.numpy() for each in project(torch.from_numpy(points), view.camera))
        column, row = (np.floor(pixels[..., axis]).astype(int) for axis in (0, 1))
        height, width = view.distance.shape
        inside = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        seen = view.distance[row.clip(0, height - 1), column.clip(0, width - 1)]
        distance = np.linalg.norm(points - view.camera.position, axis=-1)
        count += inside & (np.abs(seen - distance) < SAME * distance)
    return count >= ENOUGH


def room_points(camera: Camera, room: Room) -> np.ndarray:
    """`[H, W, 3]` float64 metres: the point of the empty room behind each pixel."""
    origins, directions = (rays.reshape(-1, 3).float().contiguous() for rays in image_rays(camera))
    hits = room.query.cast_rays(origins, directions)
    points = origins + hits.depth[:, None] * directions
    return points.reshape(camera.height, camera.width, 3).double().numpy()


def decibels(squared: np.ndarray, of: np.ndarray | None = None) -> float:
    """PSNR of squared errors of 255; of: their part that counts, where the others are taken as none."""
    return float(10 * np.log10(255**2 / ((squared if of is None else of).sum() / len(squared))))


if __name__ == "__main__":
    main()
