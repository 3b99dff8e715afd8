"""Train the network of the first guess.

    python scripts/first_guess_data.py --out DATA --sitters 60
    python scripts/train_first_guess.py --data DATA --out first_guess.safetensors --steps 3000

It learns on heads drawn anew at every step, whose landmarks are placed as the detector's measured response would
(scripts/first_guess_response.py), and is tested on real detections on portraits of sitters that had no part in that.
Errors are of the neutral face's vertices in millimetres after one rigid motion, as in scripts/measure_tracking.py.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from first_guess_response import Mirror, Response, Shots, middle_of, read_shots
from safetensors.torch import save as serialised
from torch import Tensor

from avatar.base.files import write_bytes
from avatar.flame.assets import HeadAsset
from avatar.flame.landmarks import surface_points
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters, landmark_vertices
from avatar.geometry.rotations import axis_angle_to_matrix, nearest_rotation
from avatar.synthetic.portraits import random_face, random_yaw
from capture_tools.multiview.network import Guess, GuessNetwork
from capture_tools.multiview.views import in_view, view_of

JAW_ARM = 60.0
"""Millimetres that the chin moves a radian of the jaw, about: the unit of the jaw's error."""
WARM_UP = 200
"""Steps over which the learning rate rises."""
FEWEST, MOST = 20, 400
"""Batches drawn before that are kept to be used again."""
FACES = 6000
"""Expressions that heads are given."""
LIKE_VIEWS = 6
"""Of so many portraits of a sitter the one of nearest yaw lends what the detector leaves to chance."""


@dataclass(frozen=True)
class Settings:
    """How to train."""

    data: Path
    """Folder of first_guess_data.py."""
    out: Path
    """The file of weights; a record of how they were made goes beside it as JSON."""
    steps: int = 3000
    """Steps of the training."""
    batch: int = 48
    """Heads of a step."""
    views: int = 6
    """Most views of a head."""
    rate: float = 1.5e-3
    """Adam's largest learning rate."""
    held_out: int = 3
    """Sitters kept to measure on."""
    seed: int = 0
    """Of everything that is drawn."""
    fresh: float = 0.25
    """Share of the steps that draw new heads; the others take some drawn before, in other views."""


@dataclass
class Batch:
    """B heads in N views."""

    shape: Tensor
    landmarks: Tensor
    """`[B, N, 478, 2]` detected, in the view."""
    seen: Tensor
    expr: Tensor
    jaw: Tensor
    rotation: Tensor
    """`[B, N, 3, 3]` of the head, seen along the line to it, upright in the view."""
    distance: Tensor
    """`[B, N]` log metres."""


