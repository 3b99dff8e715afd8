"""A first guess of who a clip or some photographs show, from a network that learned it on synthetic people.

The guess is the tracker's prior of the identity: what landmarks alone leave open (depth, size, parts without
landmarks) it has seen on many heads, with the detector's own errors on them. docs/reconstruction.md says how it was
trained and what it reaches. The weights belong to one head model; other heads are tracked without a guess.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatar.base.errors import HeadModelError
from avatar.base.files import read_json
from avatar.flame.assets import HeadAsset
from avatar.kernels.runtime.threads import one_torch_thread
from capture_tools.multiview.network import Guess, GuessNetwork
from capture_tools.multiview.views import in_view, view_of
from capture_tools.track.clip_fit import IdentityPrior

WEIGHTS = Path(__file__).parent / "data" / "first_guess.safetensors"
"""Its record, with the scripts, the seed and the figures that made it, lies beside it as JSON."""
MOST_VIEWS = 8
"""Views that the network is asked about."""
HIDDEN = 0.05
"""Share of a view's landmarks that may be hidden."""


def guess_identity(asset: HeadAsset, landmarks: np.ndarray, hidden: np.ndarray | None = None) -> IdentityPrior | None:
    """The prior of the identity that N pictures of one person show.

    landmarks: `[N, 478, 2]` detected, pixels; NaN without a face. hidden: `[N, 478]` bool, landmarks that a hand covers
    or that lie outside the picture. None for a head model that the network does not know, and where no view is whole.
    """
    known = load_network(asset.fingerprint, asset.shape_count, asset.expression_count)
    usable = np.isfinite(landmarks).all((1, 2))
    if hidden is not None:
        usable &= hidden.mean(1) < HIDDEN
    if known is None or not usable.any():
        return None
    network, variance = known
    placed = placed_views(landmarks[usable])
    guess = look(network, placed[chosen_views(network, placed)])
    return IdentityPrior(guess.shape[0].numpy(), np.diag(1 / variance.numpy()))


def placed_views(landmarks: np.ndarray) -> Tensor:
    """Landmarks `[N, 478, 2]` (pixels) as the network sees them."""
    return torch.as_tensor(in_view(landmarks, view_of(landmarks)))


@torch.no_grad()
def look(network: GuessNetwork, placed: Tensor) -> Guess:
    """The network's guess of one head in N views `[N, 478, 2]` (`placed_views`)."""
    with one_torch_thread():
        return network(placed[None], torch.ones(1, len(placed), dtype=torch.bool))


@torch.no_grad()
def chosen_views(network: GuessNetwork, placed: Tensor, most: int = MOST_VIEWS) -> np.ndarray:
    """Rows of at most `most` views of `[N, 478, 2]` that differ most in pose, the middle one first.

    Poses are compared by the affine camera of the mean head; each next view is the one farthest from those chosen.
    """
    poses = network.camera(placed).flatten(1).numpy()
    rows = [int(np.linalg.norm(poses - np.median(poses, axis=0), axis=1).argmin())]
    nearest = np.full(len(poses), np.inf)
    while len(rows) < min(most, len(poses)):
        nearest = np.minimum(nearest, np.linalg.norm(poses - poses[rows[-1]], axis=1))
        rows.append(int(nearest.argmax()))
    return np.array(rows)


@cache
def load_network(fingerprint: str, shape_count: int, expression_count: int) -> tuple[GuessNetwork, Tensor] | None:
    """The trained network and the variance `[S]` of its guesses; None where it was trained for another head."""
    from safetensors.torch import load_file

    record = read_json(WEIGHTS.with_suffix(".json"), HeadModelError)
    if record["head_fingerprint"] != fingerprint:
        return None
    weights = {name: value.float() for name, value in load_file(WEIGHTS).items()}
    variance = weights.pop("variance")
    network = GuessNetwork(shape_count, expression_count)
    network.load_state_dict(weights)
    return network.eval(), variance
