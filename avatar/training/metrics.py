"""How well a rendered frame matches the real one, on 8-bit images, so that anyone can recompute it from the files.

A figure of a split is the mean over its frames of the per-frame figure (as in NeRF's tables), not the figure of
the pooled errors. Per-frame figures that do not exist (no face in the mask, no landmarks) are None and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from avatar.base.optional import is_installed
from avatar.flame.landmark_sets import inter_ocular_distance

PEAK = 255.0
PSNR_OF_EQUAL = 100.0
"""What `psnr` gives for equal images, and its upper end: infinity would spoil every mean and is not JSON."""
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, upper ends excluded."""


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> float | None:
    """Shared over covered area of two bool masks `[H, W]`; None where both are empty."""
    covered = int((first | second).sum())
    return int((first & second).sum()) / covered if covered else None


def psnr(first: np.ndarray, second: np.ndarray, mask: np.ndarray | None = None) -> float | None:
    """Peak signal-to-noise ratio in dB of two uint8 images `[H, W, 3]`: 10 log10(255^2 / mean squared error).

    With `mask` bool `[H, W]` only its pixels count; None where it has none. At most 100 dB.
    """
    check_pair(first, second)
    squared = (first.astype(np.float64) - second.astype(np.float64)) ** 2
    if mask is not None:
        if mask.shape != first.shape[:2] or mask.dtype != bool:
            raise ValueError(f"the mask must be bool {first.shape[:2]}, got {mask.dtype} {mask.shape}")
        squared = squared[mask]
    if squared.size == 0:
        return None
    error = float(squared.mean())
    return PSNR_OF_EQUAL if error == 0 else min(PSNR_OF_EQUAL, float(10 * np.log10(PEAK**2 / error)))


def box_psnr(first: np.ndarray, second: np.ndarray, box: Box) -> float | None:
    """`psnr` within a box; None where it is empty."""
    x0, y0, x1, y1 = box
    return psnr(first[y0:y1, x0:x1], second[y0:y1, x0:x1])


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Structural similarity of two uint8 images `[H, W, 3]` (Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13(4), 2004).

    Gaussian window 11 x 11 with sigma 1.5, constants 0.01 and 0.03, population covariance, only where the window
    lies inside the image, mean over the three channels: what scikit-image computes with `gaussian_weights=True,
    sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=2`.
    """
    check_pair(first, second)
    if min(first.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"ssim needs at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {first.shape[:2]}")
    a, b = first.astype(np.float64), second.astype(np.float64)
    mean_a, mean_b = gaussian_mean(a), gaussian_mean(b)
    variance_a, variance_b = gaussian_mean(a * a) - mean_a**2, gaussian_mean(b * b) - mean_b**2
    covariance = gaussian_mean(a * b) - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + SSIM_C1) * (2 * covariance + SSIM_C2)
    denominator = (mean_a**2 + mean_b**2 + SSIM_C1) * (variance_a + variance_b + SSIM_C2)
    return float((numerator / denominator).mean())


def gaussian_mean(images: np.ndarray) -> np.ndarray:
    """Gaussian means over SSIM's window, `[..., H, W, C]` to `[..., H - 10, W - 10, C]`; separable."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    weights /= weights.sum()
    height, width = images.shape[-3] - SSIM_WINDOW + 1, images.shape[-2] - SSIM_WINDOW + 1
    columns = np.zeros((*images.shape[:-3], height, *images.shape[-2:]))
    for i, weight in enumerate(weights):
        columns += weight * images[..., i : i + height, :, :]
    means = np.zeros((*images.shape[:-3], height, width, images.shape[-1]))
    for i, weight in enumerate(weights):
        means += weight * columns[..., i : i + width, :]
    return means


def check_pair(first: np.ndarray, second: np.ndarray) -> None:
    """Raise ValueError unless both are uint8 `[H, W, 3]` of one size: floats would hide the files' rounding."""
    if first.dtype != np.uint8 or second.dtype != np.uint8:
        raise ValueError(f"metrics take uint8 images, got {first.dtype} and {second.dtype}")
    if first.shape != second.shape or first.ndim != 3 or first.shape[2] != 3:
        raise ValueError(f"metrics take two images [H, W, 3] of one size, got {first.shape} and {second.shape}")


def expression_error(rendered: np.ndarray, real: np.ndarray) -> float:
    """Landmark distance: mean over the points of two frames `[478, 2]`, divided by the real inter-ocular distance.

    Both must come from the same detector run on the two images.
    """
    distance = np.linalg.norm(rendered.astype(np.float64) - real.astype(np.float64), axis=-1).mean()
    return float(distance / inter_ocular_distance(real.astype(np.float64)))


def pearson(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson's correlation of two series `[N]`; None with fewer than 3 values or where one of them is constant."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(a) < 3:
        return None
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 1e-12 else None


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that exist; None where there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def load_lpips(device: str = "cpu") -> tuple[Callable[[np.ndarray, np.ndarray], float] | None, str | None]:
    """LPIPS (Zhang et al., CVPR 2018; AlexNet) of two uint8 images, or None with the reason why there is none.

    Nothing is downloaded: the package `lpips` and torchvision's AlexNet weights must be there already.
    """
    if not (is_installed("lpips") and is_installed("torchvision")):
        return None, "the package lpips is not installed (pip install lpips)"
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    if not any(cache.glob("alexnet-owt-*.pth")):
        return None, f"AlexNet's weights are not in {cache.name} of torch's hub folder, and nothing is downloaded"
    import lpips  # pyright: ignore[reportMissingImports]

    network = lpips.LPIPS(net="alex", verbose=False).to(device).eval()

    @torch.no_grad()
    def distance(first: np.ndarray, second: np.ndarray) -> float:
        check_pair(first, second)
        a, b = (
            torch.from_numpy(i.copy()).permute(2, 0, 1)[None].float().to(device) / 127.5 - 1 for i in (first, second)
        )
        return float(network(a, b))

    return distance, None
