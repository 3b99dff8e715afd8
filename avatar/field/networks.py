"""Small MLPs with float32 parameters that may compute in bfloat16."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from avatar.kernels.mlp import reference
from avatar.kernels.mlp.op import fused_mlp, multiplies_bfloat16
from avatar.kernels.mlp.types import Part


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of the arithmetic for a setting of `auto`, `float32` or `bfloat16` on `device`.

    `auto` takes bfloat16 where the hardware supports it natively: AVX-512 BF16 on a CPU, Ampere or later on CUDA.
    """
    if name == "bfloat16":
        return torch.bfloat16
    if name == "auto":
        if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        if device.type == "cpu" and multiplies_bfloat16():
            return torch.bfloat16
    return torch.float32


class Mlp(nn.Module):
    """Linear layers with ReLU between them; the input is appended again to that of layer `skip` (0 for none).

    The backend "torch" evaluates layer by layer in plain PyTorch; any other takes `fused_mlp`. final_scale: half the
    width of the uniform initialisation of the last layer's weights, None for Kaiming's.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        hidden: int,
        outputs: int,
        *,
        skip: int = 0,
        dtype: torch.dtype = torch.float32,
        final_scale: float | None = None,
        bias: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.skip, self.dtype, self.backend = skip, dtype, backend
        sizes = [inputs] + [width] * hidden + [outputs]
        layers = []
        for index, (before, after) in enumerate(pairwise(sizes)):
            layer = nn.Linear(before + (inputs if skip and index == skip else 0), after, bias=bias)
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if bias:
                nn.init.zeros_(layer.bias)
            layers.append(layer)
        if final_scale is not None:
            nn.init.uniform_(layers[-1].weight, -final_scale, final_scale)
        self.layers = nn.ModuleList(layers)

    def forward(self, parts: Sequence[Part]) -> Tensor:
        """Outputs `[N, outputs]` of an input given in parts (see `avatar.kernels.mlp.types.Part`)."""
        layers = cast("Sequence[nn.Linear]", self.layers)
        weights = [layer.weight for layer in layers]
        biases = None if layers[0].bias is None else [layer.bias for layer in layers]
        evaluate = reference.mlp if self.backend == "torch" else fused_mlp
        return evaluate(parts, weights, biases, skip=self.skip, dtype=self.dtype)
