"""Dense landmarks of pictures with detected faces.

The weights belong to the open head, and to the heads learned from it, whose vertices are the same places of a face;
other heads are tracked by the detector's landmarks. docs/tracking.md says how they were trained and what they reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from avatar.base.errors import HeadModelError
from avatar.base.files import read_json
from avatar.flame.assets import HeadAsset
from avatar.flame.library import load_head
from avatar.kernels.runtime.threads import one_torch_thread
from capture_tools.dense_landmarks.network import DenseNetwork
from capture_tools.dense_landmarks.points import DensePoints, dense_points
from capture_tools.detect.face_view import SIDE, cut_view, in_view, view_of
from capture_tools.detect.selection import Crop

WEIGHTS = tuple(Path(__file__).parent / "data" / f"dense_landmarks_{number}.safetensors" for number in (1, 2))
"""Two trainings, whose mean is taken: on real faces they err differently. The record of each, with the scripts, the
seed and the figures that made it, lies beside it as JSON."""


@dataclass(frozen=True)
class DenseLandmarks:
    """P surface points (`DensePoints`) in N pictures."""

    points: DensePoints
    places: np.ndarray
    """`[N, P, 2]` float32 pixels; NaN in pictures without a face."""
    deviation: np.ndarray
    """`[N, P]` float32 pixels."""

    def select(self, rows: Sequence[int]) -> DenseLandmarks:
        """Those of some pictures."""
        return DenseLandmarks(self.points, self.places[rows], self.deviation[rows])


def place_dense_landmarks(
    asset: HeadAsset, images: Iterable[np.ndarray], crop: Crop, landmarks: np.ndarray
) -> DenseLandmarks | None:
    """Find the head's surface points in N pictures.

    images: their crops, uint8 `[S, S, 3]`. landmarks: `[N, 478, 2]` detected, source pixels; NaN without a face.
    Returns source pixels; None for a head model that the network does not know.
    """
    known = load_head()
    if not np.array_equal(asset.faces, known.faces):
        return None
    networks, points = load_networks(known.fingerprint), dense_points(known)
    places = np.full((len(landmarks), len(points), 2), np.nan, np.float32)
    deviation = np.full(places.shape[:2], np.nan, np.float32)
    with one_torch_thread():
        for row, (image, found) in enumerate(zip(images, crop.to_crop(landmarks), strict=True)):
            if np.isfinite(found).all():
                places[row], deviation[row] = look(networks, image, found)
    return DenseLandmarks(points, crop.to_source(places), deviation / crop.scale)


@torch.no_grad()
def look(networks: Sequence[DenseNetwork], image: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places `[P, 2]` and deviations `[P]` of the points in one picture with landmarks `[478, 2]`, pixels.

    Places are the networks' mean, deviations their geometric mean.
    """
    view = view_of(landmarks)
    picture = torch.from_numpy(cut_view(image, view)).permute(2, 0, 1)[None].float() / 255
    detected = torch.from_numpy(in_view(landmarks, view))[None]
    answers = [network(picture, detected)[1:] for network in networks]
    places, deviation = (torch.stack(values).mean(0)[0] for values in zip(*answers, strict=True))
    back = np.linalg.inv(view[:, :2])
    found = (places.double().numpy() - view[:, 2]) @ back.T
    return found.astype(np.float32), (deviation.exp().numpy() / np.linalg.norm(view[0, :2])).astype(np.float32)


@cache
def load_networks(fingerprint: str) -> tuple[DenseNetwork, ...]:
    """The trained networks. HeadModelError where they were trained for another head."""
    return tuple(_load(path, fingerprint) for path in WEIGHTS)


def _load(path: Path, fingerprint: str) -> DenseNetwork:
    from safetensors.torch import load_file

    record = read_json(path.with_suffix(".json"), HeadModelError)
    if record["head_fingerprint"] != fingerprint:
        raise HeadModelError(
            "the network of dense landmarks was trained for another head",
            where=path,
            expected=fingerprint[:12],
            found=str(record["head_fingerprint"])[:12],
            fix="train it: python scripts/train_dense_landmarks.py",
        )
    weights = {name: value.float() for name, value in load_file(path).items()}
    network = DenseNetwork(len(weights["rest"]), SIDE)
    network.load_state_dict(weights)
    return network.eval()
