"""Completion of textures that were seen in part: a small network, trained on strokes hidden from what was seen.

Nobody knows unseen skin, so seen skin is hidden and guessed: the loss counts where a stroke hides what is known (Pathak
et al., "Context encoders", CVPR 2016; irregular holes after Liu et al., "Image inpainting for irregular holes using
partial convolutions", ECCV 2018). The network sees the texture without what is hidden, what is known, the other side's
texture, and the mean of people in the person's own tone, which tells it where on the face it is. It adds to a plain
completion of what differs from that mean, by the other side and smooth filling, so that an untrained network changes
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from avatar.base.progress import Progress
from capture_tools.camera.background import fill_smoothly

SIDE = 64
"""Texels across the network's pictures; finer detail cannot be guessed."""
CHANNELS, GROUPS = (24, 32, 48, 64, 96), 4
INPUTS, BATCH, RATE = 11, 8, 2e-3
SCALE = 0.1
"""sRGB: deviations from the mean are divided by it."""
MEAN_SCALE = 0.25
"""sRGB: so is the mean itself, which lies about 0.5."""
GAIN = 0.15
"""Most by which the brightness of a training texture is changed at random, so that other skins are learned too."""
KNOWN = 0.5
"""How well a texel has to be seen to be known."""
TONES = (0.2, 3.0)
"""Least and most by which a person's tone may differ from the mean's, per channel."""


