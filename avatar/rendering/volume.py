"""Volume rendering of packed samples (Max 1995; NeRF, equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar.base.errors import ConfigError, InputError
from avatar.kernels.runtime.checks import FLOATS, check_tensor
from avatar.kernels.volume import op as volume
from avatar.kernels.volume import reference
from avatar.rendering.sampling import Samples

BACKENDS = ("auto", "warp", "nerfacc", "torch")
PER_CENTIMETRE = 100.0
"""Centimetres per metre: densities are per centimetre, lengths in metres."""


def opacity_of(density: Tensor, deltas: Tensor) -> Tensor:
    """Opacity 1 - exp(-optical depth) of `deltas` metres of `density` per centimetre."""
    return 1 - torch.exp(-density * deltas * PER_CENTIMETRE)


def render_weights(density: Tensor, samples: Samples, *, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Weights of the samples in the colours of their rays.

    w_i = T_i (1 - exp(-sigma_i delta_i)) with T_i = exp(-sum_{j < i} sigma_j delta_j), along each ray.

    Args:
        density: `[M]` per centimetre.
        backend: implementation of the compositing; "nerfacc" on CUDA only.

    Returns:
        Weights `[M]`, and transmittance `[M]` in front of the samples.

    Raises ConfigError for an unknown backend, InputError for shapes, types and devices that do not fit, and on a CPU
    for densities or deltas that are negative or not finite and samples that are not ordered by ray. On CUDA these
    values are not checked, because a check would stall the device; they give NaN or wrong weights on their rays.
    """
    check_samples(density, samples)
    if backend not in BACKENDS:
        raise ConfigError("unknown backend of the volume rendering", expected=", ".join(BACKENDS), found=backend)
    optical_depth = density * samples.deltas * PER_CENTIMETRE
    if backend == "nerfacc" and len(samples):
        from avatar.kernels.volume.nerfacc import render_weights as render_by_nerfacc

        return render_by_nerfacc(optical_depth, samples.ray, samples.rays)
    if backend == "torch" or optical_depth.dtype != torch.float32:
        return reference.render_weights(optical_depth, samples.first)
    return volume.render_weights(optical_depth, samples.first)


def accumulate(weights: Tensor, samples: Samples, values: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    """Sums of `weights` `[M]` (times `values` `[M, C]`) along each ray: `[R]` or `[R, C]`.

    The backend nerfacc uses the same kernel: nerfacc's own sum is PyTorch's `index_add`. Raises InputError as
    `render_weights`.
    """
    check_tensor("weights", weights, samples.ray.shape, FLOATS, samples.ray.device)
    if values is not None:
        check_tensor("values", values, (len(samples), "C"), (weights.dtype,), weights.device)
    if backend == "torch" or weights.dtype != torch.float32:
        return reference.sum_along_rays(weights, samples.first, values)
    return volume.sum_along_rays(weights, samples.first, values)


def check_samples(density: Tensor, samples: Samples) -> None:
    """Raise InputError for packed samples that cannot be rendered; see `render_weights`."""
    count, device = len(samples.ray), density.device
    check_tensor("densities", density, (count,), FLOATS, device)
    check_tensor("ray indices", samples.ray, (count,), (torch.int64,), device)
    check_tensor("depths", samples.depth, (count,), FLOATS, device)
    check_tensor("deltas", samples.deltas, (count,), FLOATS, device)
    if device.type != "cpu" or count == 0:
        return
    for name, values in (("densities", density), ("deltas", samples.deltas)):
        low, high = (float(value) for value in torch.aminmax(values.detach()))
        if not (low >= 0 and high < float("inf")):
            raise InputError(f"{name} must be finite and not negative", found=f"{low:g} to {high:g}")
    first, last = int(samples.ray[0]), int(samples.ray[-1])
    if first < 0 or last >= samples.rays or bool((samples.ray[1:] < samples.ray[:-1]).any()):
        raise InputError(
            "samples must come ray after ray", expected=f"ascending ray indices from 0 to {samples.rays - 1}"
        )


def over(colour: Tensor, opacity: Tensor, background: Tensor) -> Tensor:
    """`colour` `[R, 3]`, premultiplied by `opacity` `[R]`, composited over `background` `[R, 3]`."""
    return colour + (1 - opacity).unsqueeze(-1) * background
