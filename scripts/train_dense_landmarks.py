"""Train the network of dense landmarks.

    python scripts/landmark_portraits.py --out DATA --sitters 300 --people 20
    python scripts/train_dense_landmarks.py --data DATA --out dense_landmarks.safetensors

It learns on portraits of synthetic people with the detector's own landmarks on them, and is tested on sitters that had
no part in that. Errors are distances in the picture, in millimetres at the head.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from safetensors.torch import save as serialised
from torch import Tensor

from avatar.base.conventions import LANDMARK_COUNT
from avatar.base.files import write_bytes
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.geometry.rotations import axis_angle_to_matrix
from capture_tools.dense_landmarks.network import DenseNetwork
from capture_tools.dense_landmarks.points import EXTRA, DensePoints, dense_points
from capture_tools.detect.face_view import SIDE, cut_view, in_view, view_of

WARM_UP = 300
"""Steps over which the learning rate rises; the deviations are learned from then on."""
JITTER = (0.08, 0.05, 0.03)
"""Deviations of a view's turn (radians), log size and shift (half sides)."""
LEAST = 0.002
"""Deviation below which no point's is believed, of the view's half side."""
YAWS = (0, 20, 40, 60, 95)
OUTLIER = 0.15
"""Median distance of detected from true landmarks, half sides of the view, beyond which the face was missed."""


@dataclass(frozen=True)
class Settings:
    """How to train."""

    data: Path
    """Folder of landmark_portraits.py."""
    out: Path
    """The file of weights; a record of how they were made goes beside it as JSON."""
    minutes: float = 30.0
    """Time of the training."""
    batch: int = 64
    """Portraits of a step."""
    rate: float = 1.5e-3
    """Adam's largest learning rate."""
    held_out: int = 12
    """Sitters kept to measure on."""
    seed: int = 0
    """Of everything that is drawn."""


@dataclass
class Portraits:
    """K portraits."""

    picture: np.ndarray
    """`[K, S, S, 3]` uint8."""
    detected: np.ndarray
    """`[K, 478, 2]` pixels."""
    true: np.ndarray
    """`[K, P, 2]` pixels."""
    pixel: np.ndarray
    """`[K]` millimetres of a pixel at the head."""
    yaw: np.ndarray
    """`[K]` degrees between the head's front and the line to the camera, without sign."""

    def rows(self, index: np.ndarray) -> Portraits:
        return Portraits(**{name: value[index] for name, value in vars(self).items()})


def read(path: Path, asset: HeadAsset, points: DensePoints, model: HeadModel) -> Portraits:
    """The portraits of a file on which the detector found the face."""
    arrays = dict(np.load(path))
    found = arrays["found"].ravel()
    views = arrays["found"].shape[1]

    def flat(name: str) -> np.ndarray:
        return arrays[name].reshape(len(found), *arrays[name].shape[2:])[found]

    count = int(found.sum())
    params = HeadParameters.neutral(asset, count)
    params.shape = torch.as_tensor(np.repeat(arrays["shape"], views, 0)[found])
    for name in ("expr", "jaw", "eyes", "rotation"):
        setattr(params, name, torch.as_tensor(flat(name)))
    with torch.no_grad():
        vertices = model(params).vertices.numpy()
    camera, lens = flat("cam_from_world"), flat("lens")
    seen = points.at(vertices, asset.faces) @ camera[:, :3, :3].swapaxes(1, 2) + camera[:, None, :3, 3]
    true = lens[:, None, :1] * seen[..., :2] / seen[..., 2:] + lens[:, None, 1:]
    assert np.abs(true[:, :LANDMARK_COUNT] - flat("true")).max() < 0.05
    middle = seen[:, :LANDMARK_COUNT].mean(1)
    front = (camera[:, :3, :3] @ axis_angle_to_matrix(params.rotation).numpy())[:, :, 2]
    towards = -middle / np.linalg.norm(middle, axis=1, keepdims=True)
    yaw = np.rad2deg(np.arccos(np.clip((front * towards).sum(1), -1, 1)))
    made = Portraits(flat("picture"), flat("detected"), true.astype(np.float32), 1000 * middle[:, 2] / lens[:, 0], yaw)
    scale = np.linalg.norm(view_of(made.detected)[:, 0, :2], axis=1)
    missed = np.median(np.linalg.norm(made.detected - flat("true"), axis=2), axis=1) * scale > OUTLIER
    return made.rows(np.flatnonzero(~missed))