class Heads:
    """Draws heads and the landmarks that a detector would find."""

    def __init__(self, asset: HeadAsset, response: Response, shots: Shots, rng: np.random.Generator) -> None:
        self.rng, self.response, self.shots = rng, response, shots
        self.model = HeadModel(asset, landmark_vertices(asset))
        self.asset, self.middle = asset, middle_of(asset)
        faces = [random_face(rng, asset) for _ in range(FACES)]
        self.expr = np.concatenate([face.expr.numpy() for face in faces])
        self.jaw = np.concatenate([face.jaw[:, 0].numpy() for face in faces])
        self.eyes = np.concatenate([face.eyes.numpy() for face in faces])
        order = np.argsort(shots.sitter, kind="stable")
        counts = np.bincount(shots.sitter)
        self.of_sitter = [part for part in np.split(order, np.cumsum(counts)[:-1]) if len(part)]
        self.yaw = np.arcsin(np.clip(shots.rotation[:, 0, 2], -1, 1))

    @torch.no_grad()
    def draw(self, heads: int, views: int) -> Batch:
        """A batch; every head has at least one view that counts."""
        rng, count = self.rng, heads * views
        spread = rng.uniform(0.45, 0.75, (heads, 1))
        shape = (rng.standard_normal((heads, self.asset.shape_count)).clip(-2, 2) * spread).astype(np.float32)
        face = rng.integers(0, FACES, (heads, views))
        face = np.where(rng.random((heads, 1)) < 0.3, face[:, :1], face).ravel()
        yaw, pitch, roll = (
            np.array([random_yaw(rng) for _ in range(count)]),
            *rng.normal(0, [[0.16], [0.1]], (2, count)),
        )
        zero = np.zeros(count)
        turns = [np.stack(v, 1) for v in ((zero, yaw, zero), (pitch, zero, zero), (zero, zero, roll))]
        about_y, about_x, about_z = (axis_angle_to_matrix(torch.as_tensor(v)).numpy() for v in turns)
        rotation = np.diag([1.0, -1.0, -1.0]) @ about_y @ about_x @ about_z
        distance = np.exp(rng.uniform(math.log(0.3), math.log(2.5), count))
        params = HeadParameters.neutral(self.asset, count)
        params.shape = torch.as_tensor(shape).repeat_interleave(views, 0)
        params.expr, params.jaw[:, 0] = torch.as_tensor(self.expr[face]), torch.as_tensor(self.jaw[face])
        params.eyes = torch.as_tensor(self.eyes[face])
        points = self.model.landmarks(self.model(params).vertices).numpy() - self.middle
        points = points @ rotation.swapaxes(1, 2) + np.stack([zero, zero, distance], 1)[:, None]
        flat = points[..., :2] / points[..., 2:] * distance[:, None, None]
        upright = view_of(flat)[..., :2]
        upright = upright / np.linalg.norm(upright[:, :1], axis=2, keepdims=True)
        flat = flat @ upright.swapaxes(1, 2)
        rotation = np.concatenate([upright @ rotation[:, :2], rotation[:, 2:]], 1)
        shots = Shots(params.shape.numpy(), self.expr[face], self.jaw[face], rotation, distance, flat, zero)
        flat = flat + self.response.mean(shots) + self.chance(shots, heads, views)

        def tensor(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values.reshape(heads, views, *values.shape[1:]), dtype=torch.float32)

        return Batch(
            shape=torch.as_tensor(shape),
            landmarks=tensor(in_view(flat, view_of(flat))),
            seen=torch.ones(heads, views, dtype=torch.bool),
            expr=tensor(shots.expr),
            jaw=tensor(shots.jaw),
            rotation=tensor(rotation),
            distance=tensor(np.log(distance)),
        )

    def chance(self, shots: Shots, heads: int, views: int) -> np.ndarray:
        """What the detector does besides its mean answer, `[K, 478, 2]` metres: all of a head's from one sitter."""
        rng = self.rng
        yaw = np.arcsin(np.clip(shots.rotation[:, 0, 2], -1, 1)).reshape(heads, views)
        rows = np.empty((heads, views), int)
        for head in range(heads):
            pool = self.of_sitter[rng.integers(len(self.of_sitter))]
            tried = pool[rng.integers(0, len(pool), (views, LIKE_VIEWS))]
            nearest = np.abs(self.yaw[tried] - yaw[head][:, None]).argmin(1)
            rows[head] = tried[np.arange(views), nearest]
        return self.response.left[rows.ravel()]


def mixed(drawn: list[Batch], rng: np.random.Generator) -> Batch:
    """A batch of heads from two drawn ones, of which some views, at least one of each head, count."""
    first, second = (drawn[i] for i in rng.integers(0, len(drawn), 2))
    if rng.random() < 0.3:
        first = second = drawn[-1]
    heads, views = first.seen.shape
    chosen = torch.as_tensor(rng.random(heads) < 0.5)

    def mix(name: str) -> Tensor:
        a, b = getattr(first, name), getattr(second, name)
        return torch.where(chosen.view(-1, *[1] * (a.dim() - 1)), a, b)

    seen = rng.random((heads, views)) < rng.random((heads, 1))
    seen[np.arange(heads), rng.integers(0, views, heads)] = True
    values = {name: mix(name) for name in Batch.__dataclass_fields__}
    return Batch(**values | {"seen": torch.as_tensor(seen)})


def real_batch(files: list[Path], asset: HeadAsset) -> Batch:
    """Portraits with real detections."""
    parts: list[Batch] = []
    for path in files:
        arrays = dict(np.load(path))
        grid = arrays["found"].shape
        detected = arrays["detected"].reshape(-1, 478, 2)
        views = view_of(detected)
        camera = arrays["cam_from_world"].reshape(-1, 4, 4)
        distance = np.linalg.norm(camera[:, :3, :3] @ middle_of(asset) + camera[:, :3, 3], axis=1)
        usable = torch.as_tensor(arrays["found"].any(1))
        turned = torch.eye(3).expand(*grid, 3, 3)  # not measured here

        def tensor(values: np.ndarray, grid=grid, usable=usable) -> Tensor:
            return torch.as_tensor(values.reshape(*grid, *values.shape[1:]), dtype=torch.float32)[usable]

        parts.append(
            Batch(
                shape=torch.as_tensor(arrays["shape"])[usable],
                landmarks=tensor(in_view(detected, views)),
                seen=torch.as_tensor(arrays["found"])[usable],
                expr=tensor(arrays["expr"].reshape(len(detected), -1)),
                jaw=tensor(arrays["jaw"].reshape(len(detected), 3)[:, 0]),
                rotation=turned[usable],
                distance=tensor(np.log(distance)),
            )
        )
    return Batch(**{name: torch.cat([getattr(part, name) for part in parts]) for name in Batch.__dataclass_fields__})