@dataclass(frozen=True)
class Maps:
    """Textures in one map: the mean of people."""

    mean: np.ndarray
    """`[S, S, 3]` float32, sRGB in [0, 1], filled beside the map."""
    covered: np.ndarray
    """`[S, S]` bool: texels of the map."""
    symmetric: bool
    """Whether flipping the map mirrors the head."""

    def at(self, side: int) -> Maps:
        """The same at `side` texels."""
        mean = cv2.resize(self.mean, (side, side), interpolation=cv2.INTER_AREA)
        covered = cv2.resize(self.covered.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) > 0.5
        return Maps(mean, covered, self.symmetric)

    def toned(self, texture: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The mean in the tone of a texture `[S, S, 3]` of which `known` `[S, S]` is known: one gain a channel."""
        known = known & self.covered
        gain = gains(texture[known], self.mean[known]) if known.any() else 1.0
        return (self.mean * gain).astype(np.float32)


def gains(colours: np.ndarray, mean: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """The factors `[3]` by which `mean` `[P, 3]` comes nearest to `colours` `[P, 3]`: least squares, weights `[P]`."""
    weighted = mean if weight is None else mean * weight[:, None]
    return ((weighted * colours).sum(0) / np.maximum((weighted * mean).sum(0), 1e-6)).clip(*TONES)


def plain_completion(away: np.ndarray, known: np.ndarray, symmetric: bool) -> np.ndarray:
    """Deviations `[S, S, 3]` completed without a network: by the other side where that is `known` `[S, S]`, else
    smoothly."""
    if symmetric:
        away, known = np.where(known[..., None], away, away[:, ::-1]), known | known[:, ::-1]
    if not known.any():
        return np.zeros_like(away)
    return fill_smoothly(np.where(known[..., None], away, 0).astype(np.float32), known)


class Inpainter(nn.Module):
    """A U-Net (Ronneberger et al. 2015) of five levels that adds to a plain completion."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            block(before, after) for before, after in zip((INPUTS, *CHANNELS[:-1]), CHANNELS, strict=True)
        )
        self.up = nn.ModuleList(
            block(CHANNELS[i] + CHANNELS[i - 1], CHANNELS[i - 1]) for i in reversed(range(1, len(CHANNELS)))
        )
        self.last = nn.Conv2d(CHANNELS[0], 3, 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """`[B, 11, S, S]` to what is added `[B, 3, S, S]`, in units of SCALE."""
        kept, x = [], inputs
        for level, layer in enumerate(self.down):
            x = layer(x if level == 0 else nn.functional.avg_pool2d(x, 2))
            kept.append(x)
        for layer, skip in zip(self.up, reversed(kept[:-1]), strict=True):
            x = layer(torch.cat([nn.functional.interpolate(x, scale_factor=2), skip], 1))
        return self.last(x)


def block(before: int, after: int) -> nn.Sequential:
    """Two convolutions, each with group normalisation (Wu and He 2018), which makes a few hundred steps enough."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.GroupNorm(GROUPS, after), nn.SiLU()]
    return nn.Sequential(*layers)


def network_inputs(texture: np.ndarray, known: np.ndarray, maps: Maps) -> tuple[np.ndarray, np.ndarray]:
    """The network's inputs `[11, S, S]` for a texture `[S, S, 3]` of which `known` `[S, S]` is known.

    Also the texture completed plainly, `[S, S, 3]`, to which it adds.
    """
    mean = maps.toned(texture, known)
    away = np.where(known[..., None], texture - mean, 0)
    plain = plain_completion(away, known, maps.symmetric)
    other_known = known[:, ::-1] if maps.symmetric else np.zeros_like(known)
    other = np.where(other_known[..., None], away[:, ::-1], 0)
    # what is known of the texture itself is part of the plain completion
    parts = (plain / SCALE, known[..., None], other_known[..., None], other / SCALE, (mean - 0.5) / MEAN_SCALE)
    return np.concatenate(parts, -1).transpose(2, 0, 1).astype(np.float32), (mean + plain).astype(np.float32)


def strokes(rng: np.random.Generator, side: int) -> np.ndarray:
    """A random hole `[S, S]` bool: up to six thick broken lines, and in every second one all beyond a slanted line."""
    hole = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(1, 7))):
        corners = np.cumsum(
            np.concatenate([rng.uniform(0, side, (1, 2)), rng.normal(0, 0.15 * side, (int(rng.integers(1, 6)), 2))]), 0
        )
        width = max(1, round(side * float(np.exp(rng.uniform(np.log(0.02), np.log(0.2))))))
        cv2.polylines(hole, [np.rint(corners).astype(np.int32)], False, (1,), width)
    if rng.random() < 0.5:
        turn, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.25, 0.35) * side
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        hole |= (np.cos(turn) * x + 0.4 * np.sin(turn) * y > offset).astype(np.uint8)
    return hole > 0


def train_inpainter(
    textures: np.ndarray, seen: np.ndarray, maps: Maps, *, steps: int, seed: int = 0
) -> tuple[Inpainter, list[float]]:
    """Train a network on N textures `[N, S, S, 3]` (sRGB); `seen` `[N, S, S]` says how well each texel is known.

    Returns the network and the loss of every step: the root mean square of guess - truth over hidden texels, sRGB.
    """
    maps = maps.at(SIDE)
    size = (SIDE, SIDE)
    weights = np.stack([cv2.resize(one.astype(np.float32), size, interpolation=cv2.INTER_AREA) for one in seen])
    pictures = (
        np.stack(
            [
                cv2.resize((one * w[..., None]).astype(np.float32), size, interpolation=cv2.INTER_AREA)
                for one, w in zip(textures, seen, strict=True)
            ]
        )
        / np.maximum(weights, 1e-6)[..., None]
    )
    weights *= maps.covered
    rng = np.random.default_rng([seed, 91])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Inpainter()
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    losses = []
    with Progress("completion", steps, unit="step") as bar:
        for step in range(steps):
            batch = [training_pair(rng, pictures[i], weights[i], maps) for i in rng.integers(0, len(pictures), BATCH)]
            inputs, plain, wanted, counted = (torch.from_numpy(np.stack(part)) for part in zip(*batch, strict=True))
            guess = plain + SCALE * network(inputs).permute(0, 2, 3, 1)
            loss = (counted[..., None] * (guess - wanted).square()).sum() / (3 * counted.sum()).clamp_min(1)
            optimizer.zero_grad()
            (loss / SCALE**2).backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()) ** 0.5)
            bar.update(step + 1)
    return network, losses


def training_pair(
    rng: np.random.Generator, picture: np.ndarray, weight: np.ndarray, maps: Maps
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, the plain completion, the texture wanted, and weights `[S, S]` of one texture with a random hole."""
    if maps.symmetric and rng.random() < 0.5:
        picture, weight = picture[:, ::-1], weight[:, ::-1]
    picture = (picture * (1 + rng.uniform(-GAIN, GAIN))).astype(np.float32)
    hole = strokes(rng, len(weight))
    inputs, plain = network_inputs(picture, (weight > KNOWN) & ~hole, maps)
    return inputs, plain, picture, (weight * hole).astype(np.float32)


@torch.no_grad()
def complete_texture(network: Inpainter | None, texture: np.ndarray, seen: np.ndarray, maps: Maps) -> np.ndarray:
    """A texture `[T, T, 3]` (sRGB) completed where `seen` `[T, T]` is low; seen texels keep their colour, softly."""
    known = seen > KNOWN
    mean = maps.toned(texture, known)
    guess = mean + plain_completion(np.where(known[..., None], texture - mean, 0), known, maps.symmetric)
    if network is not None:
        small = maps.at(SIDE)
        weight = cv2.resize(known.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        colour = cv2.resize((texture * known[..., None]).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        inputs, _ = network_inputs(colour / np.maximum(weight, 1e-6)[..., None], weight > KNOWN, small)
        added = SCALE * network(torch.from_numpy(inputs)[None])[0].permute(1, 2, 0).numpy()
        guess = guess + cv2.resize(added, texture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    share = (seen * seen * (3 - 2 * seen))[..., None]
    return (share * texture + (1 - share) * guess).clip(0, 1).astype(np.float32)