class Batches:
    """Draws batches: views shifted, mirrored, recoloured; detections shaken."""

    def __init__(self, portraits: Portraits, points: DensePoints, rng: np.random.Generator) -> None:
        self.p, self.points, self.rng = portraits, points, rng
        self.order = np.empty(0, int)

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures `[K, 3, S, S]`, detected landmarks `[K, 478, 2]` and true points `[K, P, 2]` in the view."""
        if len(self.order) < count:
            self.order = self.rng.permutation(len(self.p.yaw))
        rows, self.order = self.order[:count], self.order[count:]
        parts = [self.one(row) for row in rows]
        pictures, detected, true = (np.stack(values) for values in zip(*parts, strict=True))
        return recoloured(pictures, self.rng), torch.from_numpy(detected), torch.from_numpy(true)

    def one(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng, p = self.rng, self.p
        view = view_of(p.detected[row])
        turn, size = rng.normal(0, JITTER[0]), np.exp(rng.normal(0, JITTER[1]))
        spin = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        view = spin @ view
        view[:, 2] += rng.normal(0, JITTER[2], 2)
        picture = cut_view(p.picture[row], view)
        detected, true = in_view(p.detected[row], view), in_view(p.true[row], view)
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
            detected, true = (values * np.float32([-1, 1]) for values in (detected, true))
            detected, true = detected[self.points.mirror[:LANDMARK_COUNT]], true[self.points.mirror]
        if rng.random() < 0.5:
            detected = shaken(detected, rng)
        return picture, detected.astype(np.float32), true.astype(np.float32)


def shaken(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points `[P, 2]` moved smoothly, by about a hundredth of the view, as another detector would."""
    waves = rng.normal(0, 2.0, (6, 2))
    phase = rng.uniform(0, 2 * np.pi, 6)
    return points + np.sin(points @ waves.T + phase) @ rng.normal(0, 0.006, (6, 2))