class Metric:
    """Lengths on the face, millimetres, of differences in coefficients."""

    def __init__(self, asset: HeadAsset) -> None:
        face = asset.region("face")
        outside = asset.region("scalp") | asset.region("ears")
        weights = np.where(face, 1.0, np.where(outside, 0.15, 0.0))
        weights = np.sqrt(weights / weights.sum())
        self.face = torch.as_tensor(np.flatnonzero(face))
        self.template, self.shapedirs = torch.as_tensor(asset.template), torch.as_tensor(asset.shapedirs)
        self.identity = self._root(asset.template, asset.shapedirs, weights, rigid=True)
        only_face = np.sqrt(face / face.sum())
        self.expression = self._root(asset.template, asset.exprdirs, only_face, rigid=False)

    @staticmethod
    def _root(template: np.ndarray, directions: np.ndarray, weights: np.ndarray, rigid: bool) -> Tensor:
        """`[C, C]` root of the weighted Gram matrix of directions `[V, 3, C]`, without what rigid motions explain."""
        weighted = (directions * weights[:, None, None]).reshape(-1, directions.shape[2]).astype(np.float64) * 1000
        if rigid:
            centred = template - (template * weights[:, None] ** 2).sum(0) / (weights**2).sum()
            motions = [np.broadcast_to(np.eye(3)[k], centred.shape) for k in range(3)]
            motions += [np.cross(np.eye(3)[k], centred) for k in range(3)]
            basis = np.stack([(motion * weights[:, None]).ravel() for motion in motions], 1)
            q, _ = np.linalg.qr(basis)
            weighted = weighted - q @ (q.T @ weighted)
        values, vectors = np.linalg.eigh(weighted.T @ weighted)
        return torch.as_tensor(vectors * np.sqrt(values.clip(0)), dtype=torch.float32)

    def errors(self, found: Tensor, true: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Median over the face's vertices after a rigid motion, and after one with scale, per head: mm `[K]` each."""
        rows: list[tuple[float, ...]] = []
        template, directions = self.template[self.face], self.shapedirs[self.face]
        for mine, theirs in zip(found, true, strict=True):
            a, b = (template + directions @ c for c in (mine, theirs))
            a, b = a - a.mean(0), b - b.mean(0)
            sized = a * (b.norm() / a.norm())
            turned = [x @ nearest_rotation(b.T @ x).T for x in (a, sized)]
            rows.append(tuple(float((x - b).norm(dim=-1).median()) * 1000 for x in turned))
        both = np.array(rows)
        return both[:, 0], both[:, 1]


def loss_of(guess: Guess, p: Batch, metric: Metric) -> tuple[Tensor, dict[str, float]]:
    """Sum of squares in comparable units (mm)."""
    kept = p.seen.float() / p.seen.sum()
    identity = ((guess.shape - p.shape) @ metric.identity).square().sum(-1).mean()
    expression = (((guess.expr - p.expr) @ metric.expression).square().sum(-1) * kept).sum()
    jaw = ((JAW_ARM * (guess.jaw - p.jaw)).square() * kept).sum()
    columns = p.rotation[..., :2].mT.flatten(-2)
    rotation = ((guess.rotation - columns).square().sum(-1) * kept).sum()
    distance = (torch.nn.functional.smooth_l1_loss(guess.distance, p.distance, reduction="none") * kept).sum()
    total = identity + 0.3 * expression + 0.03 * jaw + 10 * rotation + 2 * distance
    parts = {"identity": identity, "expression": expression, "rotation": rotation, "distance": distance}
    return total, {name: float(value.detach()) for name, value in parts.items()}


@torch.no_grad()
def measure(network: GuessNetwork, p: Batch, metric: Metric) -> dict[str, float]:
    """Figures of a batch, for one view and for all."""
    single = torch.zeros_like(p.seen)
    single[torch.arange(len(single)), p.seen.float().argmax(1)] = True
    figures: dict[str, float] = {}
    for name, seen in (("one view", single), ("all views", p.seen)):
        guess = network(p.landmarks, seen)
        rigid, scaled = metric.errors(guess.shape, p.shape)
        figures |= {f"{name}: identity mm": float(rigid.mean()), f"{name}: with scale mm": float(scaled.mean())}
    rigid, scaled = metric.errors(torch.zeros_like(p.shape), p.shape)
    figures |= {"mean head: identity mm": float(rigid.mean()), "mean head: with scale mm": float(scaled.mean())}
    moved = ((guess.expr - p.expr) @ metric.expression).norm(dim=-1)[p.seen]
    figures["expression rms mm"] = float(moved.square().mean().sqrt())
    figures["rest rms mm"] = float((p.expr @ metric.expression).norm(dim=-1)[p.seen].square().mean().sqrt())
    figures["jaw correlation"] = float(np.corrcoef(guess.jaw[p.seen], p.jaw[p.seen])[0, 1])
    figures["log distance rms"] = float((guess.distance - p.distance)[p.seen].square().mean().sqrt())
    figures["coefficients explained"] = 1 - float((guess.shape - p.shape).square().sum() / p.shape.square().sum())
    return figures


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng([settings.seed, 41])
    asset = load_head()
    files = sorted(settings.data.glob("sitter_*[0-9].npz"))
    held_out, known = files[-settings.held_out :], files[: -settings.held_out]
    shots = Shots.joined([read_shots(path, number, asset) for number, path in enumerate(known)])
    shots = Shots.joined([shots, Mirror(asset).shots(shots, len(known))])
    response = Response(shots)
    size = np.sqrt((shots.error**2).sum(2).mean()), np.sqrt((response.left**2).sum(2).mean())
    print(f"{len(known)} sitters; detector {1000 * size[0]:.2f} mm off, {1000 * size[1]:.2f} after its mean answer")
    test, metric = real_batch(held_out, asset), Metric(asset)
    heads = Heads(asset, response, shots, rng)
    network = GuessNetwork(asset.shape_count, asset.expression_count)
    template = surface_points(asset.template, asset.faces, asset.mediapipe_faces, asset.mediapipe_barycentrics)
    first = heads.draw(400, 5)
    network.prepare(torch.as_tensor(template, dtype=torch.float32), first.landmarks.flatten(0, 1))
    adam = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=0.01)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=False
    )
    start = time.perf_counter()
    running: dict[str, float] = {}
    drawn: list[Batch] = []
    for step in range(settings.steps):
        if len(drawn) < FEWEST or rng.random() < settings.fresh:
            drawn.append(heads.draw(settings.batch, settings.views))
            drawn = drawn[-MOST:]
        batch = mixed(drawn, rng)
        fall = 0.5 * (1 + np.cos(np.pi * step / settings.steps))
        for group in adam.param_groups:
            group["lr"] = settings.rate * min(1, (step + 1) / WARM_UP) * fall
        total, parts = loss_of(network(batch.landmarks, batch.seen), batch, metric)
        adam.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 20.0)
        adam.step()
        average.update_parameters(network)
        running = {name: 0.98 * running.get(name, value) + 0.02 * value for name, value in parts.items()}
        if (step + 1) % max(settings.steps // 8, 1) == 0:
            told = ", ".join(f"{name} {value:.3f}" for name, value in running.items())
            print(f"step {step + 1} ({time.perf_counter() - start:.0f} s): training {told}", flush=True)
            figures = measure(average.module, test, metric)
            print("   " + "; ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
    save(average.module, settings, test, metric, asset, {"portraits": len(shots) // 2})


@torch.no_grad()
def save(
    network: GuessNetwork, settings: Settings, test: Batch, metric: Metric, asset: HeadAsset, made: dict[str, int]
) -> None:
    """Write the weights in half precision with the precision of the guesses, and a record of how they were made."""
    left = network(test.landmarks, test.seen).shape - test.shape
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    weights["variance"] = left.square().mean(0).half()
    write_bytes(settings.out, serialised(weights))
    told = {name: value for name, value in vars(settings).items() if not isinstance(value, Path)}
    figures = {name: round(value, 4) for name, value in measure(network, test, metric).items()}
    record = {
        "scripts": ["scripts/first_guess_data.py", "scripts/first_guess_response.py", "scripts/train_first_guess.py"],
        "head_fingerprint": asset.fingerprint,
        "settings": told,
        **made,
        "held_out": figures,
    }
    write_bytes(settings.out.with_suffix(".json"), (json.dumps(record, indent=2) + "\n").encode())
    print(json.dumps(record, indent=2), flush=True)


if __name__ == "__main__":
    main()