def recoloured(pictures: np.ndarray, rng: np.random.Generator) -> Tensor:
    """uint8 `[K, S, S, 3]` as float `[K, 3, S, S]` in [0, 1] with other light, colours and noise; some lose a part."""
    values = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    count, side = len(values), values.shape[-1]

    def drawn(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(0, 1, (count, *shape)).astype(np.float32))[..., None, None]

    values = values.clamp(min=1e-3) ** torch.exp(0.25 * drawn(1)) * torch.exp(0.12 * drawn(3) + 0.15 * drawn(1))
    grey = values.mean(1, keepdim=True)
    values = grey + (values - grey) * (1 + 0.4 * drawn(1)).clamp(0, 2)
    level = values.mean((1, 2, 3), keepdim=True)
    values = level + (values - level) * torch.exp(0.15 * drawn(1))
    values = values + 0.02 * torch.rand(count, 1, 1, 1) * torch.randn_like(values)
    for row in np.flatnonzero(rng.random(count) < 0.15):
        height, width = rng.integers(side // 8, side // 3, 2)
        top, left = rng.integers(0, side - height), rng.integers(0, side - width)
        values[row, :, top : top + height, left : left + width] = torch.rand(3, 1, 1)
    return values.clamp(0, 1)


def loss_of(first: Tensor, last: Tensor, deviation: Tensor, true: Tensor, with_deviation: bool) -> Tensor:
    """Negative logarithm of a likelihood with heavy tails, and distances of both steps; lengths in the view."""
    away = (first - true).square().sum(-1).add(1e-8).sqrt(), (last - true).square().sum(-1).add(1e-8).sqrt()
    plain = 10 * (0.3 * away[0].mean() + away[1].mean())
    if not with_deviation:
        return plain
    # Student's t with four degrees of freedom, in two dimensions
    spread = (2 * deviation).exp() + LEAST**2
    return plain + 0.1 * (spread.log() + 3 * torch.log1p(away[1].square() / (4 * spread))).mean()


@torch.no_grad()
def measure(network: DenseNetwork, p: Portraits, regions: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean distances of detected and of dense landmarks from the truth, mm, by yaw and part."""
    network.eval()
    away, spread, told = [], [], []
    for row in range(0, len(p.yaw), 64):
        part = p.rows(np.arange(row, min(row + 64, len(p.yaw))))
        views = view_of(part.detected)
        pictures = np.stack([cut_view(image, view) for image, view in zip(part.picture, views, strict=True)])
        values = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        landmarks = torch.from_numpy(in_view(part.detected, views))
        _, places, deviation = network(values, landmarks)
        scale = np.linalg.norm(views[:, 0, :2], axis=1)
        unit = (part.pixel / scale)[:, None]
        true = in_view(part.true, views)
        away.append(np.linalg.norm(places.numpy() - true, axis=2) * unit)
        told.append(np.linalg.norm(landmarks.numpy() - true[:, :LANDMARK_COUNT], axis=2) * unit)
        spread.append(deviation.exp().numpy() * unit)
    network.train()
    mine, before, sure = np.concatenate(away), np.concatenate(told), np.concatenate(spread)
    figures: dict[str, float] = {}
    for low, high in itertools.pairwise(YAWS):
        here = (p.yaw >= low) & (p.yaw < high)
        figures[f"detected, yaw {low}-{high}"] = float(before[here].mean())
        figures[f"dense, yaw {low}-{high}"] = float(mine[here][:, :LANDMARK_COUNT].mean())
        for name, rows in regions.items():
            figures[f"{name}, yaw {low}-{high}"] = float(np.median(mine[here][:, rows]))
    figures["distance over deviation, rms"] = float(np.sqrt(np.mean((mine / sure) ** 2)))
    figures["distance over deviation, median"] = float(np.median(mine / sure))
    return figures


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng([settings.seed, 43])
    asset = load_head()
    points, model = dense_points(asset), HeadModel(asset)
    files = sorted(settings.data.glob("sitter_*[0-9].npz"))
    kept = [read(path, asset, points, model) for path in files]
    known, test = joined(kept[settings.held_out :]), joined(kept[: settings.held_out])
    print(f"{len(files)} sitters, {len(known.yaw)} portraits to learn from, {len(test.yaw)} to test on", flush=True)
    network = DenseNetwork(len(points), SIDE).to(memory_format=torch.channels_last)
    some = rng.choice(len(known.yaw), min(2000, len(known.yaw)), replace=False)
    views = view_of(known.detected[some])
    network.prepare(
        torch.as_tensor(points.at(asset.template, asset.faces), dtype=torch.float32),
        torch.as_tensor(in_view(known.detected[some], views)),
    )
    ends = np.cumsum([LANDMARK_COUNT, *EXTRA.values()])
    regions = {name: np.arange(*rows) for name, rows in zip(EXTRA, itertools.pairwise(ends), strict=True)}
    adam = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=0.02)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.997), use_buffers=False
    )
    batches = Batches(known, points, rng)
    start, step, told, running = time.perf_counter(), 0, 0, 0.0
    while (done := (time.perf_counter() - start) / (60 * settings.minutes)) < 1:
        for group in adam.param_groups:
            group["lr"] = settings.rate * min(1, (step + 1) / WARM_UP) * 0.5 * (1 + np.cos(np.pi * done))
        pictures, detected, true = batches.draw(settings.batch)
        first, last, deviation = network(pictures.contiguous(memory_format=torch.channels_last), detected)
        loss = loss_of(first, last, deviation, true, step >= WARM_UP)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        average.update_parameters(network)
        step += 1
        running = float(loss.detach()) if step == 1 else 0.98 * running + 0.02 * float(loss.detach())
        if int(10 * done) > told:
            told = int(10 * done)
            figures = measure(average.module, test, regions)
            print(f"step {step}, {time.perf_counter() - start:.0f} s, loss {running:.4f}", flush=True)
            print("   " + "; ".join(f"{name} {value:.2f}" for name, value in figures.items()), flush=True)
    made = average.module
    weights = {name: value.half().contiguous() for name, value in made.state_dict().items()}
    write_bytes(settings.out, serialised(weights))
    record = {
        "scripts": ["scripts/landmark_portraits.py", "scripts/train_dense_landmarks.py"],
        "head_fingerprint": asset.fingerprint,
        "settings": {name: value for name, value in vars(settings).items() if not isinstance(value, Path)},
        "steps": step,
        "portraits": len(known.yaw),
        "held_out": {name: round(value, 3) for name, value in measure(made, test, regions).items()},
    }
    write_bytes(settings.out.with_suffix(".json"), (json.dumps(record, indent=2) + "\n").encode())
    print(json.dumps(record, indent=2), flush=True)


def joined(parts: list[Portraits]) -> Portraits:
    return Portraits(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


if __name__ == "__main__":
    main()
